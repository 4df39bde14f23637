import msgspec

from extproc.routing.steering import PoolState, Steering
from extproc.routing.values import Pool


def test_a_reading_of_a_version_that_tells_less_presses_nobody() -> None:
    """Counters that an old vLLM lacks are 0: no preemptions, no refusals."""
    state = PoolState(instances=2, running=3.0, waiting=0.5, kv_usage=0.4)
    assert (state.preemptions_per_s, state.rejections_per_s) == (0.0, 0.0)


def test_a_threshold_alone_spills_nothing() -> None:
    """What is not said is not done."""
    assert Steering(4096) == Steering(4096, None, 0.0)


def test_steering_can_be_written_down() -> None:
    """For the status page: names and numbers, the pool as in every label."""
    written = msgspec.to_builtins(Steering(4096, Pool.SHORT, 0.25))
    assert written == {"threshold_tokens": 4096, "spill_from": "short", "spill_share": 0.25}
