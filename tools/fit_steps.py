"""Fits the step-time model's constants to public kernel profiles, and prints what error they leave.

    python tools/fit_steps.py --rtx4090 DIRECTORY --vidur-mlp FILE --vidur-all-reduce FILE
    python tools/fit_steps.py

DIRECTORY holds profile_dense.csv, profile_per_sequence.csv and profile_attention.csv (LLMServingSim, bench);
the files are microsoft/vidur's compute/a100 Llama-3-70B mlp.csv and network/a100_dgx all_reduce.csv, `.xz` or plain.
The latencies of recorded runs are not read. Without files it prints what needs none: published runs of an H100 beside
simulations of them, and modelled steps of decode.
"""

import argparse
import csv
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.entries import Gpu, Model
from extproc.fleet.hardware.fitted import ALL_REDUCE, CONSTANTS, Constants
from extproc.fleet.hardware.instances import instance_of
from extproc.fleet.hardware.profile import read_profile
from extproc.fleet.hardware.steptime import layers_s, step_times
from extproc.fleet.recording import Requests
from extproc.fleet.replay import Replayed, replay
from extproc.fleet.values import Floats, InstanceSpec

SMALLEST_STEP = 1e-3
FITTED = ("hbm_efficiency", "product_share", "knee")
SHOWN_TOKENS = (1, 8, 32, 64, 128, 256, 512, 1024, 2048, 8192)
VIDUR_OPERATORS = ("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj", "mlp_act", "attn_rope",
                   "input_layernorm", "post_attention_layernorm", "add")  # fmt: skip
H100_POINTS = ((2.5, 547, 248, 8192, 45, 17.1, 52.0), (5.0, 566, 247, 2048, 44, 18.3, 54.7),
               (6.0, 547, 248, 8192, 45, 18.8, 54.4), (10.0, 566, 247, 2048, 44, 20.4, 59.8))  # fmt: skip
"""Requests a second, prompt and output tokens, batched tokens, how many prompts there are, measured ITL and TTFT in ms.
BLIS (inference-sim), testdata/trained_physics_iter29.json: vLLM 0.15.1, H100 TP 4, Llama-3.1-70B. inference-perf sent
them at equal distances and the same few prompts again and again, so that all but the first of each were cached."""
_SIMULATED_S = 60.0
DECODES = (("llama-3.1-8b", "h100", 1), ("llama-3.1-8b", "rtx-pro-6000", 1), ("llama-3.1-8b", "l40s", 1),
           ("qwen3-32b", "rtx-pro-6000", 2), ("qwen3-32b", "h100", 2), ("qwen3-30b-a3b", "h100", 1),
           ("qwen3-30b-a3b", "rtx-pro-6000", 1))  # fmt: skip
"""Model, GPU and how many of them decode."""
DECODING, CONTEXT_TOKENS = (1, 8, 16, 32, 64, 128, 256), 500


class Curve(NamedTuple):
    """Measured seconds of a step's layers by tokens, without attention over KV and without all-reduce."""

    name: str
    model: Model
    gpu: Gpu
    tp: int
    tokens: Floats
    seconds: Floats


def main() -> None:
    """Fit, then show every residual."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--rtx4090", "--vidur-mlp", "--vidur-all-reduce"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    files = (given.rtx4090, given.vidur_mlp, given.vidur_all_reduce)
    if all(files):
        show_fit(*files)
    elif any(files):
        parser.error("give all three or none")
    show_h100()
    show_decode()


def show_fit(rtx4090_profile: Path, vidur_mlp: Path, vidur_all_reduce: Path) -> None:
    """Fit, and the residuals of every profile."""
    curves = [rtx4090(rtx4090_profile), *vidur(vidur_mlp)]
    constants = fit(curves)
    print({name: round(getattr(constants, name), 3) for name in FITTED}, "fitted;", loss(constants, curves))
    print({name: getattr(CONSTANTS, name) for name in FITTED}, "in use;", loss(CONSTANTS, curves))
    for curve in curves:
        show_curve(curve)
    show_all_reduce(vidur_all_reduce)


def rtx4090(directory: Path) -> Curve:
    """Sum of a layer's operators times layers."""
    profile = read_profile(directory)
    model = builtin().model("llama-3.1-8b")
    return Curve("RTX 4090, Llama-3.1-8B", model, builtin().gpu("rtx-4090"), 1, *profile.layers(model.layers))


def vidur(path: Path) -> Iterator[Curve]:
    """One curve for each tensor parallelism."""
    model = builtin().model("llama-3-70b")
    rows = read_csv(path)
    for tp in (1, 2, 4, 8):
        of_tp = [
            row
            for row in rows
            if int(row["num_tensor_parallel_workers"]) == tp and int(row["num_tokens"]) <= SHOWN_TOKENS[-1]
        ]
        sums = [sum(float(row[f"time_stats.{name}.median"]) for name in VIDUR_OPERATORS) for row in of_tp]
        tokens = np.array([float(row["num_tokens"]) for row in of_tp])
        order = np.argsort(tokens)
        gpu = builtin().gpu("a100-80gb")
        yield Curve(
            f"A100, Llama-3-70B, TP {tp}", model, gpu, tp, tokens[order], model.layers * np.array(sums)[order] / 1e3
        )


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file that may be compressed."""
    text = (lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()).decode()
    return list(csv.DictReader(text.splitlines()))


def modelled(curve: Curve, constants: Constants) -> Floats:
    """What the model says for the same; the profiles time neither attention nor all-reduce in these rows."""
    alone = layers_s(curve.model, curve.gpu, curve.tp, curve.tokens, constants=constants, all_reduce=False)
    return alone - curve.model.layers * constants.attention_s


def loss(constants: Constants, curves: list[Curve]) -> float:
    """Root mean square of the logarithm of modelled over measured; each curve counts alike, each octave too."""
    squares = []
    for curve in curves:
        weights = np.gradient(np.log2(curve.tokens + 1))
        errors = np.log(modelled(curve, constants) / curve.seconds)
        squares.append(np.average(errors**2, weights=np.maximum(weights, 1e-9)))
    return float(np.sqrt(np.mean(squares)))


def fit(curves: list[Curve]) -> Constants:
    """Coordinate descent with shrinking steps from the constants in use: three numbers, a smooth loss."""
    best, step = CONSTANTS, 0.1
    while step > SMALLEST_STEP:
        improved = False
        for name in FITTED:
            for factor in (1 + step, 1 / (1 + step)):
                moved = best._replace(**{name: getattr(best, name) * factor})
                if loss(moved, curves) < loss(best, curves):
                    best, improved = moved, True
        step = step if improved else step / 2
    return best


def show_curve(curve: Curve) -> None:
    """Measured and modelled at a few sizes."""
    print(f"\n{curve.name}: tokens, measured ms, modelled ms, error")
    errors = modelled(curve, CONSTANTS) / curve.seconds - 1
    for tokens in SHOWN_TOKENS:
        at = np.flatnonzero(curve.tokens == tokens)
        if len(at):
            measured, error = curve.seconds[at[0]], errors[at[0]]
            print(f"  {tokens:5d} {measured * 1e3:9.2f} {measured * (1 + error) * 1e3:9.2f} {error:+7.1%}")
    print(f"  median |error| {np.median(np.abs(errors)):.1%}, largest {np.abs(errors).max():.1%}")


def show_all_reduce(path: Path) -> None:
    """NCCL as vidur measured it against the model's NCCL, which follows AIConfigurator's newer one."""
    print("\nA100 all-reduce: GPUs, bytes, NCCL measured µs, modelled µs")
    latency_s, hop_s, efficiency, _ = ALL_REDUCE["nvlink-nccl"]
    for row in read_csv(path):
        gpus, size = int(row["num_workers"]), int(row["size"])
        if int(row["devices_per_node"]) == gpus and size in (2048, 6_160_384, 20_709_376, 57_933_824):
            model = latency_s + hop_s * (gpus - 1) + 2 * (gpus - 1) / gpus * size / (efficiency * 300e9)
            print(f"  {gpus} {size:9d} {float(row['time_stats.all_reduce.median']) * 1e3:8.0f} {model * 1e6:8.0f}")


def show_h100() -> None:
    """Mean ITL and TTFT of the same load through the simulator."""
    print(
        "\nH100 TP 4, Llama-3.1-70B: requests/s, measured ITL ms, simulated ms, error; measured TTFT ms, simulated ms"
    )
    for rate, prompt, output, batched, texts, measured, measured_ttft in H100_POINTS:
        found, spec = simulated(rate, prompt, output, batched, texts)
        settled = slice(max(texts, found.queued_s.size // 4), -found.queued_s.size // 10)
        itl = 1e3 * (found.last_token_s - found.first_token_s)[settled].mean() / (output - 1)
        ttft = 1e3 * ((found.first_token_s - np.arange(found.queued_s.size) / rate)[settled].mean() + spec.api_s)
        print(f"  {rate:4.1f} {measured:6.1f} {itl:6.1f} {itl / measured - 1:+6.1%} {measured_ttft:6.1f} {ttft:6.1f}")


def show_decode() -> None:
    """Modelled steps of decode alone."""
    print(f"\nDecode step, ms, {CONTEXT_TOKENS} tokens of context; sequences:", *DECODING)
    for model, gpu, tp in DECODES:
        steps = step_times(
            *(builtin().model(model), builtin().gpu(gpu), tp), max_num_batched_tokens=512, max_num_seqs=DECODING[-1]
        )
        times = (1e3 * (steps.dense_s[n] + steps.sequences_s[n] + steps.kv_s * CONTEXT_TOKENS * n) for n in DECODING)
        print(f"  {tp} x {gpu}, {model}:", *(f"{ms:5.1f}" for ms in times))


def simulated(rate: float, prompt: int, output: int, batched: int, texts: int) -> tuple[Replayed, InstanceSpec]:
    """One of the points; prompts are found in the cache in whole 512 tokens, in vLLM in whole 16."""
    spec = instance_of(
        *(builtin().model("llama-3.1-70b"), builtin().gpu("h100"), 4),
        max_model_len=4096,
        max_num_seqs=128,
        max_num_batched_tokens=batched,
        vllm="0.15.1",
        prefix_caching=True,
    )
    count = round(_SIMULATED_S * rate)
    unknown = np.full(count, np.nan)
    lengths = np.full(count, prompt), np.full(count, output)
    load = Requests(np.arange(count) / rate, *lengths, unknown, unknown, unknown, unknown)
    return replay(load, spec, texts=np.arange(count) % texts), spec


if __name__ == "__main__":
    main()
