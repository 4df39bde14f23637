import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from extproc.cli import app
from extproc.errors import ConfigurationError

SMALL = ("--rate", "4", "--model", "llama-3-8b", "--threshold", "2048", "--tensor-parallel-size", "1", "--jobs", "1")


def run(*arguments: str | Path) -> str:
    """The command's output."""
    shown = CliRunner().invoke(app, ["plan", *map(str, arguments)], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return shown.stdout


def planned(*arguments: str | Path) -> dict[str, Any]:
    """A plan by the closed form alone."""
    found: dict[str, Any] = json.loads(run(*SMALL, "--no-confirm", "--json", *arguments))
    return found


def test_help_teaches() -> None:
    """What is weighed, and that the answer may be no."""
    shown = " ".join(run("--help").split())
    assert "may be that two pools do not help" in shown
    assert "--request-rate" in shown


def test_what_comes_along_is_listed() -> None:
    """Traffic, GPUs and models, with sources and the operator's own price."""
    shown = run("--list", "--price", "a100-80gb=1.23")
    assert "azure-2023-code" in shown
    assert "NVIDIA A100 data sheet" in shown
    assert "llama-3-70b" in shown
    assert "1.23" in shown


def test_the_closed_form_alone_simulates_nothing() -> None:
    """Every baseline is there, and no figure pretends to be confirmed."""
    found = planned()
    assert [fleet["baseline"] for fleet in found["fleets"]][:3] == ["B0", "B1", "B2"]
    assert all(fleet["confirmed"] is None and fleet["gpu_range"] is None for fleet in found["fleets"])
    assert found["ask"]["rate_per_s"] == 4.0
    assert found["ask"]["max_model_len"] == 65_536


def test_little_traffic_is_not_called_none() -> None:
    """A thousandth of a request per second is shown as such."""
    assert "at 0.001 requests per second" in run(*SMALL, "--no-confirm", "--rate", "0.001")


def test_flags_reach_the_question() -> None:
    """The objective as vLLM's bench spells it, the context with a warning, the price in the cost."""
    found = planned("--goodput", "ttft:3000", "--goodput", "tpot:50", "--max-model-len", "16384", "--percentile", "95")
    slo = found["ask"]["slo"]
    assert (slo["ttft_s"], slo["tpot_s"], slo["percentile"]) == (3.0, 0.05, 95.0)
    assert any("VLLM_ALLOW_LONG_MAX_MODEL_LEN" in note for note in found["notes"])
    dear = planned("--price", "a100-80gb=4.42")["fleets"][1]["usd_per_hour"]
    assert dear == pytest.approx(2 * planned()["fleets"][1]["usd_per_hour"])


def test_what_long_prompts_are_allowed_can_be_given_to_simulate() -> None:
    """The note names the flag and its value."""
    found = planned()
    value = f"{1e3 * found['ask']['slo']['ttft_s_per_token']:.4g}"
    assert float(value) > 0.0
    assert any(f"`dualpool simulate` does so with --ttft-per-token {value}." in note for note in found["notes"])


def test_a_distribution_is_planned_for(tmp_path: Path) -> None:
    """Totals split by the share that is given."""
    cdf = tmp_path / "cdf.json"
    cdf.write_text("[[500, 0.5], [2000, 0.9], [6000, 1.0]]")
    found = planned("--cdf", cdf, "--output-share", "0.3")
    assert found["ask"]["workload"] == "cdf.json"


def test_a_plan_is_confirmed_and_reported(tmp_path: Path) -> None:
    """By simulation, with the gap to the closed form, and a page."""
    page = tmp_path / "plan.html"
    shown = run(*SMALL, "--requests", "400", "--seeds", "1", "--report", page)
    assert "Closed form and simulation" in shown
    assert f"Report: {page}" in shown
    assert "<html" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--preset", "azure-2022"), "there is no preset 'azure-2022'"),
        (("--model", "llama-9"), "No model 'llama-9'"),
        (("--gpu", "rtx-4091"), "Did you mean rtx-4090"),
        (("--preset", "azure-2023", "--cdf", "x.json"), "give one of them"),
        (("--output-share", "0.2"), "give it with --cdf"),
        (("--arrivals", "poisson", "--dispersion", "3"), "--arrivals poisson asks for others"),
        (("--arrivals", "bursty", "--dispersion", "0"), "--dispersion 0 is none of bursty arrivals"),
        (("--goodput", "e2e:3"), "expected ttft:MS or tpot:MS"),
        (("--ttft", "100", "--goodput", "ttft:200"), "contradict each other"),
        (("--price", "a100-80gb"), "expected GPU=USD"),
        (("--max-tokens", "much"), "no policy for max_tokens"),
        (("--utilization-cap", "1.5"), "--utilization-cap 1.5 is a share"),
        (("--threshold", "90000"), "No threshold lies below max_model_len 65536"),
        (("--report", "missing/plan.html"), "a folder that exists"),
    ],
)
def test_mistakes_are_named(arguments: tuple[str, ...], complaint: str) -> None:
    """Each in one line that says what to give instead, before anything is computed."""
    with pytest.raises(ConfigurationError, match=complaint):
        run("--no-confirm", "--jobs", "1", *arguments)
