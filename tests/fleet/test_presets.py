from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.arrivals import dispersion, own_rate_per_s
from extproc.fleet.presets import PRESETS, read_preset
from extproc.fleet.samples import ROWS
from extproc.fleet.values import CATEGORIES, Ints
from extproc.routing.values import Category
from extproc.traces import LengthCdf, Trace, read_trace

TRACES = Path(__file__).resolve().parents[3] / "shared" / "data" / "traces"
CODE, CONV = "AzureLLMInferenceTrace_code.csv", "AzureLLMInferenceTrace_conv.csv"
MOONCAKE = "mooncake_conversation_trace.jsonl.xz"
OF_TRACES = [
    ("azure-2023-code", [CODE]),
    ("azure-2023-conv", [CONV]),
    ("azure-2023", [CODE, CONV]),
    ("mooncake", [MOONCAKE]),
]


def trace(name: str) -> Trace | LengthCdf:
    """A trace that was downloaded, where it was."""
    if not (TRACES / name).exists():
        pytest.skip(f"{name} is not at hand: the preset cannot be held against its source")
    return read_trace(TRACES / name)


def lengths(names: list[str]) -> tuple[Ints, Ints]:
    """Prompts and outputs of several traces together."""
    found = [part for name in names if isinstance(part := trace(name), Trace)]
    outputs = [part.output_tokens for part in found if part.output_tokens is not None]
    return np.concatenate([part.prompt_tokens for part in found]), np.concatenate(outputs)


def figures(prompts: Ints, outputs: Ints) -> list[float]:
    """What a plan depends on most."""
    totals = prompts + outputs
    shares = [float((totals <= threshold).mean()) for threshold in (4096, 8192)]
    return [float(prompts.mean()), float(outputs.mean()), *np.percentile(totals, [50, 90, 99]).tolist(), *shares]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_small_and_names_its_source(name: str) -> None:
    """Tables travel with the package; each says whose figures they are, and under which licence."""
    preset = read_preset(name)
    assert len((files("extproc.fleet") / "presets" / f"{name}.json").read_bytes()) < 100_000
    assert any(licence in preset.source for licence in ("CC-BY-4.0", "Apache-2.0"))
    assert "assumed" in preset.source
    assert len(preset.rows.prompt_tokens) == ROWS
    assert preset.rows.prompt_tokens.min() >= 1
    assert preset.rows.output_tokens.min() >= 1


@pytest.mark.parametrize(("name", "traces"), OF_TRACES)
def test_presets_are_like_their_traces(name: str, traces: list[str]) -> None:
    """Means, quantiles of totals and shares under usual thresholds, within one in a hundred."""
    rows = read_preset(name).rows
    assert figures(rows.prompt_tokens, rows.output_tokens) == pytest.approx(figures(*lengths(traces)), rel=0.01)


@pytest.mark.parametrize(("name", "traces"), [pair for pair in OF_TRACES if len(pair[1]) == 1])
def test_presets_know_how_their_traces_arrive(name: str, traces: list[str]) -> None:
    """Mean rate and dispersion."""
    found, preset = trace(traces[0]), read_preset(name)
    assert isinstance(found, Trace)
    assert found.arrival_s is not None
    assert preset.rate_per_s == pytest.approx(own_rate_per_s(found.arrival_s), rel=1e-3)
    assert preset.dispersion == pytest.approx(dispersion(found.arrival_s), rel=1e-3)


@pytest.mark.parametrize(("name", "file"), [("lmsys-chat", "lmsys_cdf.json"), ("agent-heavy", "agent_heavy_cdf.json")])
def test_presets_of_distributions_have_their_shares(name: str, file: str) -> None:
    """At every point from 512 tokens on, within four in a thousand of all requests."""
    found, rows = trace(file), read_preset(name).rows
    assert isinstance(found, LengthCdf)
    totals = rows.prompt_tokens + rows.output_tokens
    for tokens, cumulative in zip(found.tokens, found.cumulative, strict=True):
        if tokens >= 512:
            assert (totals <= tokens).mean() == pytest.approx(cumulative, abs=0.004)


def test_atoms_stay() -> None:
    """Prompts that a context limit cut: 3.8 % of code at 7,434 to 7,437 tokens, 6.5 % of chat at 4,000 to 4,100."""
    code, conv = (read_preset(name).rows.prompt_tokens for name in ("azure-2023-code", "azure-2023-conv"))
    assert ((code >= 7434) & (code <= 7437)).mean() == pytest.approx(0.038, abs=0.001)
    assert ((conv >= 4000) & (conv <= 4100)).mean() == pytest.approx(0.065, abs=0.0015)


def test_the_assumed_split_of_lmsys_has_the_published_mean_output() -> None:
    """214.5 tokens."""
    assert read_preset("lmsys-chat").rows.output_tokens.mean() == pytest.approx(214.5, rel=0.005)


def test_code_is_code_and_chat_is_chat() -> None:
    """Each part of a preset has its own mix of kinds: in the merged one long outputs belong to chat."""
    rows = read_preset("azure-2023").rows
    code = rows.categories == CATEGORIES.index(Category.CODE)
    assert code.mean() == pytest.approx(0.86 * 8819 / 28185 + 0.12 * 19366 / 28185, abs=0.01)
    assert rows.output_tokens[code].mean() < 0.5 * rows.output_tokens[~code].mean()


def test_another_name_is_a_mistake() -> None:
    """The message lists the names."""
    with pytest.raises(ConfigurationError, match="azure-2023, azure-2023-code"):
        read_preset("azure-2024")
