import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import ConfigurationError
from extproc.fleet.declared import AsRecorded, Declared, parse_policy
from extproc.fleet.values import ABSENT, Ints

OUTPUTS = np.array([1, 100, 256, 257, 5000], np.int64)
DRAWS = np.array([0.0, 0.2, 0.4, 0.6, 0.99])


def declare(policy: str, recorded: Ints | None = None) -> Declared:
    """What these outputs declare."""
    return parse_policy(policy).declare(OUTPUTS, DRAWS, recorded)


def test_exact_declares_the_output() -> None:
    """Clients that know."""
    declared, output = declare("exact")
    assert declared.tolist() == output.tolist() == OUTPUTS.tolist()


def test_absent_declares_nothing() -> None:
    """And the output stays."""
    declared, output = declare("absent")
    assert (declared == ABSENT).all()
    assert output.tolist() == OUTPUTS.tolist()


def test_over_declares_drawn_values_or_the_output() -> None:
    """Half declare 256, half four times their output; never less than they write."""
    declared, output = declare("over:256:1,x4:1")
    assert declared.tolist() == [256, 256, 256, 1028, 20_000]
    assert output.tolist() == OUTPUTS.tolist()


def test_a_mix_declares_the_smallest_value_that_holds_the_output() -> None:
    """The largest cuts what is longer."""
    declared, output = declare("mix:1024,256")
    assert declared.tolist() == [256, 256, 256, 1024, 1024]
    assert output.tolist() == [1, 100, 256, 257, 1024]


def test_a_mix_with_shares_draws_first() -> None:
    """Three of ten ask for little where that holds what they write."""
    declared, output = declare("mix:256:.3,1024:.7")
    assert declared.tolist() == [256, 256, 1024, 1024, 1024]
    assert output.tolist() == [1, 100, 256, 257, 1024]


def test_recorded_limits_cut_longer_outputs() -> None:
    """A limit that a record does not have cuts nothing."""
    declared, output = declare("recorded", np.array([16, ABSENT, 256, 100, 9000], np.int64))
    assert declared.tolist() == [16, ABSENT, 256, 100, 9000]
    assert output.tolist() == [1, 100, 256, 100, 5000]


def test_nothing_recorded_is_a_mistake() -> None:
    """The trace must say it."""
    with pytest.raises(ConfigurationError, match="does not say what requests declared"):
        AsRecorded().declare(OUTPUTS, DRAWS)


@pytest.mark.parametrize("text", ["", "much", "exact:5", "mix:0,5", "mix:a", "mix:256,512:.3", "mix:256:nan"])
@pytest.mark.parametrize("before", ["", "over:256:.5,", "mix:256:.5,"])
def test_other_texts_are_refused(text: str, before: str) -> None:
    """The message shows the forms."""
    with pytest.raises(ConfigurationError, match=r"expected one of exact, absent, recorded, over:256:\.3"):
        parse_policy(before + text)


@pytest.mark.parametrize("shares", ["", "256", "0:1", "x0.5:1", "256:0", "5:-1", "nan:1", "inf:1", "5:inf"])
def test_over_needs_values_and_shares(shares: str) -> None:
    """Values of 1 or more, shares of 0 or more."""
    with pytest.raises(ConfigurationError, match="no policy for max_tokens"):
        parse_policy(f"over:{shares}")


@given(
    st.sampled_from(["exact", "absent", "over:256:.3,x1.5:.2,4096:.5", "mix:128,512", "mix:16:.5,4096:.5"]),
    st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 1, exclude_max=True)), min_size=1),
)
def test_no_request_writes_more_than_it_declares(text: str, requests: list[tuple[int, float]]) -> None:
    """Nor more than it would have written."""
    outputs, draws = np.array([at[0] for at in requests], np.int64), np.array([at[1] for at in requests])
    declared, written = parse_policy(text).declare(outputs, draws)
    assert ((declared == ABSENT) | (written <= declared)).all()
    assert ((written >= 1) & (written <= outputs)).all()
