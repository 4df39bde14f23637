"""What `max_tokens` requests declare: policies from the output a model would write; knows no request beside that.

A policy takes the output and a draw in [0, 1) for each request, and gives what is declared and what is then written:
no request writes more than it declares.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from extproc.errors import ConfigurationError
from extproc.fleet.values import ABSENT, Floats, Ints

FORMS = (
    "exact, absent, recorded, over:256:.3,512:.7 (tokens:share; x2 stands for twice the output),"
    " or mix:256,1024 (with shares or without)"
)
"""What `parse_policy` reads, for messages."""


class Declared(NamedTuple):
    """Columns of one length."""

    declared_tokens: Ints
    """`max_tokens`, or `ABSENT`."""
    output_tokens: Ints
    """At most what is declared."""


@dataclass(frozen=True, slots=True)
class Exact:
    """Each declares what it writes."""

    def declare(self, output_tokens: Ints, draws: Floats, recorded: Ints | None = None) -> Declared:  # noqa: ARG002 - nothing to draw
        """The output itself."""
        return Declared(output_tokens, output_tokens)


@dataclass(frozen=True, slots=True)
class Absent:
    """None declares anything."""

    def declare(self, output_tokens: Ints, draws: Floats, recorded: Ints | None = None) -> Declared:  # noqa: ARG002 - nothing to draw
        """`ABSENT`."""
        return Declared(np.full_like(output_tokens, ABSENT), output_tokens)


@dataclass(frozen=True, slots=True)
class AsRecorded:
    """What the trace says each declared."""

    def declare(self, output_tokens: Ints, draws: Floats, recorded: Ints | None = None) -> Declared:  # noqa: ARG002 - nothing to draw
        """The recorded values; a smaller output than recorded stands, a larger limit than written too.

        Raises:
            ConfigurationError: the trace does not say.
        """
        if recorded is None:
            raise ConfigurationError(f"the trace does not say what requests declared; choose another of: {FORMS}")
        return Declared(recorded, np.where(recorded == ABSENT, output_tokens, np.minimum(output_tokens, recorded)))


@dataclass(frozen=True, slots=True)
class Over:
    """Each declares a value drawn from a list, or its output where that is more: clients that reserve amply."""

    values: Floats
    """Tokens, or multiples of the output."""
    of_output: tuple[bool, ...]
    """Which of the values are multiples."""
    cumulative: Floats

    def declare(self, output_tokens: Ints, draws: Floats, recorded: Ints | None = None) -> Declared:  # noqa: ARG002 - of no use here
        """At least the output."""
        at = np.searchsorted(self.cumulative[:-1], draws, side="right")
        drawn = np.where(np.array(self.of_output)[at], output_tokens * self.values[at], self.values[at])
        return Declared(np.maximum(output_tokens, np.ceil(drawn).astype(np.int64)), output_tokens)


@dataclass(frozen=True, slots=True)
class Ladder:
    """Each declares one of few values: the smallest that holds its output, or the largest, which then cuts it.

    With shares, a value is drawn first and declared if it holds the output; the smallest that does otherwise.
    """

    values: Ints
    """Ascending."""
    cumulative: Floats | None = None

    def declare(self, output_tokens: Ints, draws: Floats, recorded: Ints | None = None) -> Declared:  # noqa: ARG002 - of no use here
        """One of the values."""
        at = np.minimum(np.searchsorted(self.values, output_tokens), len(self.values) - 1)
        if self.cumulative is not None:
            at = np.maximum(at, np.searchsorted(self.cumulative[:-1], draws, side="right"))
        declared = self.values[at]
        return Declared(declared, np.minimum(output_tokens, declared))


Policy = Exact | Absent | AsRecorded | Over | Ladder
_PLAIN: dict[str, Policy] = {"exact": Exact(), "absent": Absent(), "recorded": AsRecorded()}
_FULL = {"over": True, "mix": False}
"""Whether the values hold every output in full."""


def parse_policy(text: str) -> Policy:
    """Read a policy as `FORMS` writes it.

    Raises:
        ConfigurationError: it is none of them.
    """
    name, _, rest = text.partition(":")
    try:
        if not rest:
            return _PLAIN[text]
        return _over(rest) if _FULL[name] else _ladder(rest)
    except (KeyError, ValueError) as error:
        raise ConfigurationError(f"{text!r} is no policy for max_tokens: expected one of {FORMS}") from error


def _over(text: str) -> Over:
    names, cumulative = _shares([part.split(":") for part in text.split(",")])
    multiples = tuple(name.startswith("x") for name in names)
    values = np.array([float(name.removeprefix("x")) for name in names])
    if not ((values >= 1.0) & np.isfinite(values)).all():
        raise ValueError
    return Over(values, multiples, cumulative)


def _ladder(text: str) -> Ladder:
    parts = [part.split(":") for part in text.split(",")]
    parts.sort(key=lambda part: int(part[0]))
    if int(parts[0][0]) < 1:
        raise ValueError
    if all(len(part) == 1 for part in parts):
        return Ladder(np.array([int(part[0]) for part in parts], np.int64))
    names, cumulative = _shares(parts)
    return Ladder(np.array([int(name) for name in names], np.int64), cumulative)


def _shares(parts: list[list[str]]) -> tuple[list[str], Floats]:
    names, shares = [name for name, _ in parts], np.array([float(share) for _, share in parts])
    if not (shares >= 0.0).all() or not 0.0 < shares.sum() < float("inf"):
        raise ValueError
    return names, np.cumsum(shares) / shares.sum()
