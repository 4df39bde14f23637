import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import ConfigurationError
from extproc.fleet.demand import demand
from extproc.fleet.values import ABSENT, InstanceSpec, StepTimes
from extproc.fleet.workload import Lengths

SPEC = InstanceSpec(4_096, 8, 512, 1_000, StepTimes(np.zeros(513), np.zeros(9), 0.0, 0.0, 0.0))


def one(prompt: int, output: int, declared: int = ABSENT) -> Lengths:
    """A workload of one kind of request."""
    return Lengths(np.array([prompt]), np.array([output]), np.array([declared]), np.ones(1))


@given(st.integers(1, 3_000), st.integers(1, 1_000))
def test_sums_are_those_of_counting(prompt: int, output: int) -> None:
    """Resident tokens and blocks, summed step by step, are what the closed forms give."""
    asked = demand(SPEC, one(prompt, output))
    resident = [prompt + j for j in range(1, output)]
    held = [-(-tokens // 16) for tokens in resident]
    assert asked.decode_tokens == pytest.approx(sum(resident))
    assert asked.decode_blocks == pytest.approx(sum(held))
    assert asked.decode_blocks_squared == pytest.approx(sum(n * n for n in held))
    assert asked.decode_steps == output - 1


@pytest.mark.parametrize(("declared", "steps"), [(ABSENT, 95), (50, 49), (10_000, 95)])
def test_output_ends_at_the_first_of_its_bounds(declared: int, steps: int) -> None:
    """What is declared and what the context leaves of it both end a request."""
    assert demand(SPEC, one(4_000, 500, declared)).decode_steps == steps


def test_a_request_beyond_all_kv_counts_as_rejected() -> None:
    """It would never end, so it is not served."""
    both = Lengths(np.array([100, 4_000]), np.array([10, 10]), np.array([ABSENT, ABSENT]), np.array([0.9, 0.1]))
    small = InstanceSpec(4_096, 8, 512, 200, SPEC.steps)
    assert demand(small, both).rejected == pytest.approx(0.1)


def test_no_requests_are_refused() -> None:
    """An empty workload is the operator's error."""
    with pytest.raises(ConfigurationError, match="no requests"):
        demand(SPEC, Lengths(np.array([], int), np.array([], int), np.array([], int), np.array([])))
