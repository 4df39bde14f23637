"""Refuses numbers that no flag can take, in the words of the flag; knows no fleet.

What is given is checked and never taken for "not given": 0 is a value, and a wrong one.
"""

from collections.abc import Iterable

from extproc.errors import ConfigurationError

_PROMISE_MOST = 0.5
"""As in the service's settings: a router that may send every other request wrong promises nothing."""


def share(flag: str, value: float) -> float:
    """A share of something that there must be some of.

    Raises:
        ConfigurationError: it is not above 0, or above 1.
    """
    if not 0.0 < value <= 1.0:
        raise ConfigurationError(f"{flag} {value:g} is a share: above 0 and at most 1")
    return value


def promise(value: float) -> float:
    """Share of requests that may be sent short and do not fit.

    Raises:
        ConfigurationError: the service's own settings refuse it.
    """
    if not 0.0 < value <= _PROMISE_MOST:
        raise ConfigurationError(
            f"--promise {value:g} must be above 0 and at most {_PROMISE_MOST:g}: the share of requests that the router"
            " may send short and do not fit, such as 0.001"
        )
    return value


def positive(given: Iterable[tuple[str, int | None]]) -> None:
    """Counts of something; None is not given.

    Raises:
        ConfigurationError: one is below 1.
    """
    for flag, value in given:
        if value is not None and value < 1:
            raise ConfigurationError(f"{flag} {value} must be at least 1")
