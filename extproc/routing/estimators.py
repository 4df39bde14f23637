"""Text bytes → prompt tokens, learned from what answers say prompts really cost; knows no pool and no output.

`Estimator` is what all of them share; `EmaEstimator` is the published method, `FixedRatioEstimator` its baseline.
"""

import math
from dataclasses import dataclass
from typing import Protocol, Self

from extproc.routing.learned import EstimatorState, RatioState
from extproc.routing.request import Request
from extproc.routing.values import (
    MAX_BYTES_PER_TOKEN,
    NEGLIGIBLE_SHARE,
    Category,
    Estimate,
    RequestFacts,
    Usage,
)

COLD_BYTES_PER_TOKEN = 4.0
"""Where nothing is learned: the paper's cold start, English prose under most vocabularies."""
MIN_BYTES_PER_TOKEN = 1.0
"""Physical bound: byte-level vocabularies make at most one token of a byte."""
MAX_RATIOS = 512
"""Bound on learned ratios (models × categories); past it a model shares the ratios of all models."""
ALL_MODELS = "*"
"""The key under which the answers of models that found no place of their own are learned together."""


TEMPLATE_TOKENS_PER_MESSAGE, TEMPLATE_TOKENS_PER_TOOL = 8, 16
"""What templates set around a message (5 tokens with Llama-3.1 and Qwen3) and a tool (9 to 17): a ratio learned from
long texts holds hardly any of it, so conversations of many short turns would seem shorter than they are."""
_LEARNABLE_BYTES = 512
"""Below this the chat template outweighs the text, and bytes per token say nothing about it."""


class Estimator(Protocol):
    """Judges prompts and learns from answers. One per process, not thread-safe."""

    def estimate(self, request: Request, room_tokens: int) -> Estimate:
        """Prompt tokens of the longest prompt, chat template included.

        Args:
            request: one without flaw.
            room_tokens: what the threshold leaves for the prompt: effort is worth it where the estimate comes close.
        """
        ...

    def lesson(self, request: Request, room_tokens: int, *, estimated: bool, weight: float = 1.0) -> object:
        """What must be kept until the answer comes, to learn from it: numbers, never text.

        Args:
            request: one whose answer is observed.
            room_tokens: what the threshold leaves for the prompt.
            estimated: whether an estimate decided, rather than bounds.
            weight: how many requests like it this one stands for.
        """
        ...

    def learn(self, facts: RequestFacts, lesson: object, usage: Usage) -> bool:
        """Take in one answer; False where the rules of the estimator exclude it."""
        ...

    def learning(self, request: Request) -> bool:
        """Whether answers to such requests are still needed, each of them."""
        ...

    def ratios(self) -> "list[LearnedRatio]":
        """What was learned, for people to see."""
        ...

    def snapshot(self) -> EstimatorState:
        """What was learned, as values."""
        ...

    def absorb(self, state: EstimatorState) -> None:
        """Add what another replica, or this one's predecessor, has learned. The same must not be added twice."""
        ...

    def adopt(self, other: Self) -> None:
        """Follow the rules of another one of its kind from now on, and keep what was learned."""
        ...


@dataclass(frozen=True, slots=True)
class EmaRules:
    """How the published estimator learns. The paper gives neither β nor γ: both are argued here."""

    decay: float = 0.98
    """β, the weight of the past. Back-solved from the paper's Table 5 it is about 0.95; single requests of one category
    scatter by 10–20 %, and 0.98 keeps that noise below 2 % of the ratio (sd · sqrt((1−β)/(1+β)))."""
    margin_deviations: float = 2.0
    """γ. On chat bodies in 18 kinds of text, 2 sends 0.1 % of requests short that do not fit, 1 sends 0.3 %."""
    warm_up_samples: int = 10
    """Answers before a ratio is trusted; until then a request that is not certain goes long."""
    learning_samples: int = 100
    """Answers until which every one is wanted; afterwards a sampled share suffices."""


@dataclass(frozen=True, slots=True)
class LearnedRatio:
    """One learned ratio."""

    model: str
    category: Category
    bytes_per_token: float
    conservative_bytes_per_token: float
    samples: int


@dataclass(slots=True)
class _Ratio:
    """Exponential moving averages of bytes per token and of its absolute deviation.

    `c ← c + w(c_obs − c)` and `σ ← σ + w(|c_obs − c| − σ)` with `w = max(1/n, 1 − β)`: a plain mean while n is small,
    so that the first answer does not rule for ever, the published EMA afterwards. σ is compared with the c that stood
    before the answer, as published; it is a mean absolute deviation, not a standard deviation.
    """

    bytes_per_token: float = COLD_BYTES_PER_TOKEN
    deviation: float = 0.0
    samples: int = 0

    def observe(self, observed: float, decay: float) -> None:
        self.samples += 1
        weight = max(1.0 / self.samples, 1.0 - decay)
        error = observed - self.bytes_per_token
        self.deviation += weight * (abs(error) - self.deviation)
        self.bytes_per_token += weight * error

    def conservative(self, margin_deviations: float) -> float:
        """`c − γσ`, within the physical bound and never above the mean."""
        lowered = self.bytes_per_token - margin_deviations * self.deviation
        return min(self.bytes_per_token, max(MIN_BYTES_PER_TOKEN, lowered))


class EmaEstimator:
    """The published estimator: `tokens = ceil(bytes / (c − γσ))`, c and σ learned per model and category.

    Source: arXiv 2604.08075 and 2604.09613 (equations for c_obs, c, σ and c*). Known limits, kept because they are
    published: it averages bytes per token rather than their inverse, and has no term for the chat template.
    """

    def __init__(self, rules: EmaRules | None = None) -> None:
        self._rules = rules or EmaRules()
        self._by_key: dict[tuple[str, Category], _Ratio] = {}

    def adopt(self, other: Self) -> None:
        """Follow another one's rules from now on, and keep what was learned."""
        self._rules = other._rules

    def estimate(self, request: Request, room_tokens: int) -> Estimate:  # noqa: ARG002 - every request costs it the same
        """Prompt tokens; calibrated once the ratios behind them have their warm-up behind them."""
        facts, category = request.facts, request.category()
        ratio = self._ratio(facts.model, category)
        if facts.structure_bytes > NEGLIGIBLE_SHARE * facts.text_bytes and category is not Category.TOOLS:
            return self._estimate_mixture(facts, ratio)
        lower = ratio.conservative(self._rules.margin_deviations)
        return self._estimate(facts, facts.text_bytes / ratio.bytes_per_token, facts.text_bytes / lower, ratio.samples)

    def lesson(self, request: Request, room_tokens: int, *, estimated: bool, weight: float = 1.0) -> object:  # noqa: ARG002 - the category is all it needs
        """The category."""
        return request.category()

    def learn(self, facts: RequestFacts, lesson: object, usage: Usage) -> bool:
        """Take in one answer, unless the request's bytes do not answer for its tokens."""
        category = Category(str(lesson))
        if not teaches_ratio(facts, category) or usage.prompt_tokens <= 0:
            return False
        observed = facts.total_text_bytes / usage.prompt_tokens
        if observed > MAX_BYTES_PER_TOKEN:
            return False
        self._ratio_to_teach(facts.model, category).observe(max(MIN_BYTES_PER_TOKEN, observed), self._rules.decay)
        return True

    def learning(self, request: Request) -> bool:
        """Until the ratio of its kind has its share of samples; never of what it would not learn from."""
        facts, category = request.facts, request.category()
        samples = self._ratio(facts.model, category).samples
        return samples < self._rules.learning_samples and teaches_ratio(facts, category)

    def ratios(self) -> list[LearnedRatio]:
        """Every learned ratio, oldest first. Works on a copy: metrics are read by another thread."""
        gamma = self._rules.margin_deviations
        return [
            LearnedRatio(model, category, ratio.bytes_per_token, ratio.conservative(gamma), ratio.samples)
            for (model, category), ratio in list(self._by_key.items())
        ]

    def snapshot(self) -> EstimatorState:
        """Every ratio."""
        ratios = [RatioState(*key, r.bytes_per_token, r.deviation, r.samples) for key, r in self._by_key.items()]
        return EstimatorState(ratios=ratios)

    def absorb(self, state: EstimatorState) -> None:
        """Add ratios, each by its samples."""
        for other in state.ratios:
            ratio = self._ratio_to_teach(other.model, other.category)
            ratio.samples += other.samples
            share = other.samples / max(1, ratio.samples)
            ratio.bytes_per_token += share * (other.bytes_per_token - ratio.bytes_per_token)
            ratio.deviation += share * (other.deviation - ratio.deviation)

    def _estimate_mixture(self, facts: RequestFacts, text: _Ratio) -> Estimate:
        """Text beside tool schemas that neither outweighs: each part by the ratio of its kind. It teaches neither."""
        tools, gamma = self._ratio(facts.model, Category.TOOLS), self._rules.margin_deviations
        plain_bytes = facts.text_bytes - facts.structure_bytes
        mean = plain_bytes / text.bytes_per_token + facts.structure_bytes / tools.bytes_per_token
        conservative = plain_bytes / text.conservative(gamma) + facts.structure_bytes / tools.conservative(gamma)
        return self._estimate(facts, mean, conservative, min(text.samples, tools.samples))

    def _estimate(self, facts: RequestFacts, mean: float, conservative: float, samples: int) -> Estimate:
        """The margin includes the framing, which the ratio does not."""
        calibrated = samples >= self._rules.warm_up_samples
        framing = TEMPLATE_TOKENS_PER_MESSAGE * facts.message_count + TEMPLATE_TOKENS_PER_TOOL * facts.tool_count
        return Estimate(
            mean_tokens=math.ceil(mean),
            conservative_tokens=math.ceil(conservative) + framing,
            calibrated=calibrated,
            may_decide=calibrated and not facts.mixed,
        )

    def _ratio(self, model: str, category: Category) -> _Ratio:
        known = self._by_key.get((model, category))
        return known or self._by_key.get((ALL_MODELS, category)) or _COLD

    def _ratio_to_teach(self, model: str, category: Category) -> _Ratio:
        """Room is made only when an answer came back, so a client cannot fill the table with invented models."""
        key = (model, category)
        if key not in self._by_key and len(self._by_key) >= MAX_RATIOS:
            key = (ALL_MODELS, category)
        return self._by_key.setdefault(key, _Ratio())


_COLD = _Ratio()


def teaches_ratio(facts: RequestFacts, category: Category) -> bool:
    """Whether a ratio is learned from it: a tiny prompt is mostly template, text beside tools is of neither kind."""
    if not facts.teaches or facts.total_text_bytes < _LEARNABLE_BYTES * facts.prompt_count:
        return False
    return category is Category.TOOLS or facts.structure_bytes <= NEGLIGIBLE_SHARE * facts.total_text_bytes


class FixedRatioEstimator:
    """The baseline that learns nothing: one ratio for all text, no margin."""

    def __init__(self, bytes_per_token: float = COLD_BYTES_PER_TOKEN) -> None:
        self._bytes_per_token = bytes_per_token

    def estimate(self, request: Request, room_tokens: int) -> Estimate:  # noqa: ARG002 - it never doubts
        """`ceil(bytes / ratio)`, taken at its word."""
        tokens = math.ceil(request.facts.text_bytes / self._bytes_per_token)
        return Estimate(mean_tokens=tokens, conservative_tokens=tokens, calibrated=True)

    def lesson(self, request: Request, room_tokens: int, *, estimated: bool, weight: float = 1.0) -> object:  # noqa: ARG002 - it learns nothing
        """Nothing."""
        return None

    def learn(self, facts: RequestFacts, lesson: object, usage: Usage) -> bool:  # noqa: ARG002 - it listens to nothing
        """Never takes anything in."""
        return False

    def learning(self, request: Request) -> bool:  # noqa: ARG002 - it learns nothing
        """Never."""
        return False

    def ratios(self) -> list[LearnedRatio]:
        """Nothing is learned."""
        return []

    def snapshot(self) -> EstimatorState:
        """Nothing."""
        return EstimatorState()

    def absorb(self, state: EstimatorState) -> None:
        """It takes nothing in."""

    def adopt(self, other: Self) -> None:
        """The other's ratio."""
        self._bytes_per_token = other._bytes_per_token
