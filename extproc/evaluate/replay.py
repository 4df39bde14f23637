"""Drives the core with a stream of requests, as the service does, and judges what it decides; decides nothing.

An answer comes back after a fixed number of later requests, so nothing is learned at once. Whether it is read is the
router's wish; what it then says is the truth, or poison. Every request is completed, those in flight at the end too.

A body is read once and decided as often as it is drawn. Its `max_tokens` is replaced among the facts, not in the body:
no prompt shows it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

import msgspec

from extproc.evaluate.answers import AnswerRules, answer
from extproc.evaluate.contenders import ToldRequest
from extproc.evaluate.record import Record
from extproc.evaluate.rows import Requests, Row, Tokenizer
from extproc.evaluate.stream import Arrival
from extproc.routing.policy import judge
from extproc.routing.request import Request
from extproc.routing.router import Router
from extproc.routing.values import Decision, Misroute, Stage, Usage

_UNESTIMATED = frozenset({Stage.NONE, Stage.BOUNDS})
"""Stages in which no estimate decided."""


@dataclass(frozen=True, slots=True)
class ReplayRules:
    """What happens around the router."""

    tokenizer: Tokenizer
    threshold_tokens: int
    in_flight: int = 16
    """An answer comes back when so many later requests have been routed."""
    answers: AnswerRules = field(default_factory=AnswerRules)
    change_at: int | None = None
    """From this request on answers are counted."""
    counted_category: str | None = None
    """Of which category answers are counted then; None for all."""
    swaps_tokenizer: bool = False
    """What changes then: the other tokenizer's counts are the truth."""
    told: bool = False
    """Whether requests name their true category."""
    held_out: frozenset[int] = frozenset()
    """Rows whose answers are never read, so that nothing about them can be learned."""

    def changed(self, index: int) -> bool:
        """Whether the request at this place in the stream comes after the change."""
        return self.change_at is not None and index >= self.change_at

    def counts(self, row: Row, index: int) -> bool:
        """Whether the answer to a request is one of those that are counted."""
        return self.changed(index) and self.counted_category in {None, row.category}

    def tokens(self, row: Row, index: int) -> int:
        """True prompt tokens of a row at this place in the stream."""
        swapped = self.swaps_tokenizer and self.changed(index)
        return row.tokens(self.tokenizer.other if swapped else self.tokenizer)


class Replay:
    """One run: one router, one stream."""

    def __init__(
        self, router: Router, rows: Sequence[Row], requests: Requests, rules: ReplayRules, random: Random
    ) -> None:
        """Begin with nothing routed; `random` is consumed for what answers say."""
        self._router = router
        self._rows = rows
        self._requests = requests
        self._rules = rules
        self._random = random
        self._in_flight: deque[tuple[Decision, Usage | None, bool]] = deque()
        self._seen: set[int] = set()
        self._answers_since_change = 0

    def run(self, stream: Iterable[Arrival], clock_ns: Callable[[], int]) -> list[Record]:
        """Route, judge and complete everything.

        Args:
            stream: the requests.
            clock_ns: read before and after each decision.
        """
        records = []
        for index, arrival in enumerate(stream):
            records.append(self._route(index, arrival, clock_ns))
            if len(self._in_flight) > self._rules.in_flight:
                self._complete()
        while self._in_flight:
            self._complete()
        return records

    def _route(self, index: int, arrival: Arrival, clock_ns: Callable[[], int]) -> Record:
        row, request = self._rows[arrival.row], self._request(arrival)
        started_ns = clock_ns()
        decision = self._router.route(request, draw=arrival.draw)
        cost_ns = clock_ns() - started_ns
        true_tokens = self._rules.tokens(row, index)
        output_tokens = decision.facts.output_tokens
        record = Record(
            category=row.category,
            stage=decision.stage,
            cost_ns=cost_ns,
            judged=output_tokens is not None,
            flaw=decision.facts.flaw,
            misroute=self._judge(decision, true_tokens, output_tokens),
            error=None if decision.stage in _UNESTIMATED else error_of(decision, true_tokens),
            observed=self._reads(arrival, decision),
            first_sight=arrival.row not in self._seen,
            held_out=arrival.row in self._rules.held_out,
            total_tokens=true_tokens + (output_tokens or 0),
            answers_before=self._answers_since_change,
        )
        self._seen.add(arrival.row)
        usage = answer(true_tokens, output_tokens, self._rules.answers, self._random)
        self._in_flight.append((decision, usage if record.observed else None, self._rules.counts(row, index)))
        return record

    def _request(self, arrival: Arrival) -> Request:
        """Made anew each time: a request keeps what was found out about its text. One with a flaw stays as it is."""
        read = self._requests.get(arrival.row, escaped=arrival.escaped)
        facts = read.facts
        if arrival.output_tokens is not None and facts.flaw is None:
            facts = msgspec.structs.replace(facts, output_tokens=arrival.output_tokens)
        request = Request(facts, read.prompt)
        return ToldRequest(request, self._rows[arrival.row].category) if self._rules.told else request

    def _reads(self, arrival: Arrival, decision: Decision) -> bool:
        return decision.observe and arrival.row not in self._rules.held_out

    def _judge(self, decision: Decision, true_tokens: int, output_tokens: int | None) -> Misroute | None:
        if output_tokens is None:
            return None
        return judge(decision.pool, true_tokens + output_tokens, self._rules.threshold_tokens)

    def _complete(self) -> None:
        decision, usage, counts = self._in_flight.popleft()
        self._router.complete(decision, usage)
        self._answers_since_change += counts and usage is not None


def error_of(decision: Decision, true_tokens: int) -> float | None:
    """Mean estimate ÷ truth − 1; None where nothing was estimated."""
    if decision.budget is None or decision.budget.mean_prompt_tokens is None:
        return None
    return decision.budget.mean_prompt_tokens / true_tokens - 1.0
