from extproc.fleet.answers import Baseline, RouterKind
from extproc.fleet.capacity import capacity
from extproc.fleet.drafts import Draft, PoolDraft
from extproc.fleet.sized import Sized
from extproc.fleet.values import Slo
from extproc.fleet.workload import Options, synthetic
from extproc.routing.values import Pool
from tests.fleet.reference import spec_of

SPEC = spec_of(kv_blocks=600, max_num_seqs=16, max_num_batched_tokens=256, max_model_len=4096)
SUSTAINS = capacity(SPEC, synthetic(Options(rate_per_s=1.0)).lengths(), Slo())
DRAFT = Draft(
    "two", "", Baseline.SPLIT, RouterKind.ORACLE, 200,
    tuple(PoolDraft(pool, SPEC, 0.5, SUSTAINS, 1) for pool in (Pool.SHORT, Pool.LONG)),
)  # fmt: skip


def test_a_fleet_is_enough_in_every_replication() -> None:
    """The most that each pool needed; the mean is of what replications need."""
    fleet = Sized(DRAFT, ((10, 3), (12, 2)))
    assert fleet.final == (12, 3)
    assert fleet.means == (11.0, 2.5)
    assert fleet.gpus() == [13.0, 14.0]
    assert fleet.usd_per_hour() == [13 * SPEC.usd_per_hour, 14 * SPEC.usd_per_hour]


def test_a_fleet_grows_in_every_replication() -> None:
    """By whole instances, at least one each."""
    assert Sized(DRAFT, ((10, 3), (100, 2))).grown().instances == ((11, 4), (104, 3))
