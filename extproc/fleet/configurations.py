"""How each baseline configures its instances; decides nothing about how many there are.

B0 takes as many sequences as max_model_len fits into the KV cache, B1 takes vLLM's defaults, B2 the configuration that
costs least per request, by the closed form, which does not know what holding long prompts back is worth: that is for
simulations to say. Short pools are configured like B2, for what they get.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from extproc.errors import ConfigurationError
from extproc.fleet.capacity import Capacities
from extproc.fleet.cost import rate_within_slo
from extproc.fleet.hardware.entries import Gpu, Model
from extproc.fleet.hardware.instances import LONG_PREFILL_FLAG, instance_of
from extproc.fleet.hardware.versions import parsed
from extproc.fleet.values import BLOCK_TOKENS, InstanceSpec

_BATCHED_TOKENS = (256, 512, 1024, 2048, 4096)
"""That tuning tries for max_num_batched_tokens: small ones keep answers flowing, large ones prefill faster."""
_WATERMARK = 0.01
"""That tuning sets: with some blocks kept free, fewer requests are preempted (vLLM, benchmarks/kv_cache_watermark.sh).
"""
_HAS_WATERMARK = (0, 24)
"""The first release with the flag (vLLM, vllm/config/cache.py)."""
_SEQUENCES = (64, 128, 512)
"""That tuning tries for max_num_seqs, beside vLLM's own: few keep answers flowing, many use memory."""
TENSOR_PARALLEL = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Choice:
    """Hardware that an instance may have."""

    model: Model
    gpus: tuple[Gpu, ...]
    tensor_parallel: tuple[int, ...]
    vllm: str
    max_num_seqs: int | None = None
    """None for vLLM's default."""
    max_queued_requests: int | None = None


def default_instance(choice: Choice, known: Capacities, max_model_len: int) -> InstanceSpec | None:
    """VLLM's defaults on the first GPU, with the tensor parallelism that costs least per request; None if none starts.

    The flags name vLLM's own values where it would take them anyway, so that the command says what was simulated.
    """
    first = replace(choice, gpus=choice.gpus[:1])
    return cheapest(list(_instances(first, max_model_len, (None,), watermark=0.0)), known)


def tuned_instance(choice: Choice, known: Capacities, max_model_len: int) -> InstanceSpec | None:
    """The configuration on the allowed hardware that costs least per request; None if none starts."""
    watermark = _WATERMARK if parsed(choice.vllm) >= _HAS_WATERMARK else 0.0
    best = cheapest(list(_instances(choice, max_model_len, _BATCHED_TOKENS, watermark=watermark)), known)
    if best is None or choice.max_num_seqs is not None:
        return best
    return cheapest([best, *(_with_sequences(best, choice, count) for count in _SEQUENCES)], known)


def held_back(instance: InstanceSpec, tokens: int) -> InstanceSpec:
    """The same where no prompt gets more of a step than this while others are there."""
    flags = _with(instance.flags, LONG_PREFILL_FLAG, str(tokens))
    return replace(instance, long_prefill_token_threshold=tokens, flags=flags)


def slots_instance(instance: InstanceSpec) -> InstanceSpec:
    """The same with as many sequences as whole contexts fit into its KV cache (B0)."""
    sequences = max(1, instance.kv_blocks * BLOCK_TOKENS // instance.max_model_len)
    sequences = min(sequences, instance.max_num_seqs)
    return replace(instance, max_num_seqs=sequences, flags=_with(instance.flags, "--max-num-seqs", str(sequences)))


def cheapest(instances: Sequence[InstanceSpec], known: Capacities) -> InstanceSpec | None:
    """The one that costs least per request within the objective; where none keeps it, per request when saturated.

    None sustains more within the objective than saturated, so that one that costs too much even then is not tried.
    """
    bounds = sorted(
        (instance.usd_per_hour / known.saturated(instance).rate_per_s, at) for at, instance in enumerate(instances)
    )
    best: tuple[float, int] | None = None
    for bound, at in bounds:
        if best is not None and bound > best[0]:
            break
        if best is not None and not known.sustains(instances[at], instances[at].usd_per_hour / best[0]):
            continue
        rate = rate_within_slo(known.of(instances[at]))
        if rate > 0:
            cost = (instances[at].usd_per_hour / rate, at)
            best = cost if best is None else min(best, cost)
    return instances[(best or bounds[0])[1]] if bounds else None


def _instances(
    choice: Choice, max_model_len: int, batched_tokens: Sequence[int | None], *, watermark: float
) -> Iterator[InstanceSpec]:
    """Those that start: enough memory for the weights and one whole context."""
    for gpu in choice.gpus:
        for tensor_parallel in choice.tensor_parallel:
            for batched in batched_tokens:
                try:
                    yield instance_of(
                        choice.model,
                        gpu,
                        tensor_parallel,
                        max_model_len=max_model_len,
                        max_num_batched_tokens=batched,
                        max_num_seqs=choice.max_num_seqs,
                        watermark=watermark,
                        vllm=choice.vllm,
                        max_queued_requests=choice.max_queued_requests,
                    )
                except ConfigurationError:
                    break  # nor does it with another batch


def _with_sequences(instance: InstanceSpec, choice: Choice, count: int) -> InstanceSpec:
    """The same with other max_num_seqs, and a batch that holds them."""
    gpu = next(gpu for gpu in choice.gpus if instance.name == f"{instance.gpus}x {gpu.name}")
    return instance_of(
        choice.model,
        gpu,
        instance.gpus,
        max_model_len=instance.max_model_len,
        max_num_batched_tokens=max(count, instance.max_num_batched_tokens),
        max_num_seqs=count,
        watermark=instance.watermark,
        vllm=choice.vllm,
        max_queued_requests=choice.max_queued_requests,
    )


def _with(flags: tuple[str, ...], name: str, value: str) -> tuple[str, ...]:
    """Flags with one of them set."""
    if name not in flags:
        return (*flags, name, value)
    at = flags.index(name) + 1
    return (*flags[:at], value, *flags[at + 1 :])
