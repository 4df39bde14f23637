import numpy as np

from extproc.fleet.dispatch import LONG, SHORT, Chance, Oracle, Routed, Single, budgets, position, usage_of
from extproc.fleet.values import ABSENT, CATEGORIES
from extproc.routing.values import Category, Finish, Pool, Usage
from extproc.settings import Settings
from tests.fleet.reference import Asked, batch_of, random_batch

BATCH = batch_of([Asked(0.0, 100, 50), Asked(1.0, 100, 50, 60), Asked(2.0, 100, 50, 30), Asked(3.0, 120, 50)])
SETTINGS = Settings(threshold_tokens=4096, learning_samples=100, warm_up_samples=10)
PROSE = CATEGORIES.index(Category.PROSE)


def test_a_budget_is_what_may_be_written() -> None:
    """What is declared is reserved in full; what is not turns out."""
    assert budgets(BATCH).tolist() == [150, 160, 130, 170]


def test_one_pool_takes_all() -> None:
    """The first."""
    assert Single().pools_of(BATCH).tolist() == [0, 0, 0, 0]


def test_the_oracle_sends_short_what_fits() -> None:
    """Up to the threshold and no further."""
    assert Oracle(150).pools_of(BATCH).tolist() == [SHORT, LONG, SHORT, LONG]


def test_chance_sends_its_share_short() -> None:
    """Within four standard errors of 10,000 draws; the same seed the same, and each batch anew."""
    batch = random_batch(10_000, rate_per_s=1.0, seed=0)
    chance = Chance(0.3, seed=1)
    first, second = chance.pools_of(batch), chance.pools_of(batch)
    assert abs((first == SHORT).mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 10_000)
    assert (first != second).any()
    assert Chance(0.3, seed=1).pools_of(batch).tolist() == first.tolist()


def test_pools_have_their_places() -> None:
    """Short first."""
    assert [position(pool) for pool in (Pool.SHORT, Pool.LONG)] == [0, 1]


def test_usage_says_what_cut_an_answer() -> None:
    """As vLLM's finish_reason."""
    assert usage_of(10, 5, cut=True) == Usage(10, 5, finish=Finish.LENGTH)
    assert usage_of(10, 5, cut=False) == Usage(10, 5, finish=Finish.STOP)


def route(routed: Routed, number: int, prompt_tokens: int, declared_tokens: int = 16) -> Pool:
    """Route a request, and answer it with the truth."""
    batch = batch_of([Asked(0.0, prompt_tokens, 1, declared_tokens)])._replace(categories=np.array([PROSE], np.int8))
    decision = next(routed.decide(batch, number))
    routed.complete(decision, usage_of(prompt_tokens, declared_tokens, cut=True))
    return decision.pool


def test_the_router_learns_in_the_simulation() -> None:
    """Near the threshold it knows more after three hundred answers than before, and its corrections are kept."""
    routed = Routed(SETTINGS, seed=1, keeps_corrections=True)
    before = [route(routed, number, 3000) for number in range(20)]
    for number in range(20, 320):
        route(routed, number, 1000 + 7 * number)
    after = [route(routed, number, 3000) for number in range(320, 420)]
    assert before.count(Pool.SHORT) / 20 < after.count(Pool.SHORT) / 100
    assert 100 <= len(routed.corrections) < 420
    assert sum(routed.decisions.values()) == 420
    assert sum(routed.stage_shares().values()) == 1.0


def test_corrections_are_dropped_unless_wanted() -> None:
    """Memory does not grow with the requests."""
    routed = Routed(SETTINGS, seed=1)
    for number in range(30):
        route(routed, number, 3000)
    assert routed.corrections == []


def test_the_same_seed_routes_alike() -> None:
    """Text, draws and the key of the memory are the seed's."""
    runs = []
    for seed in (1, 1, 2):
        routed = Routed(SETTINGS, seed=seed, keeps_corrections=True)
        runs.append(([route(routed, number, 1500 + 20 * number, ABSENT) for number in range(150)], routed.corrections))
    assert runs[0] == runs[1]
    assert runs[0][1] != runs[2][1]
