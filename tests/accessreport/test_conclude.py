from typing import Any

import pytest

from extproc.accessreport.findings import Promise
from extproc.errors import ConfigurationError
from extproc.routing.values import Pool


def test_what_was_seen(tell: Any, unread: Any) -> None:
    """Times, rate and shares of all decisions."""
    found = tell([unread()] * 9 + [unread(pool=Pool.LONG, reason="exceeds"), unread(pool=None, reason="ended_early")])
    assert (found.requests, found.short_share, found.shadow_share) == (10, 0.9, 1.0)
    assert (found.first, found.last) == ("2026-01-01T08:00:00+00:00", "2026-01-01T08:00:10+00:00")
    assert (found.span_s, found.rate_per_s) == (10.0, 0.9)
    assert [(part.labels, part.share) for part in found.reasons] == [
        (("short", "fits"), 0.9),
        (("long", "exceeds"), 0.1),
    ]
    assert found.undecided[0].share == pytest.approx(1 / 11)


def test_how_much_is_known(tell: Any, answered: Any, unread: Any) -> None:
    """Ten answers stand for fifty of the ninety requests whose length matters."""
    media = [unread(pool=Pool.LONG, reason="media")] * 10
    found = tell([answered()] * 10 + [unread(weight=5.0)] + [unread()] * 79 + media).coverage
    assert (found.asked, found.read, found.stands_for, found.lengthless) == (11, 10, 50.0, 10)
    assert found.untold == pytest.approx(4 / 9)


@pytest.mark.parametrize(
    ("under", "right", "promised"),
    [(0, 0, Promise.OPEN), (0, 1000, Promise.OPEN), (0, 20_000, Promise.KEPT), (10, 200, Promise.BROKEN)],
)
def test_the_promise_is_held_against_the_interval(
    tell: Any, answered: Any, under: int, right: int, promised: Promise
) -> None:
    """Kept or broken only where the whole interval says so."""
    lines = [answered(misroute="under", weight=1.0)] * under + [answered(weight=1.0)] * right or [
        answered(judged=False)
    ]
    found = tell(lines)
    assert found.promised is promised
    assert found.judged_needed == 3000


def test_thresholds_by_true_lengths(tell: Any, answered: Any, unread: Any) -> None:
    """Weighted; those that go long whatever the threshold are not among what could go short."""
    small = [answered(weight=50.0)] * 10
    large = [answered(prompt_tokens=9000, weight=50.0)] * 10
    media = [unread(pool=Pool.LONG, reason="media", threshold_tokens=0)] * 20
    found = tell(small + large + media, thresholds=[2000, 8192, 10_000])
    rows = {row.threshold_tokens: row for row in found.thresholds}
    assert [rows[tokens].fits.mean for tokens in (2000, 8192, 10_000)] == [0.5, 0.5, 1.0]
    assert [rows[tokens].of_all for tokens in (2000, 10_000)] == [0.25, 0.5]
    assert rows[2000].tokens == pytest.approx(1100 / (1100 + 9100))
    assert [row.decided for row in found.thresholds] == [False, True, False]


def test_the_logs_own_thresholds_are_looked_at(tell: Any, answered: Any) -> None:
    """Beside a row of others."""
    tried = [row.threshold_tokens for row in tell([answered(threshold_tokens=5000)]).thresholds]
    assert tried[:5] == [1024, 2048, 4096, 5000, 6144]


def test_nothing_is_said_of_lengths_that_nobody_read(tell: Any, unread: Any) -> None:
    """Neither thresholds, nor misroutes, nor errors."""
    found = tell([unread()] * 5)
    assert (found.thresholds, found.errors, found.misroutes.under) == ((), (), None)


def test_errors_by_kind_of_text(tell: Any, answered: Any) -> None:
    """As estimated before anything was learned from the answer."""
    (errors,) = tell([answered()] * 3).errors
    assert (errors.category, errors.count) == ("prose", 3)
    assert (errors.p50, errors.bias) == pytest.approx((0.1, 0.1))


def test_models_come_by_how_busy_they_are(tell: Any, answered: Any, unread: Any) -> None:
    """With what is known of each."""
    found = tell([unread(model="small")] + [answered(misroute="under")] * 2).models
    assert [(row.model, row.requests, row.read) for row in found] == [("llama", 2, 2), ("small", 1, 0)]
    assert found[0].misroutes.under is not None
    assert found[0].error_p50 == pytest.approx(0.1)
    assert found[1].error_p50 is None


def test_truncations_are_of_those_whose_answer_was_read(tell: Any, answered: Any) -> None:
    """In shadow mode nobody can tell."""
    live = tell([answered(shadow=False, truncated=at == 0, escalated=at == 1) for at in range(10)])
    assert live.truncated is not None
    assert live.escalated is not None
    assert (live.truncated.mean, live.escalated.mean) == pytest.approx((0.1, 0.1))
    shadowed = tell([answered()])
    assert (shadowed.truncated, shadowed.escalated) == (None, None)


def test_a_log_without_a_decision_is_refused(tell: Any) -> None:
    """With what it holds instead, and how to have one written."""
    with pytest.raises(ConfigurationError, match=r"access\.jsonl: .* it holds nothing. Set access_log"):
        tell([])
    with pytest.raises(ConfigurationError, match="2 lines, none of which is a decision"):
        tell([None, None])
