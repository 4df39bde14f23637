"""What hangs keeps its own thread, and nobody else."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from extproc.pools.aside import Aside


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds a thread until the test ends."""
    event = threading.Event()
    yield event
    event.set()


async def test_work_comes_back_as_a_value_or_an_error() -> None:
    """As if it had been done in place."""
    aside = Aside()
    assert await aside.run(lambda: 7, 5.0) == 7
    with pytest.raises(ZeroDivisionError):
        await aside.run(lambda: 1 // 0, 5.0)
    assert await aside.run(threading.current_thread, 5.0) is not threading.current_thread()


async def test_what_hangs_is_left_alone(gate: threading.Event) -> None:
    """Its time is over, no second thread is begun while it hangs, and after it work is done again."""
    aside = Aside()
    with pytest.raises(TimeoutError):
        await aside.run(gate.wait, 0.01)
    begun: list[int] = []
    with pytest.raises(TimeoutError):
        await aside.run(lambda: begun.append(1), 5.0)
    assert begun == []
    gate.set()
    async with asyncio.timeout(5):
        while True:
            try:
                assert await aside.run(lambda: 8, 5.0) == 8
            except TimeoutError:
                await asyncio.sleep(0.001)
            else:
                return


async def test_an_error_nobody_waits_for_is_no_noise(gate: threading.Event) -> None:
    """Work that fails after its time does not end up in asyncio's log of forgotten errors."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    aside = Aside()

    def late() -> None:
        gate.wait()
        raise OSError("late")

    with pytest.raises(TimeoutError):
        await aside.run(late, 0.01)
    gate.set()
    async with asyncio.timeout(5):
        while any(thread.name == "pools" for thread in threading.enumerate()):
            await asyncio.sleep(0.001)
    del aside
    await asyncio.sleep(0)
    assert complaints == []


def test_the_loop_may_end_before_the_work(gate: threading.Event) -> None:
    """The thread then ends without a word."""

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            await Aside().run(gate.wait, 0.01)

    asyncio.run(leave())
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "pools":
            thread.join(5)
            assert not thread.is_alive()
