"""Servers that live as long as a test, and mock instances that live as long as the session."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack

import pytest

from extproc.mockvllm.settings import MockSettings
from extproc.pools.urls import Address
from tests.pools.servers import Mock, Serve, Talk, instance, serving


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """A function that starts a server on a free port of loopback."""
    async with AsyncExitStack() as stack:

        async def started(talk: Talk) -> Address:
            return await stack.enter_async_context(serving(talk))

        yield started


@pytest.fixture(scope="session")
def mock() -> Iterator[Mock]:
    """A function from settings to a running mock instance; equal settings share one."""
    running: dict[MockSettings, Address] = {}
    with ExitStack() as stack:

        def started(settings: MockSettings) -> Address:
            if settings not in running:
                running[settings] = stack.enter_context(instance(settings))
            return running[settings]

        yield started
