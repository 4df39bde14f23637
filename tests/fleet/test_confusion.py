import numpy as np
import pytest

from extproc.fleet.confusion import Confused, Confusion, confusion_of
from extproc.fleet.dispatch import LONG, SHORT, Routed, budgets, position
from extproc.fleet.streams import draw
from extproc.fleet.values import ABSENT, Batch
from extproc.fleet.workload import Options, of_preset
from extproc.settings import Settings

THRESHOLD = 2048
WORKLOAD = of_preset("azure-2023", Options(rate_per_s=10.0))
FIXED = Settings(threshold_tokens=THRESHOLD, estimator="fixed")


def batch_of(*tokens: int) -> Batch:
    """Prompts of one token less, which declare one."""
    ones = np.ones(len(tokens), np.int64)
    return Batch(
        np.arange(len(tokens), dtype=np.float64), np.array(tokens) - 1, ones, ones, np.zeros(len(tokens), np.int8)
    )


def test_without_errors_it_is_a_step() -> None:
    """Where nothing was seen, what fits goes short and what does not goes long: exactly at the threshold."""
    step = Confusion(THRESHOLD, np.append(np.arange(-64, 65) / 16 > 0, True).astype(np.float64))
    unseen = confusion_of(Routed(FIXED, 1), WORKLOAD, requests=1, seed=1)
    assert np.count_nonzero(unseen.long_share != step.long_share) <= 1
    pools = Confused(step, 1).pools_of(batch_of(2, 500, THRESHOLD, THRESHOLD + 1, THRESHOLD + 200, 10**6))
    assert pools.tolist() == [SHORT, SHORT, SHORT, LONG, LONG, LONG]


def test_it_sends_as_the_router_did() -> None:
    """Four bytes a token: the table makes the router's misroutes, both ways, within half a point."""
    requests = 8000
    confusion = confusion_of(Routed(FIXED, 5), WORKLOAD, requests=requests, seed=5)
    batch = draw(WORKLOAD, seed=5, requests=requests).batch
    fits = budgets(batch) <= THRESHOLD
    by_table = Confused(confusion, 1).pools_of(batch)
    by_router = np.array([position(decision.pool) for decision in Routed(FIXED, 5).decide(batch, 0)])
    for wrong in (~fits & (by_router == SHORT), fits & (by_router == LONG)):
        assert wrong.mean() > 0.001, "a router that never errs shows nothing"
    assert np.mean(~fits & (by_table == SHORT)) == pytest.approx(np.mean(~fits & (by_router == SHORT)), abs=0.005)
    assert np.mean(fits & (by_table == LONG)) == pytest.approx(np.mean(fits & (by_router == LONG)), abs=0.005)


def test_errors_lie_near_the_threshold() -> None:
    """Far below nothing goes long, far above nothing goes short."""
    confusion = confusion_of(Routed(FIXED, 2), WORKLOAD, requests=5000, seed=2)
    assert confusion.long_share[:32].max() < 0.02
    assert confusion.long_share[96:].min() > 0.98


def test_the_same_seed_sends_alike() -> None:
    """Another one does not."""
    half = Confusion(THRESHOLD, np.full(130, 0.5))
    batch = draw(WORKLOAD, seed=1, requests=500).batch
    one, again, other = (Confused(half, seed).pools_of(batch).tolist() for seed in (1, 1, 2))
    assert one == again != other


def test_what_declares_nothing_is_judged_by_its_output() -> None:
    """A budget without a declared limit is what turns out."""
    batch = batch_of(THRESHOLD, THRESHOLD)
    batch = batch._replace(declared_tokens=np.array([ABSENT, 500]))
    step = Confusion(THRESHOLD, np.append(np.arange(-64, 65) / 16 > 0, True).astype(np.float64))
    assert Confused(step, 1).pools_of(batch).tolist() == [SHORT, LONG]
