from datetime import UTC, datetime
from typing import Any

from extproc.accessreport.tally import LABELS_MAX, MODELS_MAX, OTHER, Tally
from extproc.routing.values import Pool
from extproc.traces.accesslog import AccessLine


def tally(*lines: AccessLine | None) -> Tally:
    """Of these."""
    found = Tally()
    for line in lines:
        found.add(line)
    return found


def test_decisions_are_counted_by_pool_and_reason(unread: Any) -> None:
    """Streams without one, and lines that are none, apart from them."""
    found = tally(unread(), unread(pool=Pool.LONG, reason="media"), AccessLine(reason="ended_early"), None)
    assert found.requests == 2
    assert found.reasons == {("short", "fits"): 1, ("long", "media"): 1}
    assert (found.lengthless, found.undecided, found.malformed) == (1, {("ended_early",): 1}, 1)


def test_times_of_any_order_and_zone(unread: Any) -> None:
    """Of several processes' logs; without a zone it is UTC."""
    found = tally(unread(time=datetime(2026, 1, 1, 9)), unread(), unread(time=datetime(2026, 1, 1, 8, 30, tzinfo=UTC)))  # noqa: DTZ001 - of such lines
    assert found.first == datetime(2026, 1, 1, 8, tzinfo=UTC)
    assert found.last == datetime(2026, 1, 1, 9, tzinfo=UTC)


def test_what_was_read_stands_for_others(answered: Any, unread: Any) -> None:
    """Asked for, answered with usage, or not."""
    found = tally(answered(), unread(weight=50.0), unread())
    assert (found.asked.count, found.asked.total) == (2, 55.0)
    assert (found.read.count, found.read.total, found.answered.count) == (1, 5.0, 0)


def test_what_nobody_followed_says_nothing_of_the_short_pool(answered: Any) -> None:
    """While a share is routed, what is cut or escalated is a share of that share."""
    found = tally(answered(shadow=False, escalated=True), answered(shadow=False, status=None), *[answered()] * 98)
    assert (found.followed.count, found.answered.count, found.escalated.count) == (2, 1, 1)


def test_an_answer_that_was_cut_did_not_fit(answered: Any) -> None:
    """Whatever its usage says, for it would have gone on."""
    cut = answered(
        shadow=False, truncated=True, judged=False, max_tokens=None, prompt_tokens=8000, completion_tokens=192
    )
    found = tally(cut, answered(truncated=True))
    assert (found.judged.all.count, found.judged.under.count) == (2, 2)
    assert found.lengths.budget_tokens.tolist() == [8193, 1500]


def test_judgements_are_weighted_and_split_by_model(answered: Any) -> None:
    """Under and over."""
    found = tally(answered(misroute="under"), answered(misroute="over", model="other", weight=50.0), answered())
    assert (found.judged.all.total, found.judged.under.total, found.judged.over.total) == (60.0, 5.0, 50.0)
    assert found.models["llama"].judged.under.count == 1
    assert found.models["other"].judged.over.count == 1


def test_a_refusal_for_length_is_a_misroute_without_a_count(unread: Any) -> None:
    """The short pool said so; one for a full queue says nothing of the decision."""
    found = tally(
        unread(shadow=False, weight=5.0, status=400, refusal="context_length"),
        unread(shadow=False, weight=5.0, status=503, refusal="busy"),
    )
    assert (found.judged.all.count, found.judged.under.count) == (1, 1)
    assert found.refusals == {("context_length",): 1, ("busy",): 1}


def test_declared_output_counts_in_full(answered: Any) -> None:
    """What nobody limits counts as it turned out; several sequences in one answer tell no length of one."""
    found = tally(answered(), answered(max_tokens=None), answered(sequences=2))
    assert found.lengths.budget_tokens.tolist() == [1500, 1100]
    assert found.lengths.used_tokens.tolist() == [1100, 1100]


def test_thresholds_are_remembered_by_their_ends(unread: Any) -> None:
    """An adaptive one takes any number of values; where nothing was compared there is none."""
    found = tally(*(unread(threshold_tokens=tokens) for tokens in (8192, 0, 4096, 6000)))
    assert found.thresholds == (4096, 8192)


def test_a_file_may_hold_anything(unread: Any) -> None:
    """Names of models and labels without end do not grow the report without end."""
    found = tally(*(unread(model=f"m{at}", reason=f"r{at}") for at in range(1000)))
    assert len(found.models) == MODELS_MAX + 1
    assert found.models[OTHER].requests == 1000 - MODELS_MAX
    assert len(found.reasons) == LABELS_MAX + 1
    assert found.reasons[OTHER, OTHER] == 1000 - LABELS_MAX


def test_labels_steer_no_terminal(unread: Any) -> None:
    """What does not print is written as Python writes it, and nothing is longer than a name may be."""
    found = tally(unread(model="\x1b[2Jm", reason="\u202ex"), unread(model="m" * 1000, reason="fits"))
    assert set(found.models) == {"\\x1b[2Jm", "m" * 128}
    assert set(found.reasons) == {("short", "\\u202ex"), ("short", "fits")}


def test_a_weight_below_one_is_none(answered: Any) -> None:
    """A request stands for itself at least."""
    assert tally(answered(weight=0.0)).asked.total == 1.0
