"""Adds up lines of access logs, one at a time; memory grows with the answers that were read, 40 bytes each."""

from array import array
from collections import Counter
from datetime import UTC, datetime

from extproc.accessreport.shares import Values, Weight
from extproc.routing.refusal import Refusal
from extproc.routing.values import Misroute, Pool, Reason
from extproc.traces.accesslog import AccessLine

MODELS_MAX = 256
LABELS_MAX = 256
"""Different labels of a kind that are told apart: the service writes fewer, but a file may hold anything."""
LABEL_CHARS = 128
OTHER = "_OTHER"
LENGTHLESS = frozenset(
    {
        Reason.CONTENT_LENGTH.value,
        Reason.LENGTH_NOT_IN_BODY.value,
        Reason.MEDIA.value,
        Reason.UNREADABLE.value,
        Reason.COMPRESSED.value,
        Reason.BODY_INCOMPLETE.value,
        Reason.NOT_INFERENCE.value,
    }
)
"""Reasons of requests that go long at any threshold, and whose answers are never read."""


class Labels(Counter[tuple[str, ...]]):
    """Requests by labels, bounded."""

    def put(self, *labels: str) -> None:
        """One more with these."""
        labels = tuple(map(_printable, labels))
        self[labels if labels in self or len(self) < LABELS_MAX else (OTHER,) * len(labels)] += 1


class Judged:
    """Requests of which it is known which pool was right."""

    def __init__(self) -> None:
        self.all = Weight()
        self.under = Weight()
        self.over = Weight()

    def add(self, misroute: str | None, weight: float) -> None:
        """One more."""
        self.all.add(weight)
        if misroute == Misroute.UNDER:
            self.under.add(weight)
        elif misroute == Misroute.OVER:
            self.over.add(weight)


class OfModel:
    """Requests of one model."""

    def __init__(self) -> None:
        self.requests = 0
        self.short = 0
        self.read = 0
        self.judged = Judged()
        self.errors = Values()


class Lengths:
    """True lengths of the requests that were read and are one sequence each."""

    def __init__(self) -> None:
        self.budget_tokens, self.used_tokens, self.weight = array("q"), array("q"), array("d")

    def add(self, line: AccessLine, weight: float) -> None:
        """One more: what is declared counts in full, what nobody limits as it turned out; if it was cut, as more."""
        assert line.prompt_tokens is not None
        written = line.completion_tokens or 0
        output = written + line.truncated if line.max_tokens is None else line.max_tokens
        self.budget_tokens.append(line.prompt_tokens + output)
        self.used_tokens.append(line.prompt_tokens + written)
        self.weight.append(weight)


class Tally:
    """What the lines of some logs come to."""

    def __init__(self) -> None:
        self.malformed = 0
        """Lines that are none."""
        self.undecided = Labels()
        """Streams without a decision, by why."""
        self.requests = 0
        """Decisions; all below are of those."""
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.shadow = 0
        self.thresholds: tuple[int, int] | None = None
        """The smallest and the largest."""
        self.reasons = Labels()
        """By pool and reason; likewise the next by stage and by provenance."""
        self.stages, self.provenances, self.refusals = Labels(), Labels(), Labels()
        self.lengthless = 0
        """That go long at any threshold, for `LENGTHLESS` reasons."""
        self.asked = Weight()
        """Whose answer was to be read; `read` those whose usage was."""
        self.read = Weight()
        self.followed, self.answered, self.escalated, self.truncated = Weight(), Weight(), Weight(), Weight()
        """Of those asked, without shadow mode's: all; with a response; answered by the long pool in the end; cut by the
        short pool's context."""
        self.judged = Judged()
        self.lengths = Lengths()
        self.errors: dict[str, Values] = {}
        """(estimate − truth) / truth, by category."""
        self.models: dict[str, OfModel] = {}

    def add(self, line: AccessLine | None) -> None:
        """Take in a line; None for one that could not be read."""
        if line is None:
            self.malformed += 1
            return
        self._date(line.time)
        if line.pool is None:
            self.undecided.put(line.reason or "")
            return
        self._decision(line, line.pool)
        if line.weight is not None or line.prompt_tokens:
            self._asked(line, max(1.0, line.weight or 1.0))

    def _date(self, time: datetime | None) -> None:
        if time is None:
            return
        utc = time if time.tzinfo else time.replace(tzinfo=UTC)
        self.first = utc if self.first is None else min(self.first, utc)
        self.last = utc if self.last is None else max(self.last, utc)

    def _decision(self, line: AccessLine, pool: Pool) -> None:
        self.requests += 1
        self.shadow += line.shadow
        self.reasons.put(pool.value, line.reason or "")
        self.stages.put(line.stage or "")
        self.provenances.put(line.provenance or "")
        self.lengthless += line.reason in LENGTHLESS
        if line.threshold_tokens:
            known = self.thresholds or (line.threshold_tokens,) * 2
            self.thresholds = (min(known[0], line.threshold_tokens), max(known[1], line.threshold_tokens))
        model = self._model(line.model)
        model.requests += 1
        model.short += pool is Pool.SHORT

    def _asked(self, line: AccessLine, weight: float) -> None:
        self.asked.add(weight)
        if not line.shadow:
            self._followed(line, weight)
        self._judge(line, weight)
        if line.prompt_tokens:
            self._learn(line, line.prompt_tokens, weight)

    def _followed(self, line: AccessLine, weight: float) -> None:
        """Nothing is refused, cut or sent on by a pool that a decision does not send it to."""
        self.followed.add(weight)
        if line.status is not None:
            self.answered.add(weight)
        if line.escalated:
            self.escalated.add(weight)
        if line.truncated:
            self.truncated.add(weight)
        if line.refusal is not None:
            self.refusals.put(line.refusal)

    def _judge(self, line: AccessLine, weight: float) -> None:
        """A request that the short pool refused as too long for it, or cut, did not fit, whatever was counted."""
        unfit = line.truncated or line.refusal == Refusal.CONTEXT_LENGTH
        if line.judged or unfit:
            misroute = Misroute.UNDER.value if unfit else line.misroute
            for judged in (self.judged, self._model(line.model).judged):
                judged.add(misroute, weight)

    def _learn(self, line: AccessLine, prompt_tokens: int, weight: float) -> None:
        model = self._model(line.model)
        model.read += 1
        self.read.add(weight)
        if line.sequences == 1:
            self.lengths.add(line, weight)
        if line.estimated_prompt_tokens is not None:
            error = line.estimated_prompt_tokens / prompt_tokens - 1.0
            category = "" if line.category is None else line.category.value
            for errors in (self.errors.setdefault(category, Values()), model.errors):
                errors.add(error, weight)

    def _model(self, name: str | None) -> OfModel:
        known = _printable(name or "")
        if known not in self.models and len(self.models) >= MODELS_MAX:
            known = OTHER
        return self.models.setdefault(known, OfModel())


def _printable(label: str) -> str:
    """The service writes no others, but a file may hold anything, and this is shown on terminals."""
    return (label if label.isprintable() else ascii(label)[1:-1])[:LABEL_CHARS]
