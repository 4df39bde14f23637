"""Builds the router of each contender as the service does, and requests that know more than a service can.

The rules of observing are the service's defaults unless the options say otherwise.
"""

from dataclasses import dataclass, field

import msgspec

from extproc.evaluate.options import Contender
from extproc.routing.anytime import AnytimeEstimator, AnytimeRules
from extproc.routing.budget import BudgetRules
from extproc.routing.estimators import EmaEstimator, EmaRules, Estimator, FixedRatioEstimator
from extproc.routing.exact import Counter
from extproc.routing.memory import ConversationMemory
from extproc.routing.observing import ObserveRules
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.request import Request
from extproc.routing.router import Router
from extproc.routing.served import Promise
from extproc.routing.values import Category
from extproc.settings import Settings

_MEMORY_KEY = bytes(16)
"""Known to all: nothing here is a client's, and runs come to the same."""


@dataclass(frozen=True, slots=True)
class RouterRules:
    """What a contender's router is made of."""

    threshold_tokens: int
    promise: float = 0.001
    """Of `anytime`: acceptable share of requests that are sent short and do not fit."""
    ema: EmaRules = field(default_factory=EmaRules)
    """Of the published estimator."""
    remembers: bool = False
    """Whether `anytime` remembers conversations."""
    counter: Counter | None = None
    """What counts exactly for `anytime`, if anything does."""
    observe_share: float | None = None
    """Of the answers; None for the service's default."""
    streams_carry_usage: bool = False
    """Whether streams carry usage unasked."""


def build_router(contender: Contender, rules: RouterRules) -> Router:
    """A router that has learned nothing."""
    service = Settings()
    return Router(
        estimator=make_estimator(contender, rules),
        policy=TokenBudgetPolicy(rules.threshold_tokens),
        budget_rules=BudgetRules(template_tokens=service.template_tokens),
        observe_rules=ObserveRules(
            share=service.observe_share if rules.observe_share is None else rules.observe_share,
            max_in_flight=service.max_observed,
            streams_carry_usage=rules.streams_carry_usage,
        ),
    )


def make_estimator(contender: Contender, rules: RouterRules) -> Estimator:
    """The estimator of a contender."""
    if contender is Contender.FIXED:
        return FixedRatioEstimator()
    if contender.is_ema:
        return EmaEstimator(rules.ema)
    memory = ConversationMemory(_MEMORY_KEY) if rules.remembers else None
    return AnytimeEstimator(AnytimeRules(promise=Promise(rules.promise)), memory, rules.counter)


class ToldRequest(Request):
    """A request that names its true category: no part of the core looks at its text to tell one.

    The published estimator keeps a ratio for each model and category. The true category goes in with the model's name,
    because the file has other categories than the core; the core's own is then the same for all.
    """

    __slots__ = ()

    def __init__(self, request: Request, category: str) -> None:
        """The same request, told its category."""
        model = f"{category}/{request.facts.model}"
        super().__init__(msgspec.structs.replace(request.facts, model=model), request.prompt)

    def category(self) -> Category:
        """The one for which the published estimator never mixes two ratios."""
        return Category.TOOLS
