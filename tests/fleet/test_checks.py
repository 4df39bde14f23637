import pytest

from extproc.errors import ConfigurationError
from extproc.fleet import checks
from extproc.settings import Settings


def test_a_share_is_something_and_at_most_all() -> None:
    """Neither nothing nor more than there is."""
    assert checks.share("--x", 1.0) == 1.0
    for wrong in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(ConfigurationError, match="--x"):
            checks.share("--x", wrong)


def test_a_promise_is_what_the_service_takes() -> None:
    """The largest is one that its settings accept, and all beyond are refused with a sentence."""
    assert Settings(threshold_tokens=1, promise=checks.promise(0.5)).promise == 0.5
    for wrong in (0.0, 0.51, 2.0):
        with pytest.raises(ConfigurationError, match=r"--promise .* at most 0\.5"):
            checks.promise(wrong)


def test_counts_are_at_least_one() -> None:
    """The first that is not is named; what is not given is no mistake."""
    checks.positive([("--a", 1), ("--b", None)])
    with pytest.raises(ConfigurationError, match="--b 0 must be at least 1"):
        checks.positive([("--a", 1), ("--b", 0)])
