"""vLLM's Prometheus metrics by release, filled from the engine's steps; knows no HTTP route.

The values are kept here in plain numbers and shown through a prometheus_client registry of the instance's own, because
one step can stand for many equal ones and must be observed that often at the cost of once.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from extproc.mockvllm.engine import Engine, Progress, Step
from extproc.mockvllm.metricnames import Family, Kind, Value, families, one_two_five
from extproc.mockvllm.sequence import Outcome, Sequence
from extproc.mockvllm.settings import BLOCK_TOKENS, MockSettings


class Metrics(Collector):
    """The numbers of one instance and their exposition; times are model seconds."""

    def __init__(self, settings: MockSettings) -> None:
        self._settings = settings
        self._families = families(settings.version)
        self._numbers: Counter[tuple[Value, str]] = Counter()
        self._usage = 0.0
        tokens = one_two_five(settings.max_model_len)
        self._histograms = {
            family.value: _Histogram(family.buckets or tokens)
            for family in self._families
            if family.kind is Kind.HISTOGRAM
        }
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def exposition(self, accept: str) -> tuple[str, bytes]:
        """Content type and text: Prometheus 0.0.4, or OpenMetrics where the Accept header asks for it."""
        encoder, content_type = choose_encoder(accept)
        return content_type, encoder(self._registry)

    def admitted(self, count: int, max_tokens: int) -> None:
        """A request with so many sequences entered the engine."""
        self._observe(Value.REQUEST_N, count)
        self._observe(Value.REQUEST_MAX_TOKENS, max_tokens)

    def rejected(self, reason: str) -> None:
        """A queue limit refused a request."""
        self._numbers[Value.REJECTIONS, reason] += 1

    def record(self, engine: Engine, step: Step, progress: Progress) -> None:
        """A step took effect; gauges move only here, as in vLLM."""
        generated = step.repeats * len(progress.advanced)
        self._numbers[Value.PREEMPTIONS, ""] += step.preemptions
        self._numbers[Value.GENERATION_TOKENS, ""] += generated
        self._observe(Value.STEP_TOKENS, sum(tokens for _, tokens in step.batch), step.repeats)
        for sequence in progress.advanced:
            self._advanced(sequence, step.repeats)
        for sequence in progress.finished:
            self.finished(sequence)
        self.refresh(engine)

    def refresh(self, engine: Engine) -> None:
        """Set the gauges."""
        self._numbers[Value.RUNNING, ""] = len(engine.running)
        self._numbers[Value.WAITING, ""] = self._numbers[Value.WAITING_BY_REASON, "capacity"] = len(engine.waiting)
        self._usage = engine.kv_usage

    def finished(self, sequence: Sequence) -> None:
        """A sequence ended, in whatever way."""
        assert sequence.outcome is not None
        self._numbers[Value.FINISHED, sequence.outcome] += 1
        if sequence.outcome is not Outcome.ABORT:
            self._latencies(sequence)
            self._observe(Value.REQUEST_PROMPT, sequence.prompt_tokens)
            self._observe(Value.REQUEST_GENERATION, sequence.generated)
            self._observe(Value.REQUEST_PREEMPTIONS, sequence.preemptions)

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for at every scrape."""
        for family in self._families:
            yield self._exposed(family)
        yield self._cache_config()

    def _advanced(self, sequence: Sequence, tokens: int) -> None:
        if sequence.last_gap_s is not None:
            self._observe(Value.ITL, sequence.last_gap_s, tokens)
            return
        assert sequence.first_token_s is not None
        self._observe(Value.TTFT, sequence.first_token_s - sequence.arrival_s)
        for value in (Value.PROMPT_TOKENS, Value.PREFIX_QUERIES):
            self._numbers[value, ""] += sequence.prompt_tokens
        self._numbers[Value.TOKENS_BY_SOURCE, "local_compute"] += sequence.prompt_tokens

    def _latencies(self, sequence: Sequence) -> None:
        assert sequence.scheduled_s is not None
        assert sequence.first_token_s is not None
        assert sequence.last_token_s is not None
        decode_s = sequence.last_token_s - sequence.first_token_s
        self._observe(Value.E2E, sequence.last_token_s - sequence.arrival_s)
        self._observe(Value.QUEUE, sequence.scheduled_s - sequence.arrival_s)
        self._observe(Value.PREFILL, sequence.first_token_s - sequence.scheduled_s)
        self._observe(Value.DECODE, decode_s)
        self._observe(Value.INFERENCE, sequence.last_token_s - sequence.scheduled_s)
        if sequence.generated > 1:
            self._observe(Value.TPOT, decode_s / (sequence.generated - 1))

    def _observe(self, value: Value, amount: float, times: int = 1) -> None:
        histogram = self._histograms.get(value)
        if histogram is not None:
            histogram.observe(amount, times)

    def _exposed(self, family: Family) -> Metric:
        names = ("model_name", "engine", *((family.label,) if family.label else ()))
        labels = (self._settings.model, "0")
        if family.kind is Kind.HISTOGRAM:
            shown = HistogramMetricFamily(family.name, family.help, labels=names)
            histogram = self._histograms[family.value]
            shown.add_metric(labels, histogram.cumulative(), histogram.sum)
            return shown
        kind = GaugeMetricFamily if family.kind is Kind.GAUGE else CounterMetricFamily
        metric = kind(family.name, family.help, labels=names)
        for label in family.label_values:
            number = self._usage if family.value is Value.KV_USAGE else self._numbers[family.value, label]
            metric.add_metric((*labels, *((label,) if family.label else ())), number)
        return metric

    def _cache_config(self) -> Metric:
        shown = {
            "block_size": str(BLOCK_TOKENS),
            "cache_dtype": "auto",
            "enable_prefix_caching": "False",
            "engine": "0",
            "num_gpu_blocks": str(self._settings.num_gpu_blocks),
        }
        metric = GaugeMetricFamily("vllm:cache_config_info", "How the KV cache is set up.", labels=list(shown))
        metric.add_metric(list(shown.values()), 1)
        return metric


class _Histogram:
    """Counts by bucket, and the sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, amount: float, times: int) -> None:
        self._counts[bisect_left(self._bounds, amount)] += times
        self.sum += amount * times

    def cumulative(self) -> list[tuple[str, float]]:
        names = (*(str(float(bound)) for bound in self._bounds), "+Inf")
        return list(zip(names, accumulate(self._counts), strict=True))
