"""Derives the planner's presets from downloaded traces; the tables under extproc/fleet/presets are what it writes.

python tools/presets.py --code CSV --conv CSV --mooncake JSONL --lmsys JSON --agent-heavy JSON [--out DIRECTORY]

Sources: Azure/AzurePublicDataset (2023, CC-BY-4.0), kvcache-ai/Mooncake (FAST'25, Apache-2.0), and the fleet simulator
of vllm-project/semantic-router (Apache-2.0).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from extproc.fleet.arrivals import dispersion, own_rate_per_s
from extproc.fleet.samples import CHAT, CategoryMix, DrawnOutput, rows_of_cdf
from extproc.fleet.values import Floats, Ints
from extproc.routing.values import Category
from extproc.traces import LengthCdf, Trace, read_trace

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "extproc" / "fleet" / "presets"
BIN_SHARE, TAIL_SHARE, LEAST_SHARE = 1 / 160, 0.12, 1 / 4000
"""A bin holds so much of all requests; near the end so much of what is left, and never less than this."""
ATOM_SHARE = 0.0025
"""A single length of more than this stands by itself."""
GROUPS = 14
"""Outputs listed for each bin: means of equal groups, so that the mean stays."""
CODE: CategoryMix = {Category.CODE: 0.86, Category.JSON: 0.05, Category.LOGS: 0.05, Category.DENSE: 0.04}
AGENT: CategoryMix = {
    Category.TOOLS: 0.3,
    Category.CODE: 0.3,
    Category.JSON: 0.15,
    Category.PROSE: 0.1,
    Category.LOGS: 0.1,
    Category.DENSE: 0.05,
}
ASSUMED = " Kinds of text are assumed, not published."
AZURE = (
    "Azure Public Dataset, AzureLLMInferenceTrace 2023 ({part}), CC-BY-4.0; Patel et al., Splitwise, ISCA 2024."
    + ASSUMED
)
MOONCAKE = (
    "Mooncake conversation trace (kvcache-ai/Mooncake, Qin et al., FAST'25), Apache-2.0; lengths only, without its"
    " shared prefixes." + ASSUMED
)
LMSYS = (
    "Total tokens of LMSYS-Chat-1M as published with the fleet simulator of vllm-project/semantic-router, Apache-2.0;"
    " the split is assumed: outputs log-normal with the mean of 214.5 tokens that arXiv 2604.09613 states, at most"
    " 75.5 % of a request (214.5 of 284 tokens), and the rest, history included, is prompt." + ASSUMED
)
LMSYS_OUTPUT_TOKENS, LMSYS_SHARE = 214.5, 214.5 / 284.0
AGENT_HEAVY = (
    "Synthetic distribution of total tokens from the fleet simulator of vllm-project/semantic-router, Apache-2.0; the"
    " split is assumed: outputs log-normal with median 106 and deviation 1.35, as 2,146 calls of a coding agent on"
    " SWE-bench have them (Exgentic/agent-llm-traces, CDLA-Permissive-2.0: p50 106, p90 601), at most half of each."
    + ASSUMED
)
AGENT_OUTPUT = DrawnOutput(median_tokens=106.0, deviation=1.35, most_share=0.5)


def main(arguments: list[str] | None = None) -> None:
    """Write every preset."""
    parser = argparse.ArgumentParser(description="Derive the presets of the planner.")
    for name in ("code", "conv", "mooncake", "lmsys", "agent-heavy"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    for name, preset in presets(options).items():
        text = json.dumps(preset).replace('"bins": [[', '"bins": [\n[').replace("]], [", "]],\n[")
        (options.out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(f"{name}: {len(text)} bytes, {[len(part['bins']) for part in preset['parts']]} bins")


def presets(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """By name."""
    code, conv, mooncake = (_trace(path) for path in (options.code, options.conv, options.mooncake))
    of_code, of_conv = _part(code, CODE), _part(conv, CHAT)
    return {
        "azure-2023-code": preset(AZURE.format(part="code"), [of_code], _times(code)),
        "azure-2023-conv": preset(AZURE.format(part="conversation"), [of_conv], _times(conv)),
        "azure-2023": preset(
            AZURE.format(part="code and conversation"), [of_code, of_conv], merged(options.code, options.conv)
        ),
        "mooncake": preset(MOONCAKE, [_part(mooncake, CHAT)], _times(mooncake)),
        "lmsys-chat": preset(LMSYS, [_of_cdf(options.lmsys, None, CHAT)], None),
        "agent-heavy": preset(AGENT_HEAVY, [_of_cdf(options.agent_heavy, AGENT_OUTPUT, AGENT)], None),
    }


def preset(source: str, parts: list[dict[str, Any]], times: Floats | None) -> dict[str, Any]:
    """The document of a preset."""
    rate = None if times is None else round(own_rate_per_s(times), 4)
    spread = None if times is None else round(dispersion(times), 3)
    return {"source": source, "rate_per_s": rate, "dispersion": spread, "parts": parts}


def part_of(prompts: Ints, outputs: Ints, mix: CategoryMix) -> dict[str, Any]:
    """Bins [lowest, highest prompt, requests, [outputs]], and the mix of kinds."""
    order = np.lexsort((outputs, prompts))
    prompts, outputs = prompts[order], outputs[order]
    bins = [
        [int(prompts[start]), int(prompts[end - 1]), end - start, _groups(outputs[start:end])]
        for start, end in _bounds(prompts)
    ]
    return {"categories": {str(name): share for name, share in mix.items()}, "requests": len(prompts), "bins": bins}


def _bounds(prompts: Ints) -> list[tuple[int, int]]:
    """Where bins start and end in sorted prompts; equal prompts are in one."""
    _, starts = np.unique(prompts, return_index=True)
    ends = [*starts[1:].tolist(), len(prompts)]
    bounds, begun, total = [], 0, len(prompts)
    for start, end in zip(starts.tolist(), ends, strict=True):
        atom = end - start > ATOM_SHARE * total
        if atom and start > begun:
            bounds.append((begun, start))
            begun = start
        wanted = max(LEAST_SHARE * total, min(BIN_SHARE * total, TAIL_SHARE * (total - begun)))
        if atom or end - begun >= wanted or end == total:
            bounds.append((begun, end))
            begun = end
    return bounds


def _groups(outputs: Ints) -> list[int]:
    """Means of `GROUPS` groups as equal as can be, from small to large; of fewer outputs some stand twice."""
    ordered = np.repeat(np.sort(outputs), GROUPS)
    return [round(float(group.mean())) for group in np.split(ordered, GROUPS)]


def merged(code: Path, conv: Path) -> Floats:
    """Arrivals of two traces together: only their files say when one begins after the other."""
    lines = [line for path in (code, conv) for line in path.read_text().splitlines()[1:]]
    times = np.array([line.split(",")[0] for line in lines], "datetime64[us]").astype(np.int64)
    seconds = np.sort(times) * 1e-6
    return np.asarray(seconds - seconds[0], np.float64)


def _part(trace: Trace, mix: CategoryMix) -> dict[str, Any]:
    assert trace.output_tokens is not None
    return part_of(trace.prompt_tokens, np.maximum(1, trace.output_tokens), mix)


def _of_cdf(path: Path, rule: DrawnOutput | None, mix: CategoryMix) -> dict[str, Any]:
    cdf = read_trace(path)
    assert isinstance(cdf, LengthCdf)
    rows = rows_of_cdf(cdf, rule or _lmsys_rule(cdf), mix)
    return part_of(rows.prompt_tokens, rows.output_tokens, mix)


def _lmsys_rule(cdf: LengthCdf) -> DrawnOutput:
    """The median that gives the published mean, found by halving."""
    low, high = 1.0, 4000.0
    for _ in range(24):
        middle = (low + high) / 2
        rule = DrawnOutput(median_tokens=middle, deviation=1.0, most_share=LMSYS_SHARE)
        mean = rows_of_cdf(cdf, rule, CHAT).output_tokens.mean()
        low, high = (middle, high) if mean < LMSYS_OUTPUT_TOKENS else (low, middle)
    return DrawnOutput(median_tokens=low, deviation=1.0, most_share=LMSYS_SHARE)


def _times(trace: Trace) -> Floats:
    assert trace.arrival_s is not None
    return trace.arrival_s


def _trace(path: Path) -> Trace:
    found = read_trace(path)
    assert isinstance(found, Trace)
    return found


if __name__ == "__main__":
    main()
