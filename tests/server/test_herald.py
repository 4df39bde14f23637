"""The log tells what changes, once, and not more than it can be read."""

import logging

import pytest

from extproc.routing.readings import Standing
from extproc.routing.steering import PoolState, Steering
from extproc.routing.values import Pool
from extproc.server.herald import QUIET_S, Herald

STATE = PoolState(instances=2, running=1.0, waiting=0.0, kv_usage=0.1)


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    """Let all lines through."""
    caplog.set_level(logging.INFO)


def standings(**counts: int) -> dict[Standing, int]:
    """So many instances of each."""
    return {standing: counts.get(standing.value, 0) for standing in Standing}


def test_a_pool_that_is_lost_and_found_is_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    """What does not change is not repeated."""
    herald = Herald()
    for second in range(10):
        herald.pool(Pool.SHORT, None, standings(fresh=1, silent=2), second)
    for second in range(10):
        herald.pool(Pool.SHORT, STATE, standings(fresh=2), 100.0 + second)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "short pool: too few fresh readings (instances: 1 fresh, 2 silent): nothing is steered"),
        ("INFO", "short pool: readings are fresh (instances: 2 fresh)"),
    ]


def test_different_models_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """In two pools or in one; one model in both is as it should be, and a pool that has not said is not judged."""
    herald = Herald()
    herald.models({Pool.SHORT: ("a",), Pool.LONG: ()}, 0.0)
    herald.models({Pool.SHORT: ("a",), Pool.LONG: ("a",)}, 100.0)
    assert caplog.messages == []
    for second in range(200, 400):
        herald.models({Pool.SHORT: ("a",), Pool.LONG: ("a", "b")}, float(second))
    warned = "instances serve different models, and a request goes to any of a pool's: short pool: a; long pool: a, b"
    assert caplog.messages == [warned]


def test_a_model_s_name_steers_no_terminal(caplog: pytest.LogCaptureFixture) -> None:
    """What an instance calls its models is shown by its printable characters."""
    Herald().models({Pool.SHORT: ("a",), Pool.LONG: ("\x1b[2J",)}, 0.0)
    assert caplog.messages[0].endswith(r"short pool: a; long pool: '\x1b[2J'")


def test_a_pool_without_instances_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """An empty list is a likely mistake."""
    Herald().pool(Pool.LONG, None, standings(), 0.0)
    assert "(instances: none known)" in caplog.text


def test_what_flaps_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """And then as it stands."""
    herald = Herald()
    for second in range(0, 240, 2):
        spilling = (second // 2) % 2 == 0
        herald.steering(Steering(8192, Pool.SHORT if spilling else None, 0.1 if spilling else 0.0), float(second))
    assert len(caplog.messages) <= 1 + 240 / QUIET_S


def test_spillover_is_told_as_it_begins_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    """No line says that nothing spills from the first."""
    herald = Herald()
    herald.steering(Steering(8192), 0.0)
    herald.steering(Steering(8192, Pool.LONG, 0.1), 10.0)
    herald.steering(Steering(8192, Pool.LONG, 0.4), 90.0)
    herald.steering(Steering(8192), 100.0)
    assert caplog.messages == [
        "spillover: long pool is under pressure, and gives requests to the other",
        "spillover ends: every pool takes its own requests again",
    ]


def test_a_threshold_is_told_when_it_has_moved_enough(caplog: pytest.LogCaptureFixture) -> None:
    """Not at the start, and not for every per cent."""
    herald = Herald()
    for minute, tokens in enumerate((8192, 8200, 8190, 7000, 7010, 4096)):
        herald.steering(Steering(tokens), minute * QUIET_S)
    assert caplog.messages == ["threshold is 7000 tokens now", "threshold is 4096 tokens now"]


def test_a_context_below_the_threshold_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """One that holds it is worth a line."""
    herald = Herald()
    herald.context("http://a:1", 16384, 8192, 0.0)
    herald.context("http://a:1", 4096, 8192, 100.0)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "short pool: the least max_model_len is 16384"),
        (
            "WARNING",
            "short pool: max_model_len of http://a:1 is 4096, below threshold_tokens 8192: larger budgets go long",
        ),
    ]


def test_interchanged_pools_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Once for each pair of contexts."""
    herald = Herald()
    for second in (0.0, 100.0):
        herald.order("http://l:1", 8192, 131072, second)
    (warning,) = caplog.messages
    assert warning == (
        "long pool: max_model_len of http://l:1 is 8192, below the short pool's 131072: are the two pools interchanged?"
    )
