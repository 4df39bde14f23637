from dataclasses import replace

import numpy as np
import pytest

from extproc.fleet.answers import Baseline, RouterKind
from extproc.fleet.arrivals import Recorded
from extproc.fleet.capacity import capacity
from extproc.fleet.confusion import Confused
from extproc.fleet.dispatch import Oracle, Single
from extproc.fleet.drafts import Draft, PoolDraft
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.options import PlanOptions, completed
from extproc.fleet.samples import Rows
from extproc.fleet.tasks import Confirm, Learn, Size, learns, quick_dispatch
from extproc.fleet.values import Floats
from extproc.fleet.workload import Options, synthetic
from extproc.routing.values import Pool
from tests.fleet.reference import spec_of

CATALOG = builtin()
WORKLOAD = synthetic(
    Options(rate_per_s=4.0), prompt_tokens=150, output_tokens=20, prompt_deviation=0.4, output_deviation=0.4
)
OPTIONS = completed(
    PlanOptions(
        WORKLOAD, CATALOG.model("llama-3-8b"), (CATALOG.gpu("a100-80gb"),), 4096, tensor_parallel=(1,), requests=400
    )
)
SPEC = spec_of(kv_blocks=600, max_num_seqs=16, max_num_batched_tokens=256, max_model_len=4096)
SHORT = replace(SPEC, max_model_len=200)


def draft(router: RouterKind, instances: int = 2) -> Draft:
    """Two pools, or one without a router."""
    sustains = capacity(SPEC, WORKLOAD.lengths(), OPTIONS.slo)
    if router is RouterKind.NONE:
        return Draft("one", "", Baseline.B1, router, None, (PoolDraft(Pool.LONG, SPEC, 1.0, sustains, instances),))
    pools = (
        PoolDraft(Pool.SHORT, SHORT, 0.6, sustains, instances),
        PoolDraft(Pool.LONG, SPEC, 0.4, sustains, instances),
    )
    return Draft("two", "", Baseline.SPLIT, router, 200, pools)


def test_a_fleet_is_sized_pool_by_pool() -> None:
    """Twice alike; another seed draws other requests; a fleet for more traffic is larger."""
    sizes = [Size(OPTIONS, draft(RouterKind.ORACLE), seed).perform() for seed in (1, 1)]
    assert sizes[0] == sizes[1]
    assert all(count is not None and count >= 1 for count in sizes[0])
    (one,) = Size(OPTIONS, draft(RouterKind.NONE), 1).perform()
    busy = replace(OPTIONS, workload=synthetic(Options(rate_per_s=40.0), prompt_tokens=150, output_tokens=20))
    (more,) = Size(busy, draft(RouterKind.NONE), 1).perform()
    assert one is not None
    assert more is not None
    assert more > one


def test_where_the_search_begins_is_no_matter() -> None:
    """A good guess or a bad one: small pools are found to the instance."""
    sizes = {Size(OPTIONS, draft(RouterKind.ORACLE), 1, near=near).perform() for near in (None, (1.0, 1.0), (9.0, 4.0))}
    assert len(sizes) == 1


def test_long_tasks_say_so() -> None:
    """Two pools before one, our router in the loop before a table."""
    assert Size(OPTIONS, draft(RouterKind.ORACLE), 1).effort > Size(OPTIONS, draft(RouterKind.NONE), 1).effort
    kinds = (RouterKind.ANYTIME, RouterKind.EMA)
    learns_longest, other = (Learn(OPTIONS, kind, 200, 1).effort for kind in kinds)
    confirms_longest, table = (Confirm(OPTIONS, draft(kind), (2, 2), 1).effort for kind in kinds)
    assert learns_longest > other
    assert confirms_longest > table


def test_reserves_take_instances() -> None:
    """A lower cap on utilisation never makes a fleet smaller, and a much lower one makes it larger."""
    tight, loose = (
        Size(replace(OPTIONS, utilisation_cap=cap), draft(RouterKind.NONE), 1).perform()[0] for cap in (1.0, 0.2)
    )
    assert tight is not None
    assert loose is not None
    assert loose > tight


def test_a_router_that_errs_too_often_keeps_no_objective() -> None:
    """Four bytes a token sends more short than fits: requests are cut, however many instances there are."""
    errors = Learn(OPTIONS, RouterKind.FIXED, 200, 1).perform().confusion
    assert Size(OPTIONS, draft(RouterKind.FIXED), 1, errors).perform() == (None,)


def test_a_confirmation_drives_the_router_itself() -> None:
    """Ours decides in stages, after it has learned; the oracle has none."""
    small = replace(OPTIONS, requests=150)
    ours = Confirm(small, draft(RouterKind.ANYTIME), (2, 2), 1).perform()
    assert sum(ours.stages.values()) == pytest.approx(1.0)
    assert ours.run.requests == 450
    assert Confirm(small, draft(RouterKind.ORACLE), (2, 2), 1).perform().stages == {}


def test_confirmations_come_to_the_same() -> None:
    """With the router in the loop; and what it sees is no more than the stated traffic."""
    runs = [Confirm(replace(OPTIONS, requests=150), draft(RouterKind.ANYTIME), (2, 2), 1).perform() for _ in range(2)]
    assert runs[0].run.under == runs[1].run.under
    assert [pool.outcomes for pool in runs[0].run.pools] == [pool.outcomes for pool in runs[1].run.pools]
    assert runs[0].run.requests / runs[0].run.simulated_s == pytest.approx(4.0, rel=0.2)


def test_a_router_learns_once() -> None:
    """One that learned before, in another process, decides as one that learns for the confirmation alone."""
    small = replace(OPTIONS, requests=150)
    learned = Learn(small, RouterKind.ANYTIME, 200, 1).perform()
    assert learned.router
    ours, again = (Confirm(small, draft(RouterKind.ANYTIME), (2, 2), 1, known).perform() for known in (None, learned))
    assert ours.stages == again.stages
    assert (ours.run.under, ours.run.over) == (again.run.under, again.run.over)


def test_what_only_ranks_is_learned_roughly() -> None:
    """From fewer requests, and the router is not kept; nor is one that a table stands for."""
    busy = replace(OPTIONS, requests=1000)
    rough = Learn(busy, RouterKind.ANYTIME, 200, 1, roughly=True).perform()
    assert not rough.router
    careful = Learn(busy, RouterKind.ANYTIME, 200, 1).perform().confusion
    assert rough.confusion.long_share.tolist() != careful.long_share.tolist()
    assert not Learn(busy, RouterKind.EMA, 200, 1).perform().router


def test_a_large_fleet_is_confirmed_in_part() -> None:
    """A tenth of 4,000 instances gets a tenth of the traffic."""
    busy = replace(OPTIONS, workload=synthetic(Options(rate_per_s=40.0)), requests=100)
    run = Confirm(busy, draft(RouterKind.NONE), (4000,), 1).perform().run
    assert run.requests / run.simulated_s == pytest.approx(4.0, rel=0.2)


def recorded(gaps_s: Floats) -> PlanOptions:
    """A trace of equal requests with these gaps, played at 20 requests per second in the mean."""
    rows = Rows(np.full(len(gaps_s), 150), np.full(len(gaps_s), 20), np.zeros(len(gaps_s), np.int8))
    arrivals = Recorded(np.cumsum(gaps_s) - gaps_s[0], 20.0)
    return replace(OPTIONS, workload=replace(WORKLOAD, rows=rows, arrivals=arrivals, in_order=True))


def test_every_fleet_is_held_to_all_of_a_trace() -> None:
    """Its peak comes last: by its beginning alone a fleet would be far smaller. One pool and two come to the same."""
    even, peaked = (recorded(np.where(np.arange(2000) < 1500, 1.0, last)) for last in (1.0, 0.1))
    one, two = (Size(peaked, draft(kind), 1).perform() for kind in (RouterKind.NONE, RouterKind.ORACLE))
    (flat,) = Size(even, draft(RouterKind.NONE), 1).perform()
    assert one[0] is not None
    assert flat is not None
    assert one[0] == sum(count or 0.0 for count in two)
    assert one[0] > 4 * flat
    assert Confirm(peaked, draft(RouterKind.NONE), (2,), 1).perform().run.counted == 2000, "each request once"
    part = Confirm(peaked, draft(RouterKind.NONE), (800,), 1).perform().run
    assert part.requests == pytest.approx(0.5 * 2 * 2000 / 0.8, rel=0.1), "half of the two turns that give enough"


def test_answers_of_minutes_take_longer_tries() -> None:
    """Until the fleet has settled: simulated time grows by six times what it takes beyond half a minute."""
    slow = replace(OPTIONS, workload=synthetic(Options(rate_per_s=1.0), output_tokens=2000, output_deviation=0.0))
    assert slow.settling_s() == pytest.approx(80.0, rel=0.01)
    short, long = (Size(options, draft(RouterKind.NONE), 1)._try_s() for options in (OPTIONS, slow))
    assert short == 100.0
    assert long == pytest.approx(100.0 + 6.0 * 50.0, rel=0.02)
    assert Confirm(replace(slow, requests=10), draft(RouterKind.NONE), (9,), 1).perform().run.requests > 300


def test_who_routes() -> None:
    """Nobody for one pool, the truth for an oracle, a table of its errors for a router that has some."""
    assert quick_dispatch(draft(RouterKind.NONE), None, 1) == Single()
    assert quick_dispatch(draft(RouterKind.ORACLE), None, 1) == Oracle(200)
    errors = Learn(OPTIONS, RouterKind.EMA, 200, 1).perform().confusion
    assert isinstance(quick_dispatch(draft(RouterKind.EMA), errors, 1), Confused)


def test_only_routers_that_err_are_learned() -> None:
    """The oracle knows, and one pool needs none."""
    kinds = (RouterKind.NONE, RouterKind.ORACLE, RouterKind.ANYTIME, RouterKind.EMA, RouterKind.FIXED)
    assert [learns(draft(kind)) for kind in kinds] == [False, False, True, True, True]
