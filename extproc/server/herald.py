"""Tells whoever reads the log what becomes of the pools and the steering: changes alone, and not every one of them."""

import logging
import math

from extproc.routing.readings import Standing
from extproc.routing.steering import PoolState, Steering
from extproc.routing.values import Pool
from extproc.telemetry.wording import name_of

QUIET_S = 60.0
"""Of one matter no more is said for so long; then how it stands, if that is not what was said last."""
_WORTH_SAYING = math.log(1.05)
"""A threshold that moves less is not worth a line."""
_log = logging.getLogger(__name__)


class Herald:
    """Owns what was said last of each matter. Times are those of any clock that does not run backwards."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[object, float]] = {}

    def pool(self, pool: Pool, state: PoolState | None, standings: dict[Standing, int], now_s: float) -> None:
        """How well a pool can be seen."""
        if not self._news(f"{pool} pool", state is not None, now_s, at_first=None):
            return
        instances = ", ".join(f"{count} {standing}" for standing, count in standings.items() if count) or "none known"
        if state is None:
            _log.warning("%s pool: too few fresh readings (instances: %s): nothing is steered", pool, instances)
        else:
            _log.info("%s pool: readings are fresh (instances: %s)", pool, instances)

    def steering(self, steering: Steering, now_s: float) -> None:
        """What the router is told."""
        if self._news("spill", steering.spill_from, now_s, at_first=None):
            if steering.spill_from is None:
                _log.info("spillover ends: every pool takes its own requests again")
            else:
                _log.info("spillover: %s pool is under pressure, and gives requests to the other", steering.spill_from)
        step = round(math.log(steering.threshold_tokens) / _WORTH_SAYING)
        if self._news("threshold", step, now_s, at_first=step):
            _log.info("threshold is %d tokens now", steering.threshold_tokens)

    def context(self, instance: str, context_tokens: int, threshold_tokens: int, now_s: float) -> None:
        """What the short pool holds."""
        if not self._news("context", context_tokens, now_s, at_first=None):
            return
        if context_tokens < threshold_tokens:
            _log.warning(
                "short pool: max_model_len of %s is %d, below threshold_tokens %d: larger budgets go long",
                instance,
                context_tokens,
                threshold_tokens,
            )
        else:
            _log.info("short pool: the least max_model_len is %d", context_tokens)

    def order(self, long_instance: str, long_tokens: int, short_tokens: int, now_s: float) -> None:
        """A long pool that holds less than the short one."""
        if self._news("order", (long_tokens, short_tokens), now_s, at_first=None):
            _log.warning(
                "long pool: max_model_len of %s is %d, below the short pool's %d: are the two pools interchanged?",
                long_instance,
                long_tokens,
                short_tokens,
            )

    def models(self, models: dict[Pool, tuple[str, ...]], now_s: float) -> None:
        """What each pool's instances serve: one model, if a request is to be answered alike wherever it goes."""
        served = {pool: names for pool, names in models.items() if names}
        differ = len({name for names in served.values() for name in names}) > 1
        if self._news("models", served if differ else None, now_s, at_first=None) and differ:
            said = "; ".join(f"{pool} pool: {', '.join(map(name_of, names))}" for pool, names in served.items())
            _log.warning("instances serve different models, and a request goes to any of a pool's: %s", said)

    def _news(self, matter: str, state: object, now_s: float, *, at_first: object) -> bool:
        """Whether a matter stands otherwise than was said last, and it is time to say so."""
        said, when_s = self._said.setdefault(matter, (at_first, -math.inf))
        if state == said or now_s - when_s < QUIET_S:
            return False
        self._said[matter] = state, now_s
        return True
