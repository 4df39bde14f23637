"""Waits for an event, but not for ever; knows nothing of what happens."""

import asyncio


async def happens(event: asyncio.Event, *, within_s: float) -> bool:
    """Whether an event is set within so many seconds."""
    try:
        async with asyncio.timeout(within_s):
            return await event.wait()
    except TimeoutError:
        return False
