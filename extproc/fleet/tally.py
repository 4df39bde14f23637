"""Adds up what became of requests, pool by pool; must not know how they were simulated or routed.

Every arrival after the warm-up has exactly one outcome here, and all outcomes stand in the denominator of the share
that met the objective: a fleet does not get better by refusing requests.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from extproc.fleet.distribution import Distribution
from extproc.fleet.state import Records
from extproc.fleet.values import Floats, Outcome, Series, Slo


@dataclass(slots=True)
class PoolTally:
    """What became of the requests of one pool."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    ttft: Distribution = field(default_factory=Distribution)
    """From arrival to the first token, of those that have one."""
    tpot: Distribution = field(default_factory=Distribution)
    """Between first and last token by the tokens between, of ended requests with two tokens or more."""
    e2e: Distribution = field(default_factory=Distribution)
    queue: Distribution = field(default_factory=Distribution)
    """From arrival to the first step."""
    met_slo: int = 0
    """Ended by themselves within both times of the objective."""
    preempted: int = 0
    """Requests that were preempted at least once."""
    preemptions: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    series: Series = field(default_factory=Series)

    @property
    def arrivals(self) -> int:
        """Requests that came after the warm-up."""
        return sum(self.outcomes.values())

    @property
    def slo_share(self) -> float:
        """Of all arrivals; NaN where there are none."""
        return self.met_slo / self.arrivals if self.arrivals else float("nan")

    def share(self, *outcomes: Outcome) -> float:
        """Of all arrivals; 0 where there are none."""
        return sum(self.outcomes[outcome] for outcome in outcomes) / max(1, self.arrivals)

    def take(self, ended: Records, slo: Slo, api_s: float) -> None:
        """Add requests that ended (records of `state.FINISHED`)."""
        for outcome, count in enumerate(np.bincount(ended["outcome"], minlength=len(Outcome)).tolist()):
            if count:
                self.outcomes[Outcome(outcome)] += count
        self._count(ended)
        done = ended[ended["outcome"] <= Outcome.TRUNCATED]
        ttft_s = done["first_token_s"] - done["arrival_s"] + api_s
        tpot_s = _tpot_s(done)
        self._time(done, ttft_s, tpot_s, api_s)
        whole = done["outcome"] == Outcome.COMPLETED
        allowed_s = np.maximum(slo.ttft_s, slo.ttft_s_per_token * done["prompt"])
        self.met_slo += int(np.count_nonzero(whole & (ttft_s <= allowed_s) & ~(tpot_s > slo.tpot_s)))

    def _count(self, ended: Records) -> None:
        self.preempted += int(np.count_nonzero(ended["preemptions"]))
        self.preemptions += int(ended["preemptions"].sum())
        self.prompt_tokens += int(ended["prompt"].sum(dtype=np.int64))
        self.output_tokens += int(ended["output"].sum(dtype=np.int64))
        self.cached_tokens += int(ended["cached"].sum(dtype=np.int64))

    def _time(self, done: Records, ttft_s: Floats, tpot_s: Floats, api_s: float) -> None:
        self.ttft.add(ttft_s)
        self.tpot.add(tpot_s[~np.isnan(tpot_s)])
        self.e2e.add(done["end_s"] - done["arrival_s"] + api_s)
        self.queue.add(done["scheduled_s"] - done["arrival_s"])


def _tpot_s(done: Records) -> Floats:
    """NaN for answers of one token."""
    gaps = done["output"] - 1.0
    return np.where(gaps > 0, (done["end_s"] - done["first_token_s"]) / np.where(gaps > 0, gaps, 1.0), np.nan)


def together(tallies: list[PoolTally]) -> PoolTally:
    """Of several pools, without their series."""
    total = PoolTally()
    for tally in tallies:
        total.outcomes.update(tally.outcomes)
        for name in ("ttft", "tpot", "e2e", "queue"):
            setattr(total, name, getattr(total, name) + getattr(tally, name))
        for name in ("met_slo", "preempted", "preemptions", "prompt_tokens", "output_tokens", "cached_tokens"):
            setattr(total, name, getattr(total, name) + getattr(tally, name))
    return total
