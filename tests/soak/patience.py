"""Waiting, for some time, until something is so."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], timeout_s: float, every_s: float = 0.1) -> bool:
    """Whether `condition`, asked in a thread again and again, came true within `timeout_s`."""
    clock = asyncio.get_running_loop().time
    end = clock() + timeout_s
    while True:
        if await asyncio.to_thread(condition):
            return True
        if clock() > end:
            return False
        await asyncio.sleep(every_s)
