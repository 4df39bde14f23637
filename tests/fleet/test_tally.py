from typing import Any

import numpy as np
import pytest

from extproc.fleet.state import FINISHED
from extproc.fleet.tally import PoolTally, together
from extproc.fleet.values import Outcome, Slo

NAMES = ("outcome", "arrival_s", "scheduled_s", "first_token_s", "end_s", "prompt", "output", "preemptions", "cached")
NAN = float("nan")
FAST = (Outcome.COMPLETED, 10.0, 10.1, 10.5, 12.5, 100, 41, 0, 64)
"""TTFT 0.5 s, TPOT 0.05 s."""
LATE = (Outcome.COMPLETED, 10.0, 12.9, 13.0, 15.0, 100, 41, 2, 0)
SLOW = (Outcome.COMPLETED, 10.0, 10.1, 10.5, 20.5, 100, 41, 0, 0)
CUT = (Outcome.TRUNCATED, 10.0, 10.1, 10.5, 12.5, 900, 41, 1, 0)
SINGLE = (Outcome.COMPLETED, 10.0, 10.1, 10.5, 10.5, 100, 1, 0, 0)
REFUSED = (Outcome.REJECTED_BUSY, 10.0, NAN, NAN, 10.0, 100, 0, 0, 0)
DEAD = (Outcome.FAILED, 10.0, 10.1, 10.5, 11.0, 100, 0, 0, 0)
SLO = Slo(ttft_s=2.0, tpot_s=0.08)


def tally_of(*rows: tuple[float, ...], slo: Slo = SLO, api_s: float = 0.0) -> PoolTally:
    """What these requests come to."""
    ended: Any = np.zeros(len(rows), FINISHED)
    for at, row in enumerate(rows):
        for name, value in zip(NAMES, row, strict=True):
            ended[name][at] = value
    tally = PoolTally()
    tally.take(ended, slo, api_s)
    return tally


def test_every_request_has_an_outcome() -> None:
    """And all of them are arrivals."""
    tally = tally_of(FAST, LATE, SLOW, CUT, SINGLE, REFUSED, DEAD)
    assert tally.arrivals == 7
    assert tally.outcomes == {
        Outcome.COMPLETED: 4, Outcome.TRUNCATED: 1, Outcome.REJECTED_BUSY: 1, Outcome.FAILED: 1
    }  # fmt: skip
    assert tally.share(Outcome.REJECTED_BUSY, Outcome.FAILED) == pytest.approx(2 / 7)


def test_the_objective_is_met_by_whole_answers_in_time() -> None:
    """Late, slow, cut, refused and failed ones stand in the denominator; one token has no time between tokens."""
    assert tally_of(FAST, LATE, SLOW, CUT, SINGLE, REFUSED, DEAD).met_slo == 2
    assert tally_of(FAST, SINGLE, REFUSED, DEAD).slo_share == 0.5


def test_times_are_those_of_answers() -> None:
    """Refused and failed ones have none; one token has no TPOT."""
    tally = tally_of(FAST, LATE, SINGLE, REFUSED, DEAD)
    assert (tally.ttft.count, tally.tpot.count, tally.e2e.count, tally.queue.count) == (3, 2, 3, 3)
    assert tally.ttft.mean_s == pytest.approx((0.5 + 3.0 + 0.5) / 3)
    assert tally.tpot.mean_s == pytest.approx(0.05)
    assert tally.e2e.mean_s == pytest.approx((2.5 + 5.0 + 0.5) / 3)
    assert tally.queue.mean_s == pytest.approx((0.1 + 2.9 + 0.1) / 3)


def test_what_stands_before_the_scheduler_counts_for_the_user() -> None:
    """HTTP and tokenizer are in the time to the first token, and may break the objective."""
    tally = tally_of(FAST, api_s=1.6)
    assert tally.ttft.mean_s == pytest.approx(2.1)
    assert tally.e2e.mean_s == pytest.approx(4.1)
    assert tally.tpot.mean_s == pytest.approx(0.05)
    assert tally.met_slo == 0


def test_long_prompts_have_more_time() -> None:
    """Where the objective allows some for each token."""
    assert tally_of(LATE, slo=Slo(ttft_s=2.0, tpot_s=0.08, ttft_s_per_token=0.029)).met_slo == 0
    assert tally_of(LATE, slo=Slo(ttft_s=2.0, tpot_s=0.08, ttft_s_per_token=0.031)).met_slo == 1


def test_tokens_and_preemptions_add_up() -> None:
    """Of all that ended."""
    tally = tally_of(FAST, LATE, CUT)
    assert (tally.prompt_tokens, tally.output_tokens, tally.cached_tokens) == (1100, 123, 64)
    assert (tally.preempted, tally.preemptions) == (2, 3)


def test_nothing_came_to_nothing() -> None:
    """No share of none."""
    tally = tally_of()
    assert tally.arrivals == tally.met_slo == 0
    assert np.isnan(tally.slo_share)
    assert tally.share(Outcome.FAILED) == 0.0


def test_pools_together_are_one() -> None:
    """The sum of two tallies is the tally of both, and leaves them as they were."""
    one, other, both = tally_of(FAST, LATE), tally_of(CUT, REFUSED), tally_of(FAST, LATE, CUT, REFUSED)
    total = together([one, other])
    assert total.outcomes == both.outcomes
    for name in ("met_slo", "preempted", "preemptions", "prompt_tokens", "output_tokens", "cached_tokens"):
        assert getattr(total, name) == getattr(both, name)
    for name in ("ttft", "tpot", "e2e", "queue"):
        assert getattr(total, name).counts.tolist() == getattr(both, name).counts.tolist()
    assert one.arrivals == 2
