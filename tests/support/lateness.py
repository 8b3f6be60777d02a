"""How long something took, without what a busy machine took from everybody."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

BEAT = 0.01  # seconds
NORMAL = 0.005  # seconds by which an event loop may always be late


class Stopwatch:
    """Tells the seconds that this process had: of the real ones, those in which its event loop could not turn are not.

    A wait for something that does not come is in them; a machine that runs other programs meanwhile is not.
    """

    def __init__(self) -> None:
        self._lost = 0.0
        self._due = time.perf_counter() + BEAT

    def now(self) -> float:
        """Return the seconds so far; only differences mean something."""
        now = time.perf_counter()
        return now - self._lost - self._late(now)

    async def beat(self) -> None:
        """Notice, for ever, how late the loop is."""
        while True:
            self._due = time.perf_counter() + BEAT
            await asyncio.sleep(BEAT)
            self._lost += self._late(time.perf_counter())

    def _late(self, now: float) -> float:
        late = now - self._due
        return late if late > NORMAL else 0.0


@asynccontextmanager
async def stopwatch() -> AsyncIterator[Stopwatch]:
    """Yield one that runs for the length of the context."""
    watch = Stopwatch()
    beating = asyncio.create_task(watch.beat())
    await asyncio.sleep(0)
    try:
        yield watch
    finally:
        beating.cancel()
