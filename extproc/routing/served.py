"""All that is learned of one serving model: its prompts, the margins of each stage, whether it has changed.

Knows stages and their errors; must not know requests' text, nor how many models there are.
"""

from dataclasses import dataclass
from typing import NamedTuple

from extproc.routing.density import Density
from extproc.routing.drift import Vigil
from extproc.routing.exact import Framing
from extproc.routing.judgement import Judgement
from extproc.routing.margins import Margin
from extproc.routing.model import PromptModel
from extproc.routing.values import Category, RequestFacts, Stage

_REFRESH = 64
"""Estimates after which the cuts are computed anew."""
_SINGLE_RISK = 50.0
"""No single request goes short at more than so many times the promised share, however few are at risk."""
_EVEN = 0.5
"""From this promise on nothing is held back: the estimate itself decides."""
_NOTICED = 0.01
"""How fast the scatter between a sample and the whole text is followed."""
_SCATTER_MAX = 0.1
_CRUDE = 0.3
"""The risk at which a glance settles a request, in that of a closer look, which costs little and says much."""
_WITH_COUNTER = 0.1
"""The same where a tokenizer can be asked: then little need go long in vain."""
_GLANCE_DEVIATIONS = 2.0
"""A glance settles nothing short nearer than this, however well the kind is known: what is in it may be new."""
_FRAME_BYTES = 30
"""What a message or a tool counts for beside its text: five to eight tokens."""
_RELEARN = 300
"""Answers that are all wanted after an alarm."""
_ODD = 2.0
"""Stated deviations from which on an error may be the first of many."""
_INQUIRIES = 10
"""Requests whose answers are all wanted after such an error. Bounded by requests rather than by answers, of which there
are none for as long as models write."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised, and how much effort that is worth."""

    share: float = 0.001
    """Acceptable share of requests that are sent short and do not fit."""
    escalation_risk: float = 0.1
    """How likely a stage may be wrong about a request for it to be settled there rather than looked at more closely."""


_SHARES = {Stage.MEMORY: 0.2, Stage.SIZE: 0.1, Stage.SAMPLE: 0.3, Stage.TEXT: 0.4}
_SHARES_WITH_EXACT = {Stage.MEMORY: 0.2, Stage.SIZE: 0.1, Stage.SAMPLE: 0.2, Stage.TEXT: 0.1, Stage.EXACT: 0.4}
"""How much of the promise each stage may use up."""


class Truth(NamedTuple):
    """What an answer says of a decision."""

    log_tokens: float
    log_room: float
    calibrates: bool
    """Whether an estimate decided: errors on other requests say nothing of those that estimates decide."""
    weight: float = 1.0
    """How many requests like it it stands for."""


class Served:
    """One serving model. Not thread-safe."""

    def __init__(self, promise: Promise, *, exact: bool = False) -> None:
        """A stranger.

        Args:
            promise: what is promised of decisions.
            exact: a local tokenizer has the last word, so that features of all text have not.
        """
        self.model = PromptModel()
        self.framing = Framing()
        """What the template adds to an exact count."""
        self.densities = {category: Density(category) for category in Category}
        """What a glance says of a prompt, by its kind."""
        self.sampling_variance = 0.06**2
        """Of the logarithm: what an estimate by a sample has beside one by the whole text."""
        self.vigil = Vigil()
        self.alarmed_at: int | None = None
        """How many answers it had learned when it last raised an alarm."""
        self.taught_at = 0
        """When it was last taught, by the answers its owner has taken in."""
        self.wanted = 0
        """The number of answers until which each of them is wanted."""
        self.inquiries = 0
        """Requests still to come whose answers are wanted, since an error was odd."""
        self._promise = promise
        self._not_last = set(Stage) - {Stage.EXACT} if exact else {Stage.SIZE, Stage.SAMPLE}
        self._shares = _SHARES_WITH_EXACT if exact else _SHARES
        self.margins = {stage: Margin() for stage in self._shares}
        self._until_refresh = 0
        self.refresh()

    def adopt(self, promise: Promise) -> None:
        """Keep another promise from now on, by all that was learned under the one before."""
        self._promise = promise
        self.refresh()

    def count(self) -> None:
        """Count an estimate; margins are computed anew every now and then."""
        self._until_refresh -= 1
        if self._until_refresh < 0:
            self.refresh()

    def glance(self, category: Category, facts: RequestFacts) -> Judgement:
        """What a prompt's bytes and kind say of it."""
        return self.densities[category].judge(prompt_bytes(facts), self.model.doubt)

    def observe(self, stage: Stage, judgement: Judgement, truth: Truth) -> float:
        """Hold the truth against what a stage makes of a prompt: the error in stated deviations."""
        error = judgement.position(truth.log_tokens)
        if truth.calibrates and not self.model.doubt:
            self.margins[stage].observe(error, judgement.position(truth.log_room) - error, truth.weight)
        return error

    def compare(self, sampled: Judgement, whole: Judgement) -> None:
        """Learn how far a sample leads astray."""
        distance = min(_SCATTER_MAX, (sampled.log_tokens - whole.log_tokens) ** 2)
        self.sampling_variance += _NOTICED * (distance - self.sampling_variance)

    def inquire(self) -> None:
        """Count a request whose answer will be read."""
        self.inquiries = max(0, self.inquiries - 1)

    def watch(self, error: float, *, by_chance: bool = True) -> bool:
        """Widen and relearn where errors are no longer what was stated. Not while in doubt: then they say little.

        Args:
            error: in stated deviations.
            by_chance: whether the answer was one of a sample, rather than wanted like all others: odd ones among those
                ask for no more, so that inquiries come to an end where odd errors are usual.
        """
        if self.model.doubt:
            return False
        if by_chance and abs(error) > _ODD:
            self.inquiries = _INQUIRIES
        if not self.vigil.observe(error):
            return False
        self.model.distrust()
        self.alarmed_at = self.model.samples
        self.wanted = self.model.samples + _RELEARN
        for margin in self.margins.values():
            margin.forget()
        self.framing = Framing()
        self.refresh()
        return True

    def refresh(self) -> None:
        """Cuts by what was seen so far."""
        self._until_refresh = _REFRESH
        for margin in self.margins.values():
            margin.refresh()
        requests = 1.0 + sum(self.margins[stage].positions.sum().item() for stage in (Stage.MEMORY, Stage.SIZE))
        for stage, part in self._shares.items():
            self._set(stage, part * self._promise.share, requests)

    def _set(self, stage: Stage, share: float, requests: float) -> None:
        """The positions at which a stage settles a request; the last one settles every request."""
        margin, promise = self.margins[stage], self._promise
        safe = 0.0
        if promise.share < _EVEN:
            safe = max(0.0, margin.above(_SINGLE_RISK * promise.share), margin.within(share, requests))
        margin.short_at = margin.long_at = safe
        if stage is Stage.SIZE:
            safe = max(safe, _GLANCE_DEVIATIONS)
        if stage in self._not_last:
            risk = promise.escalation_risk * (_CRUDE if stage is Stage.SIZE else 1.0)
            risk *= _WITH_COUNTER if Stage.EXACT in self.margins else 1.0
            margin.short_at, margin.long_at = max(safe, margin.above(risk)), margin.below(risk)


def prompt_bytes(facts: RequestFacts) -> int:
    """Bytes of a prompt, with what the template sets around messages and tools put in bytes of text."""
    return facts.text_bytes + _FRAME_BYTES * (facts.message_count + facts.tool_count)
