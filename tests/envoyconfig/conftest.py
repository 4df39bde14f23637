from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.envoyconfig.options import Address, EnvoyOptions


@pytest.fixture
def options() -> Callable[..., EnvoyOptions]:
    """Options that differ from the simplest in what a test names."""

    def build(**changes: object) -> EnvoyOptions:
        simplest = {
            "listen": Address("127.0.0.1", 10_000),
            "admin": Address("127.0.0.1", 9901),
            "extproc": (Address("127.0.0.1", 50_051),),
            "short": (Address("127.0.0.1", 8001),),
            "long": (Address("127.0.0.1", 8002),),
        }
        return EnvoyOptions(**(simplest | changes))  # type: ignore[arg-type] # the tests name fields by keyword

    return build


@pytest.fixture
def repository() -> Path:
    """The checkout's root."""
    return Path(__file__).parents[2]
