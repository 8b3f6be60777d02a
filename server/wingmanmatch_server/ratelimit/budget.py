"""How long a decision waits for Redis."""

import asyncio
from types import TracebackType

from wingmanmatch_server import errors

BUDGET = 0.035  # seconds; with what follows a decision takes less than 50 ms
SLICE = 0.007
LONGEST_SLICE = 0.01  # seconds that a slice counts at most, however late it ends


class budget:  # noqa: N801 - reads as a statement: `async with budget():`
    """Bounds what waits for Redis to BUDGET seconds. Raises errors.Unavailable.

    The time is counted in slices, so that it is the time of Redis and not of this process: while the process gets no
    processor, or its loop is held up, it cannot know whether Redis has answered, and most of that does not count.
    """

    __slots__ = ("_left", "_loop", "_scope", "_since", "_timer")

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._left, self._scope = BUDGET, asyncio.timeout(None)
        await self._scope.__aenter__()
        self._wait()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        try:
            await self._scope.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise errors.Unavailable("REDIS_UNAVAILABLE", "Redis did not answer in time", retry_after=1.0) from None

    def _wait(self) -> None:
        self._since = self._loop.time()
        self._timer = self._loop.call_later(min(SLICE, self._left), self._pass)

    def _pass(self) -> None:
        self._left -= min(self._loop.time() - self._since, LONGEST_SLICE)
        if self._left > 0:
            self._wait()
        else:
            self._scope.reschedule(self._since)
