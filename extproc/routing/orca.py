"""What vLLM says of its load in the headers of its answers (ORCA), and a pool's state made of it; knows no clock.

Each sample is one answer's, of an instance nobody names, and of two numbers: KV usage and waiting requests. The mean
over the pool's recent answers stands for the mean over its instances. It is never mixed with what polls say.
"""

import math
from collections.abc import Iterable, Iterator

import msgspec

from extproc.routing.exchange import Outcome
from extproc.routing.readings import FRESH_POLLS, Reading, is_plausible
from extproc.routing.steering import PoolState
from extproc.routing.values import Pool

ORCA_MAX_CHARS = 4096
"""Longer headers are not read: vLLM writes about 100 characters for each engine."""
_LEAST_SAMPLES = 3.0
"""Recent answers without which there is no state: fewer may all be of one instance."""
_KV_USAGE = "kv_cache_usage_perc"
_WAITING = "num_requests_waiting"
_PREFIX = "named_metrics."


class OrcaSample(msgspec.Struct, frozen=True, gc=False):
    """An instance when it answered."""

    kv_usage: float
    """Share of KV blocks in use, 0 to 1; the mean where several engines said theirs."""
    waiting: float
    """Sequences in the queue; the sum where several engines said theirs."""


class _Report(msgspec.Struct, frozen=True):
    named_metrics: dict[str, float] = {}


_report = msgspec.json.Decoder(_Report)


def parse_orca(text: str) -> OrcaSample | None:
    """What an `endpoint-load-metrics` header says; None where it lacks a number or says what cannot be.

    Forms, each also without its first word, as vLLM's front end in Rust leaves it out:

        TEXT named_metrics.kv_cache_usage_perc=0.42, named_metrics.num_requests_waiting=3.0
        JSON {"named_metrics": {"kv_cache_usage_perc": 0.42, "num_requests_waiting": 3.0}}
    """
    if len(text) > ORCA_MAX_CHARS:
        return None
    body = text.strip().removeprefix("TEXT ").removeprefix("JSON ").strip()
    try:
        pairs = list(_of_json(body) if body.startswith("{") else _of_text(body))
    except (msgspec.MsgspecError, ValueError):
        return None
    usages = [value for name, value in pairs if name == _KV_USAGE]
    queues = [value for name, value in pairs if name == _WAITING]
    if not (usages and queues):
        return None
    sample = OrcaSample(kv_usage=math.fsum(usages) / len(usages), waiting=math.fsum(queues))
    judged = Reading(at_s=0.0, running=0.0, waiting=sample.waiting, kv_usage=sample.kv_usage)
    return sample if is_plausible(judged) else None


def _of_json(body: str) -> Iterable[tuple[str, float]]:
    return _report.decode(body).named_metrics.items()


def _of_text(body: str) -> Iterator[tuple[str, float]]:
    for entry in body.split(","):
        name, _, value = entry.strip().partition("=")
        name = name.strip().removeprefix(_PREFIX)
        if name in (_KV_USAGE, _WAITING):
            yield name, float(value)


class OrcaLoads:
    """Fading means of what the answers of each pool said. Not thread-safe.

    A sample counts exp(−age / window) with a window of three polls, so that the state follows a pool about as fast as
    polls would. Without a sample for three polls, or with too few, there is no state.
    """

    def __init__(self, poll_s: float) -> None:
        """Nothing was said yet.

        Args:
            poll_s: how often instances would be asked; the samples fade three times as slowly.
        """
        self.poll_s = poll_s
        """How often instances would be asked; may be changed."""
        self._pools = {pool: _Fading() for pool in Pool}

    def heed(self, outcome: Outcome, now_s: float) -> bool:
        """Take in what the answer of an exchange said, if anything; whether it did, and could be true.

        In shadow mode nobody knows which pool answered, and nothing is taken in.
        """
        sample = parse_orca(outcome.orca)
        if sample is None or outcome.decision is None or outcome.shadow:
            return False
        self._pools[Pool.LONG if outcome.escalated else outcome.decision.pool].add(sample, now_s, self._window_s)
        return True

    def state(self, pool: Pool, now_s: float) -> PoolState | None:
        """The pool as its recent answers show it, as if it were one instance; `running` is not said, and 0."""
        return self._pools[pool].state(now_s, self._window_s)

    @property
    def _window_s(self) -> float:
        return FRESH_POLLS * self.poll_s


class _Fading:
    """Sums of weights and weighted values as they stood when the last sample came."""

    __slots__ = ("_at_s", "_kv_usage", "_waiting", "_weight")

    def __init__(self) -> None:
        self._at_s = -math.inf
        self._weight = self._kv_usage = self._waiting = 0.0

    def add(self, sample: OrcaSample, now_s: float, window_s: float) -> None:
        left = math.exp(min(0.0, self._at_s - now_s) / window_s)
        self._at_s = max(self._at_s, now_s)
        self._weight = self._weight * left + 1.0
        self._kv_usage = self._kv_usage * left + sample.kv_usage
        self._waiting = self._waiting * left + sample.waiting

    def state(self, now_s: float, window_s: float) -> PoolState | None:
        age_s = now_s - self._at_s
        if age_s > window_s or self._weight * math.exp(-max(0.0, age_s) / window_s) < _LEAST_SAMPLES:
            return None
        kv_usage = min(1.0, self._kv_usage / self._weight)
        return PoolState(instances=1, running=0.0, waiting=self._waiting / self._weight, kv_usage=kv_usage)
