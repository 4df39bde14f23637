"""How the pools stand and what is done about it, as instruments; without readings they show nothing."""

from collections.abc import Callable

from opentelemetry.metrics import Meter, Observation

from extproc.routing.router import Router
from extproc.routing.steering import PoolState
from extproc.routing.values import Pool
from extproc.telemetry import names
from extproc.telemetry.declare import Read, declare, each, one
from extproc.telemetry.ledger import Ledger


def declare_pressure(meter: Meter, ledger: Ledger, router: Router) -> None:
    """Instruments over the readings in a ledger, and over what a router was told because of them."""
    declare(meter, names.POOL_RUNNING, _of_pools(ledger, lambda state: state.running))
    declare(meter, names.POOL_WAITING, _of_pools(ledger, lambda state: state.waiting))
    declare(meter, names.POOL_KV_USAGE, _of_pools(ledger, lambda state: state.kv_usage))
    declare(meter, names.POOL_PREEMPTIONS, _of_pools(ledger, lambda state: state.preemptions_per_s))
    declare(meter, names.POOL_REJECTIONS, _of_pools(ledger, lambda state: state.rejections_per_s))
    declare(meter, names.POOL_PRESSURE, _pressures(ledger))
    declare(meter, names.POOL_INSTANCES, _instances(ledger))
    declare(meter, names.POOL_POLLS, _polls(ledger))
    declare(meter, names.THRESHOLD, one(lambda: router.policy.threshold_tokens))
    declare(meter, names.THRESHOLD_MOVES, each("direction", ledger.threshold_moves))
    declare(meter, names.SPILL_SHARE, _spill(ledger))
    declare(meter, names.SHORT_MAX_MODEL_LEN, one(lambda: router.short_max_model_len))
    declare(meter, names.SETTING, each("setting", ledger.settings))


def _of_pools(ledger: Ledger, value: Callable[[PoolState], float]) -> Read:
    return lambda: [
        Observation(value(state), {"pool": pool})
        for pool, state in list(ledger.pool_states.items())
        if state is not None
    ]


def _pressures(ledger: Ledger) -> Read:
    """Of the last step: each has a mapping of its own."""
    return lambda: [Observation(pressure, {"pool": pool}) for pool, pressure in ledger.pressures.items()]


def _instances(ledger: Ledger) -> Read:
    return lambda: [
        Observation(count, {"pool": pool, "standing": str(standing)})
        for pool, standings in list(ledger.pool_instances.items())
        for standing, count in list(standings.items())
    ]


def _polls(ledger: Ledger) -> Read:
    return lambda: [
        Observation(count, {"pool": pool, "outcome": str(outcome)})
        for (pool, outcome), count in list(ledger.polls.items())
    ]


def _spill(ledger: Ledger) -> Read:
    def read() -> list[Observation]:
        steering = ledger.steering
        if steering is None:
            return []
        return [
            Observation(steering.spill_share if steering.spill_from is pool else 0.0, {"pool": pool}) for pool in Pool
        ]

    return read
