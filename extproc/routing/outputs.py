"""Output to reserve where the client names no limit: an upper quantile of what answers took, per model and category.

Knows counts of tokens and how answers ended; must not know text, prompts or pools. Where too little was seen to keep
the stated miss probability it says so, and the request goes long.
"""

from dataclasses import dataclass
from typing import Annotated, Self

import msgspec

from extproc.errors import ConfigurationError
from extproc.routing.estimators import ALL_MODELS, MAX_RATIOS
from extproc.routing.histogram import EDGES, LONGER, Histogram, bin_of
from extproc.routing.values import Category, Finish, Usage

MAX_PLAUSIBLE_TOKENS = 2**31 - 1
"""No context holds more, so such a count is a fault of its sender."""
_MEDIAN = 0.5


@dataclass(frozen=True, slots=True)
class OutputRules:
    """What is promised of the output reserved, and how fast the past is forgotten."""

    miss_probability: float = 0.001
    """Share of answers that may take more than was reserved; it takes (1 − p) / p answers, 999, to promise it."""
    half_life_samples: float = 10_000.0
    """Answers after which one counts half; `inf` forgets nothing. All together weigh as much as 14,400 new answers at
    most, of which 13 may lie above the reserve: it follows longer outputs after so many. Shorter ones it follows within
    ten half-lives; until then more goes long than need be."""

    def __post_init__(self) -> None:
        if not 0.0 < self.miss_probability <= _MEDIAN:
            raise ConfigurationError(f"A miss probability of {self.miss_probability} is not between 0 and 0.5.")
        if not self.half_life_samples * self.miss_probability >= 1.0:
            half_life = f"A half-life of {self.half_life_samples:g} answers"
            raise ConfigurationError(f"{half_life} is too short to show a miss probability of {self.miss_probability}.")


Weight = Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class OutputLengths(msgspec.Struct, frozen=True):
    """The answers of one model and category as weights; the newest answer's was one."""

    model: str
    category: Category | None
    """None for all categories of the model together."""
    weights: dict[int, Weight]
    """By tokens: of the answers that took at most so many, and more than the next smaller key."""
    longer: Weight = 0.0
    """Of the answers that are only known to be longer than any bin."""


class OutputState(msgspec.Struct, frozen=True):
    """All that was learned. States of several replicas add up; the same answers must not be added twice."""

    lengths: list[OutputLengths] = []


@dataclass(frozen=True, slots=True)
class LearnedOutput:
    """What is reserved for one model and category, for people to see."""

    model: str
    category: Category | None
    """None for all categories of the model together."""
    output_tokens: int | None
    """None while too little was seen, or where more is needed than any bin holds."""
    samples: float
    """Answers behind it, those that are partly forgotten counted in part."""


class OutputModel:
    """What to reserve for answers without a declared limit. One per process, not thread-safe.

    A client may lengthen what is reserved, by long answers: then more goes long. To shorten it, false answers would
    have to be nearly all: a share s of answers of no length at all turns the miss probability p into p / (1 − s).

    Short answers come back first, so the first to come back are shorter than most. Whoever waits for answers says when
    it begins and ends to wait; nothing is promised until all have ended that were under way when enough had come back.
    """

    def __init__(self, rules: OutputRules | None = None) -> None:
        self._rules = rules or OutputRules()
        self._by_key: dict[tuple[str, Category | None], Histogram] = {}
        self._begun = 0
        self._waiting: dict[int, None] = {}  # oldest first
        self._oldest = 1  # the oldest answer under way, or the next to begin

    def adopt(self, other: Self) -> None:
        """Follow another one's rules from now on, and keep what was learned."""
        self._rules = rules = other._rules
        for histogram in self._by_key.values():
            histogram.adopt(miss_probability=rules.miss_probability, half_life=rules.half_life_samples, now=self._begun)

    def begin(self) -> int:
        """Begin to wait for an answer, of whatever model; returns the number under which to `end` it."""
        self._begun += 1
        self._waiting[self._begun] = None
        return self._begun

    def end(self, waiting: int) -> None:
        """The answer came, or will not; once for each `begin`, and before the answer is learned."""
        del self._waiting[waiting]
        self._oldest = next(iter(self._waiting), self._begun + 1)

    def reserve(self, model: str, category: Category | None) -> int | None:
        """Output that at most the promised share of such answers exceeds; None where nothing can be promised.

        A category that is not learned yet is given what the model's answers of all categories need, and at least the
        longest of its own. So what it takes too much of the promise is bounded: of k answers among the N of all
        categories, it makes up a share k / N of requests, of which 1 / (k + 1) exceed the longest.
        """
        own = self._by_key.get((model, category)) or self._by_key.get((ALL_MODELS, category))
        if own is not None and own.enough_since < self._oldest:
            return own.upper
        pooled = self._by_key.get((model, None)) or self._by_key.get((ALL_MODELS, None))
        if pooled is None or pooled.enough_since >= self._oldest or pooled.upper is None:
            return None
        if own is None:
            return pooled.upper
        return None if own.top == LONGER else max(pooled.upper, EDGES[own.top])

    def learning(self, model: str, category: Category | None) -> bool:
        """Whether answers to such requests are still needed, each of them."""
        own = self._by_key.get((model, category)) or self._by_key.get((ALL_MODELS, category))
        return own is None or own.enough_since >= self._oldest

    def learn(
        self, model: str, category: Category | None, declared: int | None, usage: Usage, *, sequences: int = 1
    ) -> bool:
        """Take in one answer; False where it teaches nothing.

        Args:
            model: the serving model's name, bounded in length.
            category: the kind of text of the prompt; None where nobody looked.
            declared: the limit that the client named.
            usage: what the answer cost.
            sequences: completions asked for: `n` times the prompts.
        """
        index = _observed_bin(declared, usage, sequences)
        if index is None:
            return False
        self._histogram(model, None).observe(index, now=self._begun)
        if category is not None:
            self._histogram(model, category).observe(index, now=self._begun)
        return True

    def learned(self) -> list[LearnedOutput]:
        """What is reserved, oldest first. Works on a copy: metrics are read by another thread."""
        return [
            LearnedOutput(model, category, histogram.upper, histogram.samples)
            for (model, category), histogram in list(self._by_key.items())
        ]

    def snapshot(self) -> OutputState:
        """All that was learned, as it stands."""
        return OutputState([OutputLengths(*key, *histogram.weights()) for key, histogram in self._by_key.items()])

    def restore(self, state: OutputState) -> None:
        """Forget everything and take over a state."""
        self._by_key.clear()
        self.merge(state)

    def merge(self, state: OutputState) -> None:
        """Add what another replica has learned."""
        for lengths in state.lengths:
            histogram = self._histogram(lengths.model, lengths.category)
            histogram.add(lengths.weights, lengths.longer, now=self._begun)

    def _histogram(self, model: str, category: Category | None) -> Histogram:
        """Made only when an answer came back, so that a client cannot fill the table with invented models."""
        key = (model, category)
        if key not in self._by_key and len(self._by_key) >= MAX_RATIOS:
            key = (ALL_MODELS, category)
        if key not in self._by_key:
            rules = self._rules
            self._by_key[key] = Histogram(miss_probability=rules.miss_probability, half_life=rules.half_life_samples)
        return self._by_key[key]


def _observed_bin(declared: int | None, usage: Usage, sequences: int) -> int | None:
    """Where an answer counts; None where it does not say how long an answer without a limit is."""
    if declared is not None:
        # A limit cuts the long answers off. To learn from those alone that ended before their limit would leave out
        # exactly the long ones, and who knows a limit asks for other things than who does not. This also leaves out
        # the prefill legs of disaggregated serving, which declare 1, and embeddings, which need none.
        return None
    if sequences != 1:
        return None  # usage sums the completions of all sequences, and each has its own context
    if not 0 < usage.completion_tokens <= MAX_PLAUSIBLE_TOKENS:
        return None  # nothing was generated, or the number is made up
    if usage.finish is Finish.LENGTH:
        # Cut at the end of the pool's context: it would have gone on. Left out, or taken as it is, the short pool would
        # teach that all answers fit it. Where the server has a default limit of its own, that ends here too: such
        # requests go long until the operator names that limit as the output to reserve.
        return LONGER
    if usage.finish is not Finish.STOP:
        return None  # aborted, failed or filtered: how long it would have been is not known
    # A tool call that the context cut short is said to have stopped. It still counts above the reserve: it went short
    # because prompt and reserve fitted, so it was cut no earlier than that.
    return bin_of(usage.completion_tokens)
