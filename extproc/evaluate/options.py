"""What an evaluation is asked to do; refuses what makes no sense, does nothing."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from extproc.errors import ConfigurationError
from extproc.evaluate.answers import AnswerRules
from extproc.evaluate.mix import Mix
from extproc.evaluate.rows import FORMAT, Tokenizer
from extproc.routing.estimators import EmaRules


class Contender(StrEnum):
    """An estimator that can be judged."""

    FIXED = "fixed"
    """4 bytes a token."""
    EMA = "ema"
    """As published, its ratios by rule classes of a sample."""
    EMA_TRUE = "ema-true"
    """The same told each request's true category, which no service can know."""
    EMA_EQUAL_UNDER = "ema-equal-under"
    """`ema` with the margin at which it under-routes as often as `anytime` did on the same streams."""
    EMA_TRUE_EQUAL_UNDER = "ema-true-equal-under"
    ANYTIME = "anytime"
    """Ours."""

    @property
    def is_ema(self) -> bool:
        """Whether it is the published estimator, in whatever variant."""
        return self not in {Contender.FIXED, Contender.ANYTIME}

    @property
    def told(self) -> bool:
        """Whether it is told the true category."""
        return self in {Contender.EMA_TRUE, Contender.EMA_TRUE_EQUAL_UNDER}

    @property
    def searched(self) -> bool:
        """Whether its margin is found by what `anytime` came to."""
        return self in {Contender.EMA_EQUAL_UNDER, Contender.EMA_TRUE_EQUAL_UNDER}


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What to run; the command's help says what each means."""

    requests: Path | None = None
    sessions: Path | None = None
    trace: Path | None = None
    tokenizer: Tokenizer = Tokenizer.LLAMA3
    estimators: tuple[Contender, ...] = (Contender.FIXED, Contender.EMA, Contender.ANYTIME)
    threshold_tokens: int = 8192
    output_mix: Mix | None = None
    escaped_share: float = 0.0
    promise: float = 0.001
    count: int = 20_000
    seeds: int = 5
    tokenizer_json: Path | None = None
    swap_tokenizer_at: float | None = None
    held_back: str | None = None
    """A category that comes only in the second half of the stream."""
    held_out_share: float = 0.0
    """Of the rows, how many no answer is ever read about."""
    answers: AnswerRules = field(default_factory=AnswerRules)
    observe_share: float | None = None
    """None leaves the service's default for requests, and reads every answer of a log of sessions."""
    streams_carry_usage: bool = False
    """As the service's setting of this name: bodies that stream without asking for usage are read too."""
    memory: bool | None = None
    """None: for sessions, not for requests, whose rows repeat."""
    ema: EmaRules = field(default_factory=EmaRules)
    in_flight: int = 16
    """An answer comes back when so many later requests have been routed."""
    jobs: int | None = None
    """Processes; None for one a core."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ConfigurationError: says what to give instead.
        """
        if not 0.0 < self.promise <= _NO_MARGIN:
            raise ConfigurationError(f"--promise {self.promise}: expected a share above 0 and at most {_NO_MARGIN}")
        if self.requests is None and self.sessions is None:
            raise ConfigurationError(f"nothing to evaluate: give --requests FILE ({FORMAT}) or --sessions FILE")
        searched = [contender for contender in self.estimators if contender.searched]
        if searched and Contender.ANYTIME not in self.estimators:
            raise ConfigurationError(f"{searched[0]} is held against anytime: name both in --estimators")
        if self.swap_tokenizer_at is not None and self.held_back is not None:
            raise ConfigurationError("--swap-tokenizer-at and --hold-back are two changes: give one at a time")

    @property
    def change_at(self) -> int | None:
        """The request from which something is other than before; None where nothing changes."""
        if self.swap_tokenizer_at is not None:
            return round(self.swap_tokenizer_at * self.count)
        return None if self.held_back is None else self.count // 2


_NO_MARGIN = 0.5
"""An estimate that is as often too low as too high."""


def parse_contenders(text: str) -> tuple[Contender, ...]:
    """Read NAME,NAME,…; each once, in order.

    Raises:
        ConfigurationError: a name is unknown.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in set(Contender):
            raise ConfigurationError(f"--estimators {text}: there is no {name!r}; there are {', '.join(Contender)}")
    return tuple(dict.fromkeys(map(Contender, names)))
