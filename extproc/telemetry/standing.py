"""What the router knows at present, as OpenTelemetry instruments: read at collection, on another thread than routing.

Everything shown is bounded: models by the estimator's table, categories by their enum.
"""

from collections.abc import Callable, Mapping

from opentelemetry.metrics import Meter, Observation

from extproc.routing.anytime import AnytimeEstimator, ModelStanding
from extproc.routing.estimators import ALL_MODELS, LearnedRatio
from extproc.routing.router import Router
from extproc.telemetry import names
from extproc.telemetry.declare import Read, declare, one


def declare_standing(meter: Meter, router: Router) -> None:
    """Instruments over a router and what it is made of."""
    declare(meter, names.BYTES_PER_TOKEN, _by_ratio(router, lambda ratio: ratio.bytes_per_token))
    declare(meter, names.BYTES_PER_TOKEN_SAMPLES, _by_ratio(router, lambda ratio: ratio.samples))
    declare(meter, names.OBSERVING, one(lambda: router.observing))
    if isinstance(router.estimator, AnytimeEstimator):
        _declare_models(meter, router.estimator)
    declare(meter, names.OUTPUT_RESERVED, _reserved(router))


def _declare_models(meter: Meter, estimator: AnytimeEstimator) -> None:
    declare(meter, names.PROMISE, one(lambda: estimator.promised_share))
    declare(meter, names.MODEL_SAMPLES, _by_model(estimator, lambda model: model.samples))
    declare(meter, names.DRIFT_DOUBT, _by_model(estimator, lambda model: model.doubt))
    declare(meter, names.DRIFT_ALARMS, _by_model(estimator, lambda model: model.alarms))
    declare(meter, names.MEMORY_PROMPTS, one(lambda: estimator.remembered))


def _reserved(router: Router) -> Read:
    """Of what is learned at present: settings may bring it, or let it rest."""

    def read() -> list[Observation]:
        outputs = router.outputs
        return [
            Observation(learned.output_tokens, _key(learned.model, learned.category or ALL_MODELS))
            for learned in (() if outputs is None else outputs.learned())
            if learned.output_tokens is not None
        ]

    return read


def _by_ratio(router: Router, value: Callable[[LearnedRatio], float]) -> Read:
    return lambda: [Observation(value(ratio), _key(ratio.model, ratio.category)) for ratio in router.ratios()]


def _by_model(estimator: AnytimeEstimator, value: Callable[[ModelStanding], float]) -> Read:
    return lambda: [Observation(value(model), {"model": model.model}) for model in estimator.standing()]


def _key(model: str, category: str) -> Mapping[str, str]:
    return {"model": model, "category": str(category)}
