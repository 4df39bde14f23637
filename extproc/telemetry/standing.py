"""What the router knows at present, as OpenTelemetry instruments: read at collection, on another thread than routing.

Everything shown is bounded: models by the estimator's table, categories by their enum. Names, units and meanings of
these instruments stand here and nowhere else.
"""

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from extproc.routing.anytime import AnytimeEstimator, ModelStanding
from extproc.routing.estimators import ALL_MODELS, LearnedRatio
from extproc.routing.outputs import OutputModel
from extproc.routing.router import Router

_Read = Callable[[CallbackOptions], Iterable[Observation]]


def declare_standing(meter: Meter, router: Router) -> None:
    """Instruments over a router and what it is made of."""
    _declare_router(meter, router)
    if isinstance(router.estimator, AnytimeEstimator):
        _declare_models(meter, router.estimator)
        _declare_memory(meter, router.estimator)
    if router.outputs is not None:
        _declare_outputs(meter, router.outputs)


def _declare_router(meter: Meter, router: Router) -> None:
    meter.create_observable_gauge(
        "dualpool.bytes_per_token",
        [_by_ratio(router, lambda ratio: ratio.bytes_per_token)],
        "",
        "Learned bytes per token, by model and category.",
    )
    meter.create_observable_gauge(
        "dualpool.bytes_per_token.samples",
        [_by_ratio(router, lambda ratio: ratio.samples)],
        "",
        "Answers each ratio was learned from.",
    )
    meter.create_observable_gauge(
        "dualpool.observing", [lambda _: [Observation(router.observing)]], "{answer}", "Answers being waited for."
    )
    meter.create_observable_gauge(
        "dualpool.threshold",
        [lambda _: [Observation(router.policy.threshold_tokens)]],
        "{token}",
        "Largest budget the short pool takes.",
    )


def _declare_models(meter: Meter, estimator: AnytimeEstimator) -> None:
    meter.create_observable_gauge(
        "dualpool.promise",
        [lambda _: [Observation(estimator.promised_share)]],
        "",
        "Acceptable share of requests that go short and do not fit.",
    )
    meter.create_observable_gauge(
        "dualpool.model.samples", [_by_model(estimator, lambda model: model.samples)], "", "Answers learned, by model."
    )
    meter.create_observable_gauge(
        "dualpool.drift.doubt",
        [_by_model(estimator, lambda model: model.doubt)],
        "",
        "Doubt added to every estimate of a model (deviation of its logarithm): not 0 while it is new or has changed.",
    )
    meter.create_observable_counter(
        "dualpool.drift.alarms",
        [_by_model(estimator, lambda model: model.alarms)],
        "{alarm}",
        "How often a model's errors left what was stated for them.",
    )


def _declare_memory(meter: Meter, estimator: AnytimeEstimator) -> None:
    def remembered(_: CallbackOptions) -> Iterable[Observation]:
        prompts = estimator.remembered
        return [] if prompts is None else [Observation(prompts)]

    meter.create_observable_gauge(
        "dualpool.memory.prompts", [remembered], "{prompt}", "Prompts remembered, so that what extends them is known."
    )


def _declare_outputs(meter: Meter, outputs: OutputModel) -> None:
    def reserved(_: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(learned.output_tokens, _key(learned.model, learned.category or ALL_MODELS))
            for learned in outputs.learned()
            if learned.output_tokens is not None
        ]

    meter.create_observable_gauge(
        "dualpool.output.reserved",
        [reserved],
        "{token}",
        "Output reserved where a chat names no limit, once enough is learned to promise it.",
    )


def _by_ratio(router: Router, value: Callable[[LearnedRatio], float]) -> _Read:
    return lambda _: [Observation(value(ratio), _key(ratio.model, ratio.category)) for ratio in router.ratios()]


def _by_model(estimator: AnytimeEstimator, value: Callable[[ModelStanding], float]) -> _Read:
    return lambda _: [Observation(value(model), {"model": model.model}) for model in estimator.standing()]


def _key(model: str, category: str) -> Mapping[str, str]:
    return {"model": model, "category": str(category)}
