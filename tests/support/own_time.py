"""Times that leave out what a busy machine took: how long the process could have run, not how long the clock did."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

STEP = 0.005  # seconds
LATE = 0.003  # by which a timer may be late for its own reasons


class OwnTime:
    """Measures on an event loop whose lateness is watched."""

    def __init__(self) -> None:
        self._late = 0.0
        self._since = 0.0
        self._late_before = 0.0

    def start(self) -> None:
        """Begin to measure."""
        self._since, self._late_before = time.perf_counter(), self._late

    async def stop(self) -> float:
        """Return the seconds since the start in which the loop was not held up."""
        seconds = time.perf_counter() - self._since
        await asyncio.sleep(STEP)  # lets the watch see the end of what held the loop up
        return seconds - (self._late - self._late_before)

    async def watch(self) -> None:
        """Look again and again how late the loop is."""
        while True:
            before = time.perf_counter()
            await asyncio.sleep(STEP)
            late = time.perf_counter() - before - STEP
            self._late += late if late > LATE else 0.0


@asynccontextmanager
async def own_time() -> AsyncIterator[OwnTime]:
    """Watch the loop for the length of the context."""
    measured = OwnTime()
    task = asyncio.create_task(measured.watch())
    try:
        yield measured
    finally:
        task.cancel()
