"""Our estimator: as much effort as the decision needs, and a stated probability of being wrong.

Stages, each tried only where the one before leaves the request too close to the threshold: a conversation seen before
(which settles by itself), the prompt's bytes and kind, a small sample of its text, all of it, a local tokenizer. Each
has a margin of its own, calibrated from its own errors; the last one decides. What is learned is kept per serving
model, bounded in number.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from extproc.routing.estimators import ALL_MODELS, EmaEstimator, LearnedRatio
from extproc.routing.exact import Counted, Counter, counted
from extproc.routing.features import SAMPLE_CHARS, WHOLE_CHARS, sample_features
from extproc.routing.judgement import Judgement
from extproc.routing.kernels import Array
from extproc.routing.learned import EstimatorState
from extproc.routing.margins import Margin
from extproc.routing.memory import Bookmark, ConversationMemory, Recall, worth_observing
from extproc.routing.request import Request
from extproc.routing.served import Promise, Served, Truth, prompt_bytes
from extproc.routing.state import absorb, snapshot
from extproc.routing.values import MAX_BYTES_PER_TOKEN, Category, Estimate, RequestFacts, Stage, Usage

MAX_MODELS = 16
"""Bound on models learned apart, at about 0.5 MiB each; past it they share one."""
_IDLE_ANSWERS = 10_000
"""Answers to others after which a model that was not heard of gives way to a new one."""
_TELLING_BYTES = 512
"""Errors on shorter prompts are the template's; no threshold lies there, so they would only dilute the others."""
_RECOUNT_SPREAD = 0.005
"""Of what was counted before: ids, dates and white space at seams are rendered a little differently each time."""
_MOSTLY_NEW = 0.5
"""Share of a prompt from which on what memory does not cover is better estimated with all the rest of it."""
_INCREDIBLE = 6.0
"""A count further than so many deviations from the estimate is not remembered: it would speak for a conversation."""
_LOG_MOST = 40.0
"""The logarithm of more tokens than there are anywhere: margins are finite, exponentials need not be."""
_TEMPLATE_TOKENS = 512
"""More than templates set around a message or a tool."""


@dataclass(frozen=True, slots=True)
class AnytimeRules:
    """How the estimator learns."""

    promise: Promise = field(default_factory=Promise)
    """What is promised of its decisions."""
    warm_up_samples: int = 50
    """Answers before decisions count as calibrated; until then margins are wide."""
    learning_samples: int = 2000
    """Answers until which every one is wanted; afterwards a sampled share suffices."""


class Lesson(NamedTuple):
    """What is kept of a request until its answer comes."""

    sample: Array
    text: Array
    category: Category
    log_room: float
    """Of what the threshold left for the prompt."""
    estimated: bool
    """Whether an estimate decided, rather than bounds."""
    remembered: Judgement | None
    """What memory made of it."""
    bookmark: Bookmark | None
    counted: Counted | None
    """What a local tokenizer counted, if it was asked."""
    weight: float
    """How many requests like it this one stands for."""


class ModelStanding(NamedTuple):
    """How far one serving model has come, for people to see."""

    model: str
    samples: int
    """Answers taken in."""
    doubt: float
    """Standard deviation of the logarithm that is added to its estimates: above 0 while it is new, or has changed."""
    alarms: int
    """How often its errors have left what was stated for them."""
    answers_since_alarm: int | None = None
    """Answers taken in since that last happened; None where it has not since this process began."""


class AnytimeEstimator:
    """Owns what was learned of every serving model. One per process, not thread-safe."""

    def __init__(
        self,
        rules: AnytimeRules | None = None,
        memory: ConversationMemory | None = None,
        counter: Counter | None = None,
    ) -> None:
        """A cold estimator.

        Args:
            rules: what is promised, and how it learns.
            memory: of conversations; None for none.
            counter: a local tokenizer, which has the last word; None for none.
        """
        self._rules = rules or AnytimeRules()
        self._memory = memory
        self._counter = counter
        self._published = EmaEstimator()
        self._answers = 0
        self._by_model = {ALL_MODELS: self._stranger()}

    def estimate(self, request: Request, room_tokens: int) -> Estimate:
        """Judge a prompt with the least effort that settles it."""
        facts = request.facts
        served = self._by_model.get(facts.model) or self._by_model[ALL_MODELS]
        served.count()
        margins, log_room = served.margins, math.log(max(1, room_tokens))
        recall = self._recall(request) if self._memory is not None else None
        if recall is not None:
            stage, judgement = Stage.MEMORY, _continued(served, recall)
            settled = margins[stage].settles(judgement.position(log_room))
        else:
            stage, judgement = Stage.SIZE, served.glance(request.category(), facts)
            settled = margins[stage].settles(judgement.position(log_room))
            if not settled:
                stage = Stage.SAMPLE
                judgement = _widened(served, facts, served.model.judge(request.sample().shares, facts))
                settled = margins[stage].settles(judgement.position(log_room))
            if not settled:
                stage, judgement = Stage.TEXT, _whole(served, request.text().shares, facts)
                settled = margins[stage].settles(judgement.position(log_room))
        if not settled and (count := self._count(request)) is not None:
            stage, judgement = Stage.EXACT, served.framing.judge(count)
            margins[stage].settles(judgement.position(log_room))
        calibrated = served.model.telling >= self._rules.warm_up_samples
        return _estimate(served.margins[stage], stage, judgement, log_room, calibrated, not facts.mixed)

    def lesson(self, request: Request, room_tokens: int, *, estimated: bool, weight: float = 1.0) -> object:
        """Features of the sample and of all text, and what memory needs."""
        note, memory, served = _note(request), self._memory, self._served(request.facts.model)
        served.inquire()
        recall = note.recall if note.started_from_memory else None
        return Lesson(
            request.sample().shares,
            request.text().shares,
            request.category(),
            math.log(max(1, room_tokens)),
            estimated,
            None if recall is None else _continued(served, recall),
            None if memory is None else memory.bookmark(request),
            note.counted,
            weight,
        )

    def learn(self, facts: RequestFacts, lesson: object, usage: Usage) -> bool:
        """Take in one answer, unless its tokens have another relation to the request's bytes than those of others.

        Left out: several prompts in one request, whose usage is a sum; prompts with media, and all that
        `RequestFacts.teaches` excludes; counts above one token a byte or below what text has, which are false.
        """
        assert isinstance(lesson, Lesson)
        self._published.learn(facts, lesson.category, usage)
        if facts.prompt_count != 1 or usage.multimodal_tokens or not _possible(facts, usage):
            return False
        served = self._served_to_teach(facts.model)
        whole = _whole(served, lesson.text, facts)
        self._remember(lesson.bookmark, usage, whole)
        if facts.teaches and _teach(served, facts, lesson, whole, usage.prompt_tokens) and self._memory is not None:
            self._memory.clear()
        return facts.teaches

    def learning(self, request: Request) -> bool:
        """While the model is new or may have changed; later for memory's sake, where a conversation will go on."""
        served = self._served(request.facts.model)
        if served.inquiries or served.model.samples < max(self._rules.learning_samples, served.wanted):
            return True
        return self._memory is not None and request.note is not None and worth_observing(request, _note(request).recall)

    def ratios(self) -> list[LearnedRatio]:
        """Bytes per token by model and category, as the published estimator learns them beside ours."""
        return self._published.ratios()

    @property
    def promised_share(self) -> float:
        """Acceptable share of requests that are sent short and do not fit."""
        return self._rules.promise.share

    @property
    def remembered(self) -> int | None:
        """Prompts in memory; None without one."""
        return None if self._memory is None else len(self._memory)

    def adopt(self, other: Self) -> None:
        """Follow another one's rules from now on, and keep what was learned, the memory and the tokenizer."""
        self._rules = other._rules
        for served in self._by_model.values():
            served.adopt(self._rules.promise)

    def standing(self) -> list[ModelStanding]:
        """How far each model has come that was learned from. Works on a copy: metrics are read by another thread."""
        return [
            ModelStanding(model, served.model.samples, served.model.doubt, served.vigil.alarms, _since_alarm(served))
            for model, served in list(self._by_model.items())
            if served.model.samples
        ]

    def snapshot(self) -> EstimatorState:
        """What was learned, as values."""
        served = [snapshot(model, served) for model, served in self._by_model.items()]
        return EstimatorState(served, self._published.snapshot().ratios)

    def absorb(self, state: EstimatorState) -> None:
        """Add what another replica, or this one's predecessor, has learned.

        Raises:
            StateError: it does not fit; what came before the part that does not fit was taken in.
        """
        for served in state.served:
            absorb(self._served_to_teach(served.model), served)
        self._published.absorb(state)

    def _recall(self, request: Request) -> Recall | None:
        """What memory has of a request, unless it is too little to start from."""
        assert self._memory is not None
        recall = self._memory.recall(request)
        if recall is None:
            request.note = _NOTHING
            return None
        starts = recall.rest.text_bytes <= _MOSTLY_NEW * request.facts.text_bytes
        request.note = _Note(recall, starts)
        return recall if starts else None

    def _remember(self, bookmark: Bookmark | None, usage: Usage, whole: Judgement) -> None:
        """Take a count into memory, unless the estimate says that it is hardly this prompt's."""
        credible = abs(whole.position(math.log(usage.prompt_tokens))) <= _INCREDIBLE
        if self._memory is not None and bookmark is not None and credible:
            self._memory.remember(bookmark, usage)

    def _count(self, request: Request) -> Counted | None:
        """The local tokenizer's count, which is kept for the lesson."""
        if self._counter is None or request.prompt is None:
            return None
        count = counted(self._counter, request.prompt)
        request.note = _note(request)._replace(counted=count)
        return count

    def _served(self, model: str) -> Served:
        return self._by_model.get(model) or self._by_model[ALL_MODELS]

    def _served_to_teach(self, model: str) -> Served:
        """Room is made only when an answer came back, so a client cannot fill the table with invented models.

        One that was not taught for long gives way, for names come and go over months; otherwise the rest share one.
        """
        self._answers += 1
        served = self._by_model.pop(model, None)
        if served is None and len(self._by_model) > MAX_MODELS:
            oldest = next(name for name in self._by_model if name != ALL_MODELS)
            if self._answers - self._by_model[oldest].taught_at <= _IDLE_ANSWERS:
                return self._by_model[ALL_MODELS]
            del self._by_model[oldest]
        self._by_model[model] = served = served or self._stranger()
        served.taught_at = self._answers
        return served

    def _stranger(self) -> Served:
        return Served(self._rules.promise, exact=self._counter is not None)


class _Note(NamedTuple):
    """What was found out about a request, kept with it while it is decided."""

    recall: Recall | None = None
    started_from_memory: bool = False
    counted: Counted | None = None


_NOTHING = _Note()


def _note(request: Request) -> _Note:
    return request.note if isinstance(request.note, _Note) else _NOTHING


def _since_alarm(served: Served) -> int | None:
    return None if served.alarmed_at is None else served.model.samples - served.alarmed_at


def _teach(served: Served, facts: RequestFacts, lesson: Lesson, whole: Judgement, prompt_tokens: int) -> bool:
    """Hold each stage against the truth before any of them learns from it; whether this raised an alarm.

    Where memory decided, the other stages had no say: well-known conversations would flatter them.
    """
    truth = Truth(math.log(prompt_tokens), lesson.log_room, lesson.estimated, lesson.weight)
    if lesson.remembered is not None:
        served.observe(Stage.MEMORY, lesson.remembered, truth)
        truth = truth._replace(calibrates=False)
    if lesson.counted is not None:
        served.observe(Stage.EXACT, served.framing.judge(lesson.counted), truth)
        served.framing.learn(lesson.counted, prompt_tokens)
    alarmed = False
    if facts.text_bytes >= _TELLING_BYTES:
        alarmed = _teach_of_text(served, facts, lesson, whole, truth)
        served.densities[lesson.category].learn(prompt_bytes(facts), prompt_tokens)
    served.model.learn(lesson.text, facts, prompt_tokens)
    return alarmed


def _teach_of_text(served: Served, facts: RequestFacts, lesson: Lesson, whole: Judgement, truth: Truth) -> bool:
    """Hold the stages that look at text against the truth; whether this raised an alarm."""
    served.observe(Stage.SIZE, served.glance(lesson.category, facts), truth)
    sampled = _widened(served, facts, served.model.judge(lesson.sample, facts))
    served.observe(Stage.SAMPLE, sampled, truth)
    if facts.text_bytes > SAMPLE_CHARS:
        served.compare(sampled, whole)
    return served.watch(served.observe(Stage.TEXT, whole, truth), by_chance=lesson.weight > 1.0)


def _estimate(  # noqa: PLR0917 - one call
    margin: Margin,
    stage: Stage,
    judgement: Judgement,
    log_room: float,
    calibrated: bool,  # noqa: FBT001 - one call
    may_decide: bool,  # noqa: FBT001
) -> Estimate:
    """What the stage that settles a request makes of it."""
    log_tokens, spread = judgement.log_tokens, judgement.spread
    position = (log_room - log_tokens) / spread
    longer = margin.doubt(position)
    return Estimate(
        round(math.exp(log_tokens)),
        math.ceil(math.exp(min(_LOG_MOST, log_tokens + margin.short_at * spread))),
        calibrated,
        stage,
        longer if position >= margin.short_at else 1.0 - longer,
        may_decide,
    )


def _possible(facts: RequestFacts, usage: Usage) -> bool:
    """At most one token a byte, beside what the template adds; at least what the densest text has."""
    most = facts.text_bytes + facts.structure_bytes + facts.escape_bytes + _TEMPLATE_TOKENS * (1 + facts.message_count)
    least = max(1.0, facts.text_bytes / MAX_BYTES_PER_TOKEN)
    return least <= usage.prompt_tokens <= most + _TEMPLATE_TOKENS * facts.tool_count


def _widened(served: Served, facts: RequestFacts, judgement: Judgement) -> Judgement:
    """A sample of a longer text says less than all of it."""
    if facts.text_bytes <= SAMPLE_CHARS:
        return judgement
    return Judgement(judgement.log_tokens, math.sqrt(judgement.spread**2 + served.sampling_variance))


def _whole(served: Served, shares: Array, facts: RequestFacts) -> Judgement:
    """By all text, of which the longest are sampled too."""
    judgement = served.model.judge(shares, facts)
    return judgement if facts.text_bytes <= WHOLE_CHARS else _widened(served, facts, judgement)


def _continued(served: Served, recall: Recall) -> Judgement:
    """What was counted before, and an estimate of the rest."""
    rest = recall.rest
    judgement = served.model.judge_rest(sample_features(rest.pieces, rest.structures).shares, rest)
    if rest.text_bytes > SAMPLE_CHARS:
        judgement = Judgement(judgement.log_tokens, math.sqrt(judgement.spread**2 + served.sampling_variance))
    tokens = math.exp(judgement.log_tokens)
    total = recall.known_tokens + tokens
    spread = math.hypot(tokens * judgement.spread, _RECOUNT_SPREAD * recall.known_tokens) / total
    return Judgement(math.log(total), spread)
