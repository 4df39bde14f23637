"""Judges what instances say of themselves and makes one `PoolState` of it, or none; knows no network and no clock.

No reading means no steering, never a wrong one. So a reading is used only while it is

    fresh      not older than three polls, and moving where it says that work is under way,
    plausible  complete, finite, and within what an instance can be in;

and a pool has a state only while at least half of its known instances are fresh. Below that nobody can tell whether
the others are dead, and the rest now carries their load, or only the way to them is cut, and the rest says nothing of
what they carry: a mean over the minority would be steered by all the same.
"""

import math
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from extproc.routing.steering import PoolState

FRESH_POLLS = 3.0
"""Polls for which a reading is good: one may be lost, and one come late."""
HEARD_POLLS = 30.0
"""Polls after which an instance that says nothing usable is not only behind but silent."""
MAX_REQUESTS = 1_000_000
"""No instance runs or queues more: each sequence is part of a request, and each request holds a connection."""
MAX_EVENTS_PER_S = 100_000.0
"""No counter of ours grows faster: an engine steps a hundred times a second, and a step holds a thousand sequences."""
_ROUNDING = 1e-6


class Standing(StrEnum):
    """How much an instance's word is worth at present."""

    FRESH = "fresh"
    """Its reading counts."""
    STALE = "stale"
    """Its last plausible reading is older than three polls, or has not moved for so long while it says it is busy."""
    IMPLAUSIBLE = "implausible"
    """Its last answer cannot be true, or lacks a part."""
    SILENT = "silent"
    """Nothing plausible ever came from it, or not for thirty polls."""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """One instance as its `/metrics` show it, unjudged; None for what it does not show."""

    at_s: float
    """When it was read, of any clock that does not run backwards."""
    running: float | None = None
    """Sequences in the batch."""
    waiting: float | None = None
    """Sequences in the queue."""
    kv_usage: float | None = None
    """Share of KV blocks in use, 0 to 1."""
    preemptions_total: float | None = None
    """Since its process began."""
    rejections_total: float | None = None
    """Requests refused with 503, likewise; vLLM counts them since 0.32."""
    tokens_total: float | None = None
    """Prompt and generated tokens, likewise: what moves while it works."""


class PoolReadings:
    """What is known of one pool's instances. Not thread-safe."""

    def __init__(self, poll_s: float) -> None:
        """Nothing is known yet.

        Args:
            poll_s: how often each instance is asked.
        """
        self.poll_s = poll_s
        """How often each instance is asked; may be changed."""
        self._instances: dict[str, _Instance] = {}

    def know(self, instances: Iterable[str]) -> None:
        """These are the pool's instances from now on; what was read of others is forgotten."""
        self._instances = {name: self._instances.get(name) or _Instance() for name in instances}

    def take(self, instance: str, reading: Reading) -> bool:
        """Take in what a known instance said of itself; whether it is plausible, and thus counts."""
        return instance in self._instances and self._instances[instance].take(reading)

    def standing(self, instance: str, now_s: float) -> Standing:
        """How much the word of a known instance is worth."""
        return self._instances[instance].standing(now_s, self.poll_s)

    def standings(self, now_s: float) -> dict[Standing, int]:
        """How many of the known instances stand how."""
        counts = dict.fromkeys(Standing, 0)
        for instance in self._instances.values():
            counts[instance.standing(now_s, self.poll_s)] += 1
        return counts

    def state(self, now_s: float) -> PoolState | None:
        """The means over the fresh instances; None where they are fewer than half of those known."""
        fresh = [
            instance.load(self.poll_s)
            for instance in self._instances.values()
            if instance.standing(now_s, self.poll_s) is Standing.FRESH
        ]
        if not fresh or 2 * len(fresh) < len(self._instances):
            return None
        means = [math.fsum(values) / len(fresh) for values in zip(*fresh, strict=True)]
        return PoolState(len(fresh), *means)


class _Instance:
    """The last plausible reading of one instance, and what the ones before it add."""

    __slots__ = ("_doubted_s", "_last", "_moved_s", "_preemptions_per_s", "_rejections_per_s")

    def __init__(self) -> None:
        self._last: Reading | None = None
        self._moved_s = 0.0  # since when it has shown the same values
        self._doubted_s: float | None = None  # when it last said what cannot be, unless it said better since
        self._preemptions_per_s = self._rejections_per_s = 0.0

    def take(self, reading: Reading) -> bool:
        last = self._last
        if not is_plausible(reading) or (last is not None and reading.at_s <= last.at_s):
            self._doubted_s = reading.at_s
            return False
        if last is None or _shown(last) != _shown(reading):
            self._moved_s = reading.at_s
        if last is not None:
            elapsed_s = reading.at_s - last.at_s
            self._preemptions_per_s = rate_of(last.preemptions_total, reading.preemptions_total, elapsed_s)
            self._rejections_per_s = rate_of(last.rejections_total, reading.rejections_total, elapsed_s)
        self._last, self._doubted_s = reading, None
        return True

    def standing(self, now_s: float, poll_s: float) -> Standing:
        if self._doubted_s is not None and now_s - self._doubted_s <= FRESH_POLLS * poll_s:
            return Standing.IMPLAUSIBLE
        if self._last is None or now_s - self._last.at_s > HEARD_POLLS * poll_s:
            return Standing.SILENT
        if now_s - self._last.at_s > FRESH_POLLS * poll_s or (self._rests(poll_s) and _busy(self._last)):
            return Standing.STALE
        return Standing.FRESH

    def load(self, poll_s: float) -> tuple[float, float, float, float, float]:
        """Running, waiting, KV usage, preemptions and rejections per second; only where there is a reading.

        At rest the KV usage counts as 0: nobody holds blocks where nobody runs or waits, whatever the last step left
        on the gauge. Where that is wrong, the next request shows it.
        """
        last = self._last
        assert last is not None
        kv_usage = 0.0 if self._rests(poll_s) else min(1.0, last.kv_usage or 0.0)
        return last.running or 0.0, last.waiting or 0.0, kv_usage, self._preemptions_per_s, self._rejections_per_s

    def _rests(self, poll_s: float) -> bool:
        """Whether it has shown the very same for three polls.

        vLLM sets its gauges once in each step of its engine, and an idle engine takes none: it goes on showing what
        the last step left. With nobody running or waiting that is the truth. With somebody it is not: a working engine
        cannot but generate tokens or take blocks, so this one either is idle since an abort that no step has told, or
        hangs. Nobody can tell which from outside, so its word counts for nothing.
        """
        assert self._last is not None
        return self._last.at_s - self._moved_s >= FRESH_POLLS * poll_s


def is_plausible(reading: Reading) -> bool:
    """Whether an instance can be as it says: all gauges there, all numbers finite and within bounds."""
    counters = (reading.preemptions_total, reading.rejections_total, reading.tokens_total)
    return (
        all(_within(value, MAX_REQUESTS) for value in (reading.running, reading.waiting))
        and _within(reading.kv_usage, 1.0 + _ROUNDING)
        and all(value is None or _within(value, math.inf) for value in counters)
    )


def rate_of(before: float | None, now: float | None, elapsed_s: float) -> float:
    """Events per second between two values of a counter that grows; 0 where it cannot be told.

    A counter below what it was began anew with its process, or is another instance's behind the same address: what has
    happened since nobody can tell from it. What grows faster than anything can is no count, and tells nothing.
    """
    if before is None or now is None or now < before:
        return 0.0
    per_s = (now - before) / elapsed_s
    return per_s if per_s <= MAX_EVENTS_PER_S else 0.0


def _within(value: float | None, most: float) -> bool:
    """Also false for NaN, which no comparison is true of, and for infinity."""
    return value is not None and 0.0 <= value <= most and value != math.inf


def _shown(reading: Reading) -> tuple[float | None, ...]:
    """What moves while an engine works."""
    return reading.running, reading.waiting, reading.kv_usage, reading.preemptions_total, reading.tokens_total


def _busy(reading: Reading) -> bool:
    return bool(reading.running or reading.waiting)
