import json
from collections.abc import Callable
from itertools import count
from random import Random

import pytest

from extproc.evaluate.answers import AnswerRules, Poison
from extproc.evaluate.replay import Replay, ReplayRules
from extproc.evaluate.rows import Requests, Row, Tokenizer
from extproc.evaluate.stream import Arrival
from extproc.routing.estimators import EmaEstimator, FixedRatioEstimator
from extproc.routing.observing import ObserveRules
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.router import Router
from extproc.routing.values import Category, Correction, Decision, Flaw, Misroute, Stage, Usage

THRESHOLD = 2000
OUTPUT = 500
IMAGE = json.dumps(
    {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}
        ]
    }
)


def row(text_bytes: int, llama: int, qwen: int = 1, category: str = "prose", **more: object) -> Row:
    """A chat of so many bytes of prose, reserving 500 tokens."""
    text = ("word " * text_bytes)[:text_bytes]
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": OUTPUT} | more
    return Row(json.dumps(body), category, llama, qwen)


class Diary(Router):
    """A router that notes what it is told, in order."""

    def __init__(self, **parts: object) -> None:
        super().__init__(**parts)  # type: ignore[arg-type]
        self.notes: list[object] = []

    def route(self, request: object, *, draw: float) -> Decision:
        """As ever, and noted."""
        decision = super().route(request, draw=draw)  # type: ignore[arg-type]
        self.notes.append("route")
        return decision

    def complete(
        self, decision: Decision, usage: Usage | None, *, elsewhere: bool = False, refused: bool = False
    ) -> Correction | None:
        """As ever, after a note of what was read."""
        self.notes.append(usage.prompt_tokens if usage else None)
        return super().complete(decision, usage, elsewhere=elsewhere, refused=refused)


def diary(share: float = 1.0) -> Diary:
    """With the fixed estimator: 4 bytes a token."""
    return Diary(
        estimator=FixedRatioEstimator(),
        policy=TokenBudgetPolicy(THRESHOLD),
        observe_rules=ObserveRules(share=share),
    )


def replay(router: Router, rows: list[Row], **rules: object) -> Replay:
    """A replay of these rows with Llama's counts."""
    asked = ReplayRules(**({"tokenizer": Tokenizer.LLAMA3, "threshold_tokens": THRESHOLD} | rules))  # type: ignore[arg-type]
    return Replay(router, rows, Requests(rows), asked, Random(1))


def arrivals(*rows: int, output_tokens: int | None = None, draw: float = 0.0) -> list[Arrival]:
    """These rows in this order."""
    return [Arrival(row, escaped=False, output_tokens=output_tokens, draw=draw) for row in rows]


def ticks() -> Callable[[], int]:
    """A clock by which the n-th decision takes n µs."""
    readings = (reading for at in count() for reading in (0, 1000 * (at + 1)))
    return lambda: next(readings)


def test_every_decision_is_judged_by_the_truth() -> None:
    """At 4 bytes a token: 4,000 bytes go short, rightly or not; 8,000 go long, rightly or not; 100 certainly fit."""
    rows = [row(4000, 1500), row(4000, 1501), row(8000, 1501), row(8000, 1500), row(100, 20)]
    records = replay(diary(), rows).run(arrivals(0, 1, 2, 3, 4), ticks())
    assert [record.misroute for record in records] == [None, Misroute.UNDER, None, Misroute.OVER, None]
    assert [record.stage for record in records] == [Stage.SAMPLE] * 4 + [Stage.BOUNDS]
    assert [record.total_tokens for record in records] == [2000, 2001, 2001, 2000, 520]


def test_errors_are_of_what_an_estimate_decided() -> None:
    """1,000 estimated against 1,250 and 800; where bounds decided there was no estimate to err."""
    records = replay(diary(), [row(4000, 1250), row(4000, 800), row(100, 20)]).run(arrivals(0, 1, 2), ticks())
    assert [record.error for record in records] == [pytest.approx(-0.2), pytest.approx(0.25), None]


def test_routing_is_timed_by_the_clock_given() -> None:
    """Each decision between two readings."""
    records = replay(diary(), [row(4000, 1000)]).run(arrivals(0, 0, 0), ticks())
    assert [record.cost_ns for record in records] == [1000, 2000, 3000]


def test_a_row_is_seen_for_the_first_time_once() -> None:
    """Whatever its spelling."""
    again = Arrival(0, escaped=True, output_tokens=None, draw=0.0)
    records = replay(diary(), [row(4000, 1000), row(100, 20)]).run([*arrivals(0), again, *arrivals(1)], ticks())
    assert [record.first_sight for record in records] == [True, False, True]


def test_answers_come_back_later_and_all_do() -> None:
    """With two in flight the first is answered after two more were routed; at the end the others are."""
    router = diary()
    replay(router, [row(4000, at) for at in (1, 2, 3, 4)], in_flight=2).run(arrivals(0, 1, 2, 3), ticks())
    assert router.notes == ["route", "route", "route", 1, "route", 2, 3, 4]
    assert router.observing == 0


def test_an_answer_nobody_wants_is_not_read() -> None:
    """The draw decides by the observed share (tenfold for those in doubt); the others complete with nothing."""
    router = diary(share=0.05)
    replay_of = replay(router, [row(4000, 7)], in_flight=0)
    records = replay_of.run(arrivals(0, draw=0.49) + arrivals(0, draw=0.51), ticks())
    assert [record.observed for record in records] == [True, False]
    assert router.notes == ["route", 7, "route", None]


def test_output_of_the_mix_replaces_the_bodys() -> None:
    """1,000 tokens of prompt fit beside 1,000 of output, not beside 1,001."""
    stream = arrivals(0, output_tokens=1000) + arrivals(0, output_tokens=1001)
    records = replay(diary(), [row(4000, 1000)]).run(stream, ticks())
    assert [record.total_tokens for record in records] == [2000, 2001]
    assert [record.misroute for record in records] == [None, None]


def test_without_a_limit_nothing_is_judged() -> None:
    """A chat that names no output goes long by the operator's rule, and no truth says whether that was right."""
    (record,) = replay(diary(), [row(4000, 1000, max_tokens=None)]).run(arrivals(0), ticks())
    assert (record.judged, record.misroute, record.stage) == (False, None, Stage.NONE)


@pytest.mark.parametrize("output_tokens", [None, 100])
@pytest.mark.parametrize(("body", "flaw"), [("{broken", Flaw.UNREADABLE), (IMAGE, Flaw.MEDIA)])
def test_a_flaw_is_not_judged(body: str, flaw: Flaw, output_tokens: int | None) -> None:
    """Whatever output is declared: nobody can tell its length from its body, so it goes long and is counted apart."""
    (record,) = replay(diary(), [Row(body, "x", 900)]).run(arrivals(0, output_tokens=output_tokens), ticks())
    assert (record.judged, record.misroute, record.error, record.flaw) == (False, None, None, flaw)


def test_after_the_swap_the_other_counts_are_the_truth() -> None:
    """The request is judged by them, and its answer states them; those in flight keep what they were."""
    router = diary()
    changed = replay(router, [row(4000, 1000, qwen=1800)], in_flight=1, change_at=1, swaps_tokenizer=True)
    records = changed.run(arrivals(0, 0), ticks())
    assert [record.misroute for record in records] == [None, Misroute.UNDER]
    assert router.notes == ["route", "route", 1000, 1800]


def test_answers_are_counted_from_the_change_on() -> None:
    """Only those to requests routed since, and only those read."""
    stream = arrivals(0, 0, 0) + arrivals(0, draw=0.99) + arrivals(0, 0)
    records = replay(diary(share=0.05), [row(4000, 1000)], in_flight=0, change_at=1).run(stream, ticks())
    assert [record.answers_before for record in records] == [0, 0, 1, 2, 2, 3]


def test_answers_of_one_category_can_be_counted_alone() -> None:
    """Others teach as well, and are not counted."""
    rows = [row(4000, 1000), row(4000, 1000, category="new")]
    counting = replay(diary(), rows, in_flight=0, change_at=1, counted_category="new")
    records = counting.run(arrivals(1, 0, 1, 0, 1, 1), ticks())
    assert [record.answers_before for record in records] == [0, 0, 0, 1, 1, 2]


def test_nothing_is_read_about_a_row_held_out() -> None:
    """Its decisions are judged like any, its answers lost, whatever the router wishes."""
    router = diary()
    rows = [row(4000, 1600), row(4000, 1000)]
    held_out = replay(router, rows, held_out=frozenset({0}), in_flight=0).run(arrivals(0, 1), ticks())
    assert [(record.held_out, record.observed) for record in held_out] == [(True, False), (False, True)]
    assert held_out[0].misroute is Misroute.UNDER
    assert router.notes == ["route", None, "route", 1000]
    assert router.observing == 0


def test_poison_reaches_the_answer_and_not_the_judgement() -> None:
    """A hostile answer states six tenths; the decision is still judged by the whole."""
    router = diary()
    (record,) = replay(router, [row(4000, 1600)], answers=AnswerRules(1.0, Poison.HOSTILE)).run(arrivals(0), ticks())
    assert router.notes == ["route", 960]
    assert record.misroute is Misroute.UNDER


def test_a_request_told_its_category_keeps_a_ratio_of_its_own() -> None:
    """Two kinds that look alike are learned apart where they are named, and together where they are not."""
    rows = [row(4000, 1000, category="a"), row(4000, 2000, category="b")]
    learned = []
    for told in (True, False):
        router = Router(estimator=EmaEstimator(), policy=TokenBudgetPolicy(THRESHOLD))
        replay(router, rows, told=told).run(arrivals(0, 1), ticks())
        learned.append({ratio.model: round(ratio.bytes_per_token, 6) for ratio in router.ratios()})
    assert learned == [{"a/": 4.0, "b/": 2.0}, {"": 3.0}]


def test_text_is_looked_at_anew_each_time() -> None:
    """A request keeps what was found out about its text, so each decision gets a new one of the same prompt."""
    rows = [row(4000, 1000)]
    requests = Requests(rows)
    router = Router(estimator=EmaEstimator(), policy=TokenBudgetPolicy(THRESHOLD))
    Replay(router, rows, requests, ReplayRules(Tokenizer.LLAMA3, THRESHOLD), Random(1)).run(arrivals(0), ticks())
    read = requests.get(0, escaped=False)
    assert read._sample is None
    assert read.category() is Category.PROSE
