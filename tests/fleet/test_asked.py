from pathlib import Path

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.asked import (
    CatalogFlags,
    PlanFlags,
    TrafficFlags,
    context_notes,
    context_of,
    gpus_of,
    short_share,
    slo_of,
)
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.workload import Lengths

LENGTHS = Lengths(np.array([100, 1000, 9000]), np.array([10, 10, 10]), np.array([10, 2000, 10]), np.full(3, 1 / 3))


def test_who_asks_for_nothing_gets_an_answer() -> None:
    """The traffic, model and GPU of the published method, at 1,000 requests per second."""
    options = PlanFlags(TrafficFlags(), CatalogFlags()).options()
    assert (options.workload.name, options.model.name, options.gpus[0].name) == (
        "azure-2023", "llama-3-70b", "a100-80gb",
    )  # fmt: skip
    assert options.rate_per_s == 1000.0
    assert options.max_model_len == 65_536


def test_a_trace_has_its_own_rate(tmp_path: Path) -> None:
    """Unless another is wanted."""
    trace = tmp_path / "trace.jsonl"
    rows = [f'{{"timestamp": {500 * at}, "input_length": 100, "output_length": 10}}' for at in range(20)]
    trace.write_text("\n".join(rows))
    assert TrafficFlags(trace=trace).workload().rate_per_s == pytest.approx(2.0, rel=0.05)
    assert TrafficFlags(trace=trace, rate_per_s=7.0).workload().rate_per_s == pytest.approx(7.0)


def test_times_are_milliseconds() -> None:
    """In either spelling; what is not given stays."""
    assert slo_of(("ttft:1500",), tpot_ms=40).ttft_s == 1.5
    assert slo_of(("ttft:1500",), tpot_ms=40).tpot_s == 0.04
    assert slo_of(percentile=95).percentile == 95
    with pytest.raises(ConfigurationError, match="above 0"):
        slo_of(ttft_ms=0)
    with pytest.raises(ConfigurationError, match="between 0 and 100"):
        slo_of(percentile=100)


def test_the_context_is_the_worst_case_unless_given() -> None:
    """65,536 by default, whatever the model was made for."""
    assert context_of(None) == 65_536
    assert context_of(131_072) == 131_072
    with pytest.raises(ConfigurationError, match="at least 1"):
        context_of(0)


def test_what_does_not_fit_is_said() -> None:
    """A context beyond the model's, and requests beyond the context."""
    model = builtin().model("llama-3-70b")
    assert context_notes(model, 8192, LENGTHS)[0].startswith("33 % of requests do not fit 8,192 tokens")
    notes = context_notes(model, 16_384, LENGTHS)
    assert len(notes) == 1
    assert "VLLM_ALLOW_LONG_MAX_MODEL_LEN" in notes[0]


def test_the_short_share_is_by_true_budget() -> None:
    """What is declared is reserved in full."""
    assert short_share(LENGTHS, 2048) == pytest.approx(1 / 3)
    assert short_share(LENGTHS, 3000) == pytest.approx(2 / 3)


def test_prices_are_the_operators(tmp_path: Path) -> None:
    """Of a GPU of the catalogue, by any of its names, or of a file."""
    known = CatalogFlags(prices=("A100_80GB=1.5",))
    assert gpus_of(known.catalog(), ("a100-80gb",))[0].usd_per_hour == 1.5
    more = tmp_path / "gpus.yaml"
    more.write_text("mine:\n  like: a100-80gb\n")
    own = CatalogFlags(gpus=more, prices=("mine=0.9",))
    assert gpus_of(own.catalog(), ("mine", "a100-80gb", "mine"))[0].usd_per_hour == 0.9
    assert len(gpus_of(own.catalog(), ("mine", "a100-80gb", "mine"))) == 2
    for wrong in ("a100-80gb=-1", "a100-80gb=much", "a100-80gb"):
        with pytest.raises(ConfigurationError, match="GPU=USD"):
            CatalogFlags(prices=(wrong,)).catalog()
