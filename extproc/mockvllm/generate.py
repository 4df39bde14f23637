"""What an answer says and how long it is, decided by seed and request alone; knows no clock and no wire."""

import math
import random
from dataclasses import dataclass

from extproc.mockvllm.tokens import Tokenizer

SPREAD = 0.8
"""Standard deviation of the logarithm of an answer's length: one answer in twenty is above 2.7 times the mean, much as
in chat traffic."""

FILLER = """\
The question can be taken in two ways, and both are worth a short look before anything is changed. First, the measured \
values: they rise slowly during the morning, stay flat until four, and fall again after the last batch has gone \
through. Second, the reasons behind them. A queue that is never empty hides the cost of waiting, so the mean says \
little; the slowest tenth of the requests says more. One could add a machine, but that would only move the line. It \
is cheaper to send the long ones elsewhere and to let the short ones pass.

In practice three steps are enough. Write down what each part promises, and what it does when it cannot keep the \
promise. Measure before and after with the same clock, the same load and the same patience. Then keep the smaller of \
the two designs, unless the larger one has shown, in numbers, that it earns its keep. None of this needs new tools: a \
table, a timer and an hour without meetings will do.

There are limits to this advice. Where the work arrives in bursts the average is a poor guide, and where a single \
customer brings half of the load the plan should name them. If the results differ from what is written here, trust \
the results, and ask which of the assumptions gave way. Usually it is the one that nobody wrote down. """
"""Plain prose in ASCII, so that each token is a piece of text."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer before it is cut: how long it would be, and with which sentence of the filler it begins."""

    tokens: int
    sentence: int


class Filler:
    """The filler prose, token by token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._pieces = tokenizer.pieces(FILLER)
        words = enumerate(self._pieces)
        self._sentences = [index for index, word in words if word[0] == " " and word[1:2].isupper()]

    def text(self, draft: Draft, start: int, stop: int) -> str:
        """The text of tokens `start` to `stop` of an answer; the prose repeats."""
        count = len(self._pieces)
        begin = self._sentences[draft.sentence % len(self._sentences)]
        first = (begin + start) % count
        repeated = self._pieces * ((first + stop - start) // count + 1)
        text = "".join(repeated[first : first + stop - start])
        return text if start else text.lstrip()


def draft(seed: int, fingerprint: int, index: int, mean_tokens: int) -> Draft:
    """Draw an answer: lognormal lengths with the given mean, at least one token."""
    dice = random.Random(f"{seed}/{fingerprint}/{index}")  # noqa: S311  # repeatable on purpose, guards nothing
    location = math.log(mean_tokens) - SPREAD**2 / 2
    return Draft(max(1, round(dice.lognormvariate(location, SPREAD))), dice.randrange(1 << 20))
