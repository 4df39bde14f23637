"""Finds a pool's instances and asks them how they fare; judges nothing, and knows no router.

    places ─▶ the instances' URLs ─▶ ask ─▶ scrape, card ─▶ readings (in `extproc.routing`) ─▶ PoolState

Nothing here may delay a request: lookups that can hang have threads of their own, every question has a time limit,
every answer a size limit, and what is done in one go on the event loop is bounded.
"""
