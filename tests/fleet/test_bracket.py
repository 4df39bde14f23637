import math
from collections.abc import Callable

import pytest

from extproc.fleet.bracket import Bracket


def tries(search: Bracket, excess: Callable[[float], float]) -> list[float]:
    """All that it tried."""
    tried: list[float] = []
    while (number := search.proposal()) is not None:
        tried.append(number)
        search.put(number, excess(number))
        assert len(tried) < 100
    return tried


def steady(least: float, slope: float) -> Callable[[float], float]:
    """Failures that fall with a power of the number."""
    return lambda number: slope * math.log(least / number)


def sudden(least: float) -> Callable[[float], float]:
    """All fail below, none from there on."""
    return lambda number: 4.0 if number < least else -4.0


@pytest.mark.parametrize("start", [90.0, 120.0, 133.0, 250.0])
@pytest.mark.parametrize("excess", [steady(128.5, 3.0), steady(128.5, 30.0), sudden(128.5)])
def test_the_least_is_found(start: float, excess: Callable[[float], float]) -> None:
    """To 1.1 %, from either side and wherever it begins; what it answers did keep the objective."""
    search = Bracket(start, 0.1, whole=False)
    tried = tries(search, excess)
    assert search.keeps in tried
    assert search.fails < 128.5 <= search.keeps <= 1.011 * search.fails


def test_a_good_start_takes_few_tries() -> None:
    """Four where failures fall evenly; half as many again where they do not."""
    assert len(tries(Bracket(126.0, 0.03, whole=False), steady(128.5, 8.0))) <= 4
    assert len(tries(Bracket(126.0, 0.03, whole=False), sudden(128.5))) <= 6


@pytest.mark.parametrize("least", [1, 2, 7, 20, 300])
@pytest.mark.parametrize("start", [1, 5, 40])
def test_whole_numbers_are_found_exactly(least: int, start: int) -> None:
    """Down to one, and no number is tried twice."""
    for excess in (steady(least - 0.5, 5.0), sudden(least)):
        search = Bracket(start, 0.1, whole=True)
        tried = tries(search, excess)
        assert search.keeps == least
        assert len(tried) == len(set(tried))
        assert all(number == int(number) >= 1 for number in tried)


def test_what_never_keeps_is_followed_far_and_fast() -> None:
    """Strides grow, so that who asks sees soon that no number does."""
    search = Bracket(10.0, 0.1, whole=False)
    for _ in range(9):
        number = search.proposal()
        assert number is not None
        search.put(number, 1.0)
    assert search.fails > 5120


def test_chance_takes_hardly_more_tries_than_bisection() -> None:
    """Failures that hardly depend on the number but for their sign: as many tries as halves, two more, and a stride."""
    search = Bracket(100.0, 0.7, whole=False)
    tried = tries(search, lambda number: 1e-6 if number < 151.0 else -5.0)
    assert len(tried) <= 2 + math.ceil(math.log2(0.7 * 128 / math.log(4))) + 2
