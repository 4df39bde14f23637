"""The metric families of vLLM's V1 engine and the releases that have them; a table, no behaviour.

Two families may show the same value: a renamed metric is kept for some releases beside its successor. Counters gain
`_total` when they are written. Where it is not known in which release a family came, the earliest one read has it.
"""

from dataclasses import dataclass
from enum import StrEnum

from extproc.mockvllm.settings import Version


class Kind(StrEnum):
    """Prometheus metric types in use."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class Value(StrEnum):
    """What is measured, whatever a release calls it."""

    RUNNING = "running"
    WAITING = "waiting"
    WAITING_BY_REASON = "waiting_by_reason"
    KV_USAGE = "kv_usage"
    PREEMPTIONS = "preemptions"
    PROMPT_TOKENS = "prompt_tokens"
    GENERATION_TOKENS = "generation_tokens"
    TOKENS_BY_SOURCE = "tokens_by_source"
    CACHED_TOKENS = "cached_tokens"
    PREFIX_QUERIES = "prefix_queries"
    PREFIX_HITS = "prefix_hits"
    FINISHED = "finished"
    REJECTIONS = "rejections"
    TTFT = "ttft"
    ITL = "itl"
    TPOT = "tpot"
    E2E = "e2e"
    QUEUE = "queue"
    PREFILL = "prefill"
    DECODE = "decode"
    INFERENCE = "inference"
    REQUEST_PROMPT = "request_prompt"
    REQUEST_GENERATION = "request_generation"
    REQUEST_MAX_TOKENS = "request_max_tokens"
    REQUEST_N = "request_n"
    REQUEST_PREEMPTIONS = "request_preemptions"
    STEP_TOKENS = "step_tokens"


@dataclass(frozen=True, slots=True)
class Family:
    """One exposed metric."""

    kind: Kind
    value: Value
    name: str
    help: str
    since: Version = (0, 0)
    until: Version = (1_000_000, 0)
    """The first release without it."""
    label: str | None = None
    """A label beside `model_name` and `engine`."""
    label_values: tuple[str, ...] = ("",)
    buckets: tuple[float, ...] | None = None
    """None takes the 1-2-5 series up to max_model_len."""


QUEUE_REASON = "max_num_queued_reqs"
BACKLOG_REASON = "max_num_queued_tokens"

_TTFT_S = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    20,
    40,
    80,
    160,
    640,
    2560,
)
_ITL_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_LATENCY_S = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
_STEP_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_COUNTS = (1, 2, 5, 10, 20)

_GAUGES = (
    Family(Kind.GAUGE, Value.RUNNING, "vllm:num_requests_running", "Sequences in the running batch."),
    Family(Kind.GAUGE, Value.WAITING, "vllm:num_requests_waiting", "Sequences that wait to be scheduled."),
    Family(
        Kind.GAUGE,
        Value.WAITING_BY_REASON,
        "vllm:num_requests_waiting_by_reason",
        "Waiting sequences by cause.",
        since=(0, 20),
        label="reason",
        label_values=("capacity", "deferred"),
    ),
    Family(
        Kind.GAUGE, Value.KV_USAGE, "vllm:gpu_cache_usage_perc", "Share of KV blocks in use, 0 to 1.", until=(0, 11)
    ),
    Family(Kind.GAUGE, Value.KV_USAGE, "vllm:kv_cache_usage_perc", "Share of KV blocks in use, 0 to 1.", since=(0, 9)),
)

_COUNTERS = (
    Family(Kind.COUNTER, Value.PREEMPTIONS, "vllm:num_preemptions", "Sequences preempted."),
    Family(Kind.COUNTER, Value.PROMPT_TOKENS, "vllm:prompt_tokens", "Prompt tokens processed."),
    Family(Kind.COUNTER, Value.GENERATION_TOKENS, "vllm:generation_tokens", "Tokens generated."),
    Family(
        Kind.COUNTER,
        Value.TOKENS_BY_SOURCE,
        "vllm:prompt_tokens_by_source",
        "Prompt tokens by where their KV came from.",
        since=(0, 17),
        label="source",
        label_values=("local_compute", "local_cache_hit", "external_kv_transfer"),
    ),
    Family(
        Kind.COUNTER, Value.CACHED_TOKENS, "vllm:prompt_tokens_cached", "Prompt tokens from a cache.", since=(0, 17)
    ),
    Family(Kind.COUNTER, Value.PREFIX_QUERIES, "vllm:gpu_prefix_cache_queries", "Tokens looked up.", until=(0, 13)),
    Family(Kind.COUNTER, Value.PREFIX_HITS, "vllm:gpu_prefix_cache_hits", "Tokens found.", until=(0, 13)),
    Family(Kind.COUNTER, Value.PREFIX_QUERIES, "vllm:prefix_cache_queries", "Tokens looked up.", since=(0, 9)),
    Family(Kind.COUNTER, Value.PREFIX_HITS, "vllm:prefix_cache_hits", "Tokens found.", since=(0, 9)),
    Family(
        Kind.COUNTER,
        Value.FINISHED,
        "vllm:request_success",
        "Sequences that ended, by how.",
        label="finished_reason",
        label_values=("stop", "length", "abort", "error", "repetition"),
    ),
    Family(
        Kind.COUNTER,
        Value.REJECTIONS,
        "vllm:admission_rejections",
        "Requests refused by a queue limit.",
        since=(0, 32),
        label="reason",
        label_values=(QUEUE_REASON, BACKLOG_REASON),
    ),
)


def _seconds(value: Value, name: str, text: str, **more: Version) -> Family:
    return Family(Kind.HISTOGRAM, value, f"vllm:{name}_seconds", text, buckets=_LATENCY_S, **more)  # type: ignore[arg-type]  # only since and until are passed


_HISTOGRAMS = (
    Family(Kind.HISTOGRAM, Value.TTFT, "vllm:time_to_first_token_seconds", "Time to first token.", buckets=_TTFT_S),
    Family(
        Kind.HISTOGRAM,
        Value.ITL,
        "vllm:time_per_output_token_seconds",
        "Time between tokens.",
        until=(0, 17),
        buckets=_ITL_S,
    ),
    Family(
        Kind.HISTOGRAM,
        Value.ITL,
        "vllm:inter_token_latency_seconds",
        "Time between tokens.",
        since=(0, 10),
        buckets=_ITL_S,
    ),
    Family(
        Kind.HISTOGRAM,
        Value.TPOT,
        "vllm:request_time_per_output_token_seconds",
        "Mean time between the tokens of a request.",
        since=(0, 11),
        buckets=_ITL_S,
    ),
    _seconds(Value.E2E, "e2e_request_latency", "Arrival to end."),
    _seconds(Value.QUEUE, "request_queue_time", "Arrival to first scheduling."),
    _seconds(Value.PREFILL, "request_prefill_time", "First scheduling to first token."),
    _seconds(Value.DECODE, "request_decode_time", "First token to last."),
    _seconds(Value.INFERENCE, "request_inference_time", "First scheduling to last token."),
    Family(Kind.HISTOGRAM, Value.REQUEST_PROMPT, "vllm:request_prompt_tokens", "Prompt tokens of a request."),
    Family(Kind.HISTOGRAM, Value.REQUEST_GENERATION, "vllm:request_generation_tokens", "Tokens a request generated."),
    Family(Kind.HISTOGRAM, Value.REQUEST_MAX_TOKENS, "vllm:request_params_max_tokens", "The resolved max_tokens."),
    Family(Kind.HISTOGRAM, Value.REQUEST_N, "vllm:request_params_n", "Answers asked for.", buckets=_COUNTS),
    Family(
        Kind.HISTOGRAM,
        Value.REQUEST_PREEMPTIONS,
        "vllm:request_num_preemptions",
        "How often a request was preempted.",
        since=(0, 30),
        buckets=_COUNTS,
    ),
    Family(Kind.HISTOGRAM, Value.STEP_TOKENS, "vllm:iteration_tokens_total", "Tokens of a step.", buckets=_STEP_TOKENS),
)


def families(version: Version) -> tuple[Family, ...]:
    """What a release exposes."""
    return tuple(each for each in (*_GAUGES, *_COUNTERS, *_HISTOGRAMS) if each.since <= version < each.until)


def one_two_five(most: int) -> tuple[float, ...]:
    """1, 2, 5, 10, 20, ... up to `most`."""
    series = (mantissa * 10**exponent for exponent in range(len(str(most))) for mantissa in (1, 2, 5))
    return tuple(float(each) for each in series if each <= most)
