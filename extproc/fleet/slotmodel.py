"""The published planner's model of an instance (baseline B0): slots, one iteration law, Erlang's queue.

It knows the formulas and constants of fleet-sim (vllm-project/semantic-router, commit 3d48f8c9) and of the papers it
serves (arXiv 2604.08075, 2604.09613), and nothing of how vLLM schedules. An instance has as many slots as requests of
max_model_len fit its KV cache; each request holds one slot for prompt/chunk + output iterations.
"""

import math
from dataclasses import dataclass

import numpy as np

from extproc.errors import ConfigurationError
from extproc.fleet.values import BLOCK_TOKENS, Floats

REFERENCE_TOKENS = 8_192
"""Context for which the iteration law and the slots of a profile are given."""
PROMPT_SHARE = 0.8
"""Of the total tokens of each request: fleet-sim splits all alike."""
UTILISATION_CAP = 0.85
DRAWS = 3_000
"""Requests that fleet-sim draws to estimate a service time; hence the noise of its figures."""
_POINTS = 20_000
"""Quantiles in place of draws."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A GPU as fleet-sim describes it."""

    iteration_s: float
    """W: of an empty iteration."""
    sequence_s: float
    """H: each sequence of `REFERENCE_TOKENS` adds it."""
    chunk_tokens: int
    kv_blocks: int
    reference_slots: int
    """At `REFERENCE_TOKENS` of context."""
    usd_per_hour: float


A100 = Profile(0.008, 0.00065, 512, 65_536, 128, 2.21)
"""fleet-sim's A100-80GB. Its KV blocks are those of eight GPUs, its price that of one."""
H100 = Profile(0.004, 0.00032, 1_024, 65_536, 128, 4.02)

CDF_TOKENS = (
    *(64, 128, 256, 512, 768, 1_024, 1_536, 2_048, 3_072, 4_096, 6_144, 8_192),
    *(12_288, 16_384, 24_576, 32_768, 49_152, 65_536),
)
"""Total tokens of a request at which the distributions below are given."""
AZURE = (
    *(0.00837324818, 0.02817101295, 0.06758914316, 0.28862870321, 0.36427577577, 0.40447046301),
    *(0.65687422388, 0.77984743658, 0.86865353912, 0.89820826681, 0.97580273195, 0.99996452013),
    *(0.99996452013, 1.0, 1.0, 1.0, 1.0, 1.0),
)
"""azure_cdf.json of fleet-sim: the merged code and conversation traces of Azure Public Dataset 2023."""
LMSYS = (
    *(0.13143902904, 0.23594687561, 0.38247727256, 0.63832722068, 0.75798339306, 0.83066167748),
    *(0.90885992566, 0.94828470036, 0.97286575022, 0.98374223329, 0.99288521497, 0.99653052077),
    *(0.99863301032, 0.99926450012, 0.99965577615, 0.99979445626, 0.99983903201, 1.0),
)
"""lmsys_cdf.json of fleet-sim, which stands for LMSYS-Chat-1M."""
AGENT_HEAVY = (
    *(0.0, 0.0, 0.00007, 0.00407, 0.02237, 0.05757, 0.15871, 0.26459, 0.43163, 0.53802, 0.65987, 0.74042),
    *(0.85213, 0.91717, 0.97282, 0.99046, 0.99849, 1.0),
)
"""agent_heavy_cdf.json of fleet-sim, synthetic."""


@dataclass(frozen=True, slots=True)
class Service:
    """A pool's requests on one instance."""

    share: float
    """Of all requests that the pool takes."""
    slots: int
    mean_s: float
    """In a slot, E[S]."""
    variation: float
    """Coefficient of variation of S."""

    @property
    def rate_per_s(self) -> float:
        """μ = slots / E[S]."""
        return self.slots / self.mean_s


def slots(profile: Profile, max_model_len: int) -> int:
    """Requests of max_model_len that the KV cache holds, as fleet-sim counts them."""
    by_blocks = profile.kv_blocks // -(-max_model_len // BLOCK_TOKENS)
    return min(profile.reference_slots * REFERENCE_TOKENS // max_model_len, by_blocks)


def service_s(profile: Profile, tokens: Floats, in_slots: int, prompt_share: float = PROMPT_SHARE) -> Floats:
    """S = (⌈prompt / chunk⌉ + output)·(W + H·tokens/8192·slots), with all slots taken."""
    prompt, output = np.maximum(1, tokens * prompt_share // 1), np.maximum(1, tokens * (1 - prompt_share) // 1)
    iteration_s = profile.iteration_s + profile.sequence_s * tokens / REFERENCE_TOKENS * in_slots
    return np.asarray((np.ceil(prompt / profile.chunk_tokens) + output) * iteration_s, dtype=np.float64)


def quantiles(cumulative: tuple[float, ...], above_tokens: float, to_tokens: float) -> tuple[Floats, float]:
    """Total tokens of requests between two bounds, as equally likely values, and the share of such requests.

    Uniform within the steps of the distribution, as fleet-sim draws them.
    """
    tokens, reached = (0, *CDF_TOKENS), (0.0, *cumulative)
    low, high = np.interp([above_tokens, to_tokens], tokens, reached)
    places = low + (np.arange(_POINTS) + 0.5) / _POINTS * (high - low)
    return np.interp(places, reached, tokens), float(high - low)


def service(
    profile: Profile,
    cumulative: tuple[float, ...],
    max_model_len: int,
    *,
    above_tokens: float = 0.0,
    to_tokens: float = CDF_TOKENS[-1],
) -> Service:
    """Describe the requests between two bounds on an instance of max_model_len.

    Raises:
        ConfigurationError: there are none.
    """
    tokens, share = quantiles(cumulative, above_tokens, to_tokens)
    if share <= 0.0:
        raise ConfigurationError(f"No request lies between {above_tokens} and {to_tokens} tokens.")
    count = slots(profile, max_model_len)
    times = service_s(profile, tokens, count)
    return Service(share, count, float(times.mean()), float(times.std() / times.mean()))


def instances(what: Service, rate_per_s: float, wait_s: float = math.inf) -> int:
    """Least instances within the utilisation cap and, if given, with a P99 wait of at most `wait_s`."""
    count = max(1, math.ceil(rate_per_s * what.share / (what.rate_per_s * UTILISATION_CAP)))
    while wait_s < math.inf and wait_p99_s(what, rate_per_s * what.share, count) > wait_s:
        count += 1
    return count


def wait_p99_s(what: Service, rate_per_s: float, count: int) -> float:
    """P99 of the wait for a slot: M/M/c over all slots, stretched by Kimura's (1 + CV²)/2; infinite in overload.

    Of M/M/c P(wait > t) = C·exp(−(c·μ − λ)·t), with Erlang's C.
    """
    servers, offered = count * what.slots, rate_per_s * what.mean_s
    if offered >= servers:
        return math.inf
    waits = erlang_c(servers, offered)
    spare_per_s = (servers - offered) / what.mean_s
    return max(0.0, math.log(max(waits, 1e-300) / 0.01)) / spare_per_s * (1 + what.variation**2) / 2


def erlang_c(servers: int, offered: float) -> float:
    """Probability of waiting in M/M/c with c servers and an offered load of λ/μ below c.

    By the recursion of Erlang's B in its inverse, 1/B(k) = 1 + k/a·1/B(k − 1): sums of positive terms, so it is stable
    for any c; where 1/B exceeds what a float holds, nobody waits.
    """
    inverse = 1.0
    for k in range(1, servers + 1):
        inverse = 1.0 + inverse * k / offered
    return 1.0 / (1.0 + (inverse - 1.0) * (1.0 - offered / servers)) if inverse < math.inf else 0.0
