import math

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.slotmodel import (
    A100,
    AGENT_HEAVY,
    AZURE,
    CDF_TOKENS,
    LMSYS,
    erlang_c,
    instances,
    service,
    service_s,
    slots,
    wait_p99_s,
)


@pytest.mark.parametrize(("context", "count"), [(4_096, 256), (6_144, 170), (8_192, 128), (16_384, 64), (65_536, 16)])
def test_slots_are_those_of_the_published_planner(context: int, count: int) -> None:
    """A context of 8K leaves 128 slots of an A100 and one of 64K leaves 16."""
    assert slots(A100, context) == count


@pytest.mark.parametrize(
    ("prompt", "output", "context", "rate"),
    [(1_600, 400, 8_192, 11.2), (1_600, 400, 65_536, 3.76), (1_000, 200, 8_192, 31.39), (1_000, 200, 65_536, 8.32)],
)
def test_rates_are_those_of_the_published_planner(prompt: int, output: int, context: int, rate: float) -> None:
    """The iteration law gives its analytic rates for requests of one length."""
    total = prompt + output
    count = slots(A100, context)
    times = service_s(A100, np.array([float(total)]), count, prompt / total)
    assert count / times[0] == pytest.approx(rate, abs=0.005 * rate)


def test_erlang_of_one_and_two_servers() -> None:
    """One server makes its utilisation wait; two with an offered load of 1 make a third wait."""
    assert erlang_c(1, 0.7) == pytest.approx(0.7)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)


def test_erlang_of_thousands_of_servers() -> None:
    """With 5,000 servers the recursion agrees with the limit of Halfin and Whitt to a few per cent."""
    servers, margin = 5_000, 1.0
    offered = servers - margin * math.sqrt(servers)
    density, below = math.exp(-(margin**2) / 2) / math.sqrt(2 * math.pi), 0.5 * (1 + math.erf(margin / math.sqrt(2)))
    assert erlang_c(servers, offered) == pytest.approx(1 / (1 + margin * below / density), rel=0.03)
    assert erlang_c(50_000, 10_000.0) == 0.0


def test_wait_grows_with_the_load() -> None:
    """An overloaded pool waits for ever; a loaded one waits longer than an idle one."""
    pool = service(A100, AZURE, 65_536)
    assert wait_p99_s(pool, 10 * pool.rate_per_s, 10) == math.inf
    assert wait_p99_s(pool, 9.9 * pool.rate_per_s, 10) > wait_p99_s(pool, 9.0 * pool.rate_per_s, 10)
    assert wait_p99_s(pool, 2.0 * pool.rate_per_s, 10) == 0.0


def test_bounded_wait_asks_for_more_instances() -> None:
    """For one request per second the utilisation cap alone would let the queue grow."""
    pool = service(A100, AGENT_HEAVY, 65_536)
    few, enough = instances(pool, 0.39), instances(pool, 0.39, wait_s=0.01)
    assert few < enough
    assert wait_p99_s(pool, 0.39, enough) <= 0.01


@pytest.mark.parametrize("cumulative", [AZURE, LMSYS, AGENT_HEAVY])
def test_distributions_are_distributions(cumulative: tuple[float, ...]) -> None:
    """Each of the 18 points is no lower than the one before and the last is 1."""
    assert len(cumulative) == len(CDF_TOKENS) == 18
    assert list(cumulative) == sorted(cumulative)
    assert cumulative[-1] == 1.0


def test_an_empty_pool_is_refused() -> None:
    """No Azure request is longer than 16K tokens."""
    with pytest.raises(ConfigurationError, match="No request"):
        service(A100, AZURE, 65_536, above_tokens=16_384)
