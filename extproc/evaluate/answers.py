"""What the answer to a request says it cost: the truth, or, for some, a lie; knows no router.

Lies are of two kinds. Random: prompt tokens anywhere from 1 to 4 × the truth, even on a logarithmic scale, as broken
servers and caches report. Hostile: 0.6 × the truth, plausible and always low, so that learning from it sends
requests short that do not fit. Decisions are judged by the truth either way.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from extproc.routing.values import Finish, Usage

HOSTILE_FACTOR = 0.6
RANDOM_FACTOR_MAX = 4.0
_USUAL_OUTPUT = 256


class Poison(StrEnum):
    """Which lies are told."""

    MIXED = "mixed"
    """Half of each kind."""
    RANDOM = "random"
    HOSTILE = "hostile"


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """How many answers lie, and how."""

    poisoned_share: float = 0.0
    poison: Poison = Poison.MIXED


def answer(true_prompt_tokens: int, output_tokens: int | None, rules: AnswerRules, random: Random) -> Usage:
    """The usage that an answer carries; its completion is half of what was allowed.

    Args:
        true_prompt_tokens: what the prompt came to.
        output_tokens: the largest output it declared, if it did.
        rules: whether it may lie.
        random: consumed alike whether it lies or not.
    """
    lies, kind, where = random.random() < rules.poisoned_share, random.random(), random.random()
    hostile = rules.poison is Poison.HOSTILE or (rules.poison is Poison.MIXED and kind < _HALF)
    completion_tokens = max(1, (output_tokens or _USUAL_OUTPUT) // 2)
    claimed = float(true_prompt_tokens)
    if lies:
        claimed = HOSTILE_FACTOR * claimed if hostile else (RANDOM_FACTOR_MAX * claimed) ** where
    return Usage(max(1, math.floor(claimed)), completion_tokens, finish=Finish.STOP)


_HALF = 0.5
