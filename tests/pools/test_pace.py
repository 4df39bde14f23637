"""Of many who are ready at the same time one works in each turn of the loop."""

import asyncio

from extproc.pools.pace import Pace


async def test_one_a_turn() -> None:
    """Ten pieces of work that could all be done at once are done in ten turns, and all are done."""
    pace, done_in = Pace(), []
    turn = 0

    async def work() -> None:
        await pace.turn()
        done_in.append(turn)

    async def count() -> None:
        nonlocal turn
        while len(done_in) < 10:
            await asyncio.sleep(0)
            turn += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(count())
        for _ in range(10):
            group.create_task(work())
    assert len(set(done_in)) == 10


async def test_who_is_cancelled_holds_nobody_up() -> None:
    """The next one gets its turn."""
    pace = Pace()
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(pace.turn()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[1].cancel()
    assert waiting[2].done()
    assert not waiting[2].cancelled()
