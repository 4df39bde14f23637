import pytest

from extproc.routing.pressure import CALM, EASED, FULL, PressureRules, pressure_of
from extproc.routing.steering import PoolState

RULES = PressureRules(waiting=4.0, kv_usage=0.95, kv_span=0.2, preemptions_per_s=0.5)
IDLE = PoolState(instances=3, running=0.0, waiting=0.0, kv_usage=0.0)
LEVELS = [
    (PoolState(3, 50.0, 4.0, 0.0), FULL),
    (PoolState(3, 50.0, 2.0, 0.0), EASED),
    (PoolState(3, 50.0, 0.0, 0.95), FULL),
    (PoolState(3, 50.0, 0.0, 0.85), EASED),
    (PoolState(3, 50.0, 0.0, 0.80), CALM),
    (PoolState(3, 50.0, 0.0, 0.0, preemptions_per_s=0.5), FULL),
    (PoolState(3, 50.0, 0.0, 0.0, rejections_per_s=0.01), FULL),
    (PoolState(3, 50.0, 8.0, 0.95, preemptions_per_s=0.5, rejections_per_s=1.0), 2 * FULL),
]


@pytest.mark.parametrize(("state", "pressure"), LEVELS)
def test_the_worst_reading_is_the_pressure(state: PoolState, pressure: float) -> None:
    """Each alone makes users wait, and being refused is worse than waiting."""
    assert pressure_of(state, RULES) == pytest.approx(pressure)


def test_a_busy_batch_alone_is_no_pressure() -> None:
    """Sequences that run are what a pool is for."""
    assert pressure_of(PoolState(3, 256.0, 0.0, 0.0), RULES) == pressure_of(IDLE, RULES) == 0.0
