"""Builds the routing core as settings describe it, for whoever drives it: the service or the planner's simulator."""

import secrets
from pathlib import Path

from extproc.routing.adaptive import AdaptiveRules
from extproc.routing.anytime import AnytimeEstimator, AnytimeRules
from extproc.routing.budget import BudgetRules
from extproc.routing.estimators import EmaEstimator, EmaRules, Estimator, FixedRatioEstimator
from extproc.routing.exact import Counter
from extproc.routing.memory import ConversationMemory, MemoryRules
from extproc.routing.observing import ObserveRules
from extproc.routing.outputs import OutputModel, OutputRules
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.pressure import PressureRules
from extproc.routing.router import Router
from extproc.routing.served import Promise
from extproc.routing.spillover import SpilloverRules
from extproc.routing.steerer import SteeringRules
from extproc.routing.values import MAX_BYTES_PER_TOKEN
from extproc.settings import Settings

_KEY_BYTES = 32
_TELLING_ANSWERS = 10.0
"""Answers above the reserve by which a learned output is judged: fewer would leave it to chance."""


def build_router(settings: Settings, *, memory_key: bytes | None = None) -> Router:
    """The core, as the settings describe it.

    Args:
        settings: of the service.
        memory_key: what conversations are hashed with; None for one that nobody else knows.

    Raises:
        ConfigurationError: the tokenizer's file cannot be used.
        MissingPartError: it needs a package that is not installed.
    """
    undeclared = settings.undeclared_output
    return Router(
        estimator=_estimator(settings, memory_key),
        policy=TokenBudgetPolicy(settings.threshold_tokens),
        budget_rules=BudgetRules(
            undeclared_output_tokens=undeclared if isinstance(undeclared, int) else None,
            template_tokens=settings.template_tokens,
        ),
        observe_rules=ObserveRules(
            share=settings.observe_share,
            max_in_flight=settings.max_observed,
            streams_carry_usage=settings.streams_carry_usage,
        ),
        outputs=_outputs(settings.promise) if undeclared == "learned" else None,
        short_max_model_len=settings.short_max_model_len,
    )


def steering_rules(settings: Settings) -> SteeringRules:
    """What steers the router, as the settings describe it."""
    pressure = PressureRules(waiting=settings.spillover_waiting, kv_usage=settings.spillover_kv_usage)
    spillover = SpilloverRules(share_max=settings.spillover_share) if settings.spillover else None
    adaptive = AdaptiveRules(settings.threshold_min_tokens) if settings.adaptive_threshold else None
    return SteeringRules(pressure, spillover, adaptive)


def _estimator(settings: Settings, memory_key: bytes | None) -> Estimator:
    if settings.estimator == "fixed":
        return FixedRatioEstimator()
    if settings.estimator == "ema":
        return EmaEstimator(
            EmaRules(
                decay=settings.ema_decay,
                margin_deviations=settings.margin_deviations,
                warm_up_samples=settings.warm_up_samples,
                learning_samples=settings.learning_samples,
            )
        )
    rules = AnytimeRules(
        promise=Promise(settings.promise),
        warm_up_samples=settings.warm_up_samples,
        learning_samples=settings.learning_samples,
    )
    return AnytimeEstimator(rules, memory=_memory(settings.conversation_memory, memory_key), counter=_counter(settings))


def _memory(prompts: int, key: bytes | None) -> ConversationMemory | None:
    """Its key is this process's own, so that nobody else finds a conversation by its hash, unless one is given."""
    return ConversationMemory(key or secrets.token_bytes(_KEY_BYTES), MemoryRules(prompts)) if prompts else None


def _counter(settings: Settings) -> Counter | None:
    """A local tokenizer, if one is named. Text of more bytes than fit at any ratio need not be counted."""
    if not settings.tokenizer_json:
        return None
    from extproc.tokenizer.exact import ExactCounter  # noqa: PLC0415 - an extra: the service runs without it

    most_tokens = max(settings.threshold_tokens, settings.short_max_model_len or 0)
    return ExactCounter(Path(settings.tokenizer_json), max_bytes=round(MAX_BYTES_PER_TOKEN * most_tokens))


def _outputs(promise: float) -> OutputModel:
    """The smaller the promise, the more answers it takes to keep it, so the longer they are remembered."""
    half_life_samples = max(OutputRules().half_life_samples, _TELLING_ANSWERS / promise)
    return OutputModel(OutputRules(promise, half_life_samples))
