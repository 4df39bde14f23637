"""The nouns of the planner: what an instance is, what a fleet is, what a request is and what it came to.

They know no behaviour beyond arithmetic on themselves; times are float seconds, counts of text are tokens.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from extproc.routing.values import Category, Pool

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
CATEGORIES = tuple(Category)
"""What the number of a category in a batch means."""
ABSENT = -1
"""In place of a `max_tokens` that a request does not declare."""
BLOCK_TOKENS = 16
"""Tokens of a KV block, vLLM's default."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds that one engine step takes, as what a scheduler's step adds up to.

    A step with T tokens of S sequences, of which decoding ones have K resident tokens in all, and whose prefill chunks
    have c new tokens after q earlier ones each, takes

        dense_s[T] + sequences_s[S] + kv_s·K + Σ over chunks (pair_s·c·(q + c/2) + earlier_s·q)

    and mixed_kv_s·K more if there is a chunk.
    """

    dense_s: Floats
    """By tokens in the step, index 0 to max_num_batched_tokens: weights, compute, all-reduce and what every step costs.
    """
    sequences_s: Floats
    """By sequences in the step, index 0 to max_num_seqs: sampling, the language head, what a sequence costs the CPU."""
    kv_s: float
    """Per resident token of decoding sequences: their KV is read once."""
    pair_s: float
    """Per pair of a new and an earlier token of a prefill chunk: its attention."""
    earlier_s: float
    """Per token that stands before a prefill chunk: its KV is read."""
    mixed_kv_s: float = 0.0
    """Per resident token of decoding sequences in a step that prefills too, beside `kv_s`: one attention kernel that
    serves both reads slower than the one for decoding alone."""


class Overflow(StrEnum):
    """What vLLM does with a request whose prompt and declared output exceed max_model_len together."""

    CLAMP = "clamp"
    """Shortens the output without a word: 0.32 and newer."""
    REJECT = "reject"
    """Answers 400: 0.31 and older."""


class Balancing(StrEnum):
    """How Envoy chooses an instance of a pool."""

    ROUND_ROBIN = "round_robin"
    LEAST_REQUEST = "least_request"
    """The less loaded of two drawn at random, by requests in flight: Envoy's LEAST_REQUEST with its choice_count 2."""
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One vLLM process and the GPUs it runs on."""

    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_blocks: int
    """Blocks of 16 tokens that the KV cache holds."""
    steps: StepTimes
    gpus: int = 1
    usd_per_hour: float = 0.0
    """Of the whole instance."""
    watermark: float = 0.0
    """Share of blocks kept free at admission while something runs (vLLM 0.24 and newer; 0 by default)."""
    reserve_full_sequence: bool = True
    """Admit a request only if free blocks hold all of its current tokens (vLLM's scheduler_reserve_full_isl)."""
    long_prefill_token_threshold: int = 0
    """Most tokens of a step that one prompt gets while others are there, so that short ones pass (vLLM's flag of this
    name); 0 for no such bound."""
    overflow: Overflow = Overflow.CLAMP
    max_queued_requests: int | None = None
    """Running and waiting requests above which a new one gets 503 (--max-num-queued-reqs, 0.29 and newer)."""
    prefix_caching: bool = False
    """Reuse KV of equal prefixes. Matters only to workloads that name their prefixes."""
    api_s: float = 0.0
    """From a request's arrival to its first appearance before the scheduler: HTTP, template, tokenizer."""
    deaths_per_hour: float = 0.0
    """Engine deaths (out of memory outside the KV cache, GPU faults): all requests in flight fail."""
    restart_s: float = 300.0
    """From a death until the instance takes requests again."""
    name: str = ""
    """For people: GPU and tensor parallelism."""
    flags: tuple[str, ...] = ()
    """What follows `vllm serve` on the command line of such an instance."""


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """Instances that are configured alike."""

    pool: Pool
    instances: int
    instance: InstanceSpec
    balancing: Balancing = Balancing.LEAST_REQUEST

    @property
    def gpus(self) -> int:
        """All GPUs of the pool."""
        return self.instances * self.instance.gpus

    @property
    def usd_per_hour(self) -> float:
        """Price of the pool."""
        return self.instances * self.instance.usd_per_hour


class Batch(NamedTuple):
    """Requests in the order of their arrival, as columns of one length n."""

    arrival_s: Floats
    """In ascending order, from 0 on over all batches of a workload."""
    prompt_tokens: Ints
    output_tokens: Ints
    """What the model would write if nothing cut it short; at least 1."""
    declared_tokens: Ints
    """`max_tokens`, or `ABSENT`."""
    categories: npt.NDArray[np.int8]
    """Positions in `CATEGORIES`."""
    prefix_from: Ints | None = None
    """n + 1 positions in `prefixes`: where each request's prefix blocks begin; None where none are named."""
    prefixes: Ints | None = None
    """Names of blocks of 512 prompt tokens; equal names mean equal text up to the end of the block."""


@dataclass(frozen=True, slots=True)
class Slo:
    """What is promised to users."""

    ttft_s: float = 2.0
    tpot_s: float = 0.08
    percentile: float = 99.0
    """Of all requests: so many must be answered in full and within both times."""
    ttft_s_per_token: float = 0.0
    """A prompt of so many tokens that this comes to more than `ttft_s` has that time instead: no fleet prefills the
    longest prompts within the time of a short one."""


class Outcome(IntEnum):
    """What became of a request; each arrival has exactly one."""

    COMPLETED = 0
    """Ended by itself, or at the limit its client declared."""
    TRUNCATED = 1
    """Cut short by the end of the context, before it ended or reached what was declared."""
    REJECTED_LENGTH = 2
    """400: longer than max_model_len."""
    REJECTED_BUSY = 3
    """503: queue limit."""
    FAILED = 4
    """Its engine died, or could not make progress with it."""
    UNFINISHED = 5
    """Still waiting or running when the simulation ended."""


class Finished(NamedTuple):
    """Requests that ended, as columns of one length, in the order in which they ended."""

    number: Ints
    """Position in the workload, from 0."""
    pool: Ints
    """Position among the fleet's pools."""
    instance: Ints
    outcome: Ints
    arrival_s: Floats
    scheduled_s: Floats
    """NaN where it never was; likewise below."""
    first_token_s: Floats
    end_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    """Written."""
    preemptions: Ints
    cached_tokens: Ints
    """Of the prompt, found in the prefix cache when it was first scheduled."""


@dataclass(frozen=True, slots=True)
class Series:
    """A pool over time, sampled at equal distances."""

    time_s: list[float] = field(default_factory=list)
    running: list[float] = field(default_factory=list)
    """Requests, over all instances."""
    waiting: list[float] = field(default_factory=list)
    kv_share: list[float] = field(default_factory=list)
    """Of all blocks of the pool, in use."""
