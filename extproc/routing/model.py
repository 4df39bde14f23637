"""What one serving model makes of prompts: the linear fit, corrected by the nearest exemplar; knows no threshold."""

import math

from extproc.routing.exemplars import Correction, Exemplars
from extproc.routing.judgement import Judgement
from extproc.routing.kernels import Array
from extproc.routing.linear import LinearFit, Sizes

_STRANGER = 0.3
"""Doubt about a model nobody has answered for yet, or whose vocabulary has changed: one standard deviation of the
logarithm. Vocabularies of 32K to 256K entries differ from the prior by 20 to 30 % on most text."""
_FAMILIARITY = 0.985
"""Of the doubt that remains after each answer: a tenth of it after 152."""
_CLAMP = 2.0
"""An error counts as at most so many of the standard deviations that were stated for it, so that a false usage, however
absurd, moves no more than an unlucky one."""
_SURE = 0.03
"""Stated standard deviations below this are taken for this when clamping: a well-known kind may still change."""
_TEXT_BYTES_MIN = 512
"""Shorter prompts teach the linear fit alone: their error is the chat template's, not their text's."""
_NOVEL = 0.25
"""Weight below which text counts as unlike any seen, so that the linear fit's own uncertainty is worth computing."""
_DOUBT_MIN = 0.01


class PromptModel:
    """One serving model. Not thread-safe."""

    def __init__(self) -> None:
        self.linear = LinearFit()
        self.exemplars = Exemplars()
        self.samples = 0
        """Answers taken in."""
        self.telling = 0
        """Those of them to prompts long enough to tell of text."""
        self.doubt = _STRANGER
        """Standard deviation of the logarithm that is added to every estimate until answers have earned trust."""

    def judge(self, shares: Array, sizes: Sizes) -> Judgement:
        """The estimate of a prompt by features of it, whole or sampled."""
        return self._judge(shares, sizes, self._correct(shares))

    def judge_rest(self, shares: Array, sizes: Sizes) -> Judgement:
        """The estimate of a piece of a prompt, of which the template's beginning is elsewhere."""
        correction = self._correct(shares)
        log_tokens = math.log(self.linear.tokens(shares, sizes, prompts=0)) + correction.log_error
        return Judgement(log_tokens, math.sqrt(self._variance(shares, sizes, correction)))

    def learn(self, shares: Array, sizes: Sizes, prompt_tokens: int) -> None:
        """Take in the truth about a prompt; `shares` are of its whole text."""
        correction = self._correct(shares)
        judged = self._judge(shares, sizes, correction)
        expected, most = judged.log_tokens, _CLAMP * max(_SURE, judged.spread)
        believed = expected + min(most, max(-most, math.log(prompt_tokens) - expected))
        row, prior_log_tokens = self.linear.row(shares, sizes)
        self.linear.learn(row, believed - prior_log_tokens)
        if sizes.text_bytes >= _TEXT_BYTES_MIN:
            self.exemplars.learn(shares, row, believed - prior_log_tokens, correction)
            self.telling += 1
            self.doubt = self.doubt * _FAMILIARITY if self.doubt > _DOUBT_MIN else 0.0
        self.samples += 1

    def distrust(self) -> None:
        """The vocabulary or the template has changed: doubt again, and let the new answers outweigh the old."""
        self.doubt = _STRANGER
        self.linear.discount(0.05)
        self.exemplars.discount(0.5)

    def _correct(self, shares: Array) -> Correction:
        return self.exemplars.correct(shares, self.linear.ridge.delta)

    def _judge(self, shares: Array, sizes: Sizes, correction: Correction) -> Judgement:
        log_tokens = math.log(self.linear.tokens(shares, sizes)) + correction.log_error
        return Judgement(log_tokens, math.sqrt(self._variance(shares, sizes, correction)))

    def _variance(self, shares: Array, sizes: Sizes, correction: Correction) -> float:
        """Of the logarithm: the exemplar's, the doubt about the model, and the linear fit's where text is novel."""
        variance = correction.variance + self.doubt * self.doubt
        if correction.weight < _NOVEL:
            variance += self.linear.ridge.variance(self.linear.row(shares, sizes)[0])
        return variance
