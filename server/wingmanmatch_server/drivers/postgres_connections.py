"""Connections that stay taken between calls: to give one back to asyncpg's pool costs more than a short call."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg

# The rest goes back, and the pool closes what nobody uses for a while.
MAX_KEPT = 8

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class NoConnectionFree(Exception):
    """All connections were in use for as long as a call may wait for one."""


class Connections:
    """What runs one call at a time on each connection of a pool that it has to itself."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        size: int,
        acquire_timeout: float,
        is_lost: Callable[[BaseException], bool],
    ) -> None:
        """`acquire_timeout` is the seconds to wait for one of `size` connections.

        `is_lost` says whether an error that `work` raised makes its connection unfit for further use.
        """
        self._pool = pool
        self._acquire_timeout = acquire_timeout
        self._is_lost = is_lost
        self._kept: list[Any] = []
        self._free = asyncio.Semaphore(size)
        # Raised whenever all connections are to be replaced.
        self._generation = 0

    async def run(
        self,
        work: Callable[Concatenate[Any, Arguments], Awaitable[Result]],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Return `await work(connection, …)`.

        Raises NoConnectionFree, what connecting raises, and what `work` raises. Whatever interrupts the work is undone
        before the connection serves another call. A connection that is lost takes all the others with it: they end at
        the same server, and each would cost another call to find out.
        """
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        try:
            return await self._run(work, *args, **kwargs)
        finally:
            self._free.release()

    async def replace_all(self) -> None:
        """Close the idle connections now, and each of the others after its call."""
        self._generation += 1
        await self._pool.expire_connections()
        kept, self._kept = self._kept, []
        for connection in kept:
            _terminate(connection)

    async def give_all_back(self) -> None:
        """Return the kept connections to the pool, so that it can close."""
        while self._kept:
            await self._pool.release(self._kept.pop())

    async def _run(
        self,
        work: Callable[Concatenate[Any, Arguments], Awaitable[Result]],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        connection = await self._take()
        generation = self._generation
        try:
            result = await work(connection, *args, **kwargs)
        except BaseException as error:
            await self._give_up(connection, error, generation)
            raise
        if generation != self._generation or len(self._kept) >= MAX_KEPT:
            await self._pool.release(connection)
        else:
            self._kept.append(connection)
        return result

    async def _give_up(self, connection: Any, error: BaseException, generation: int) -> None:
        if self._is_lost(error):
            _terminate(connection)
            # One that is older than the others says nothing about them.
            if generation == self._generation:
                await self.replace_all()
            return
        # A connection that cannot be cleaned is closed by the pool; the error under way says more about why.
        with suppress(Exception):
            await self._pool.release(connection)

    async def _take(self) -> Any:
        while self._kept:
            connection = self._kept.pop()
            if is_open(connection):
                return connection
            _terminate(connection)
        return await self._pool.acquire()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._acquire_timeout):
                await self._free.acquire()
        except TimeoutError:
            raise NoConnectionFree from None


def is_open(connection: Any) -> bool:
    """Return whether a connection taken from a pool can still be used, as far as is known here."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        # The pool took it back when the server closed it.
        return False


def _terminate(connection: Any) -> None:
    # The pool may have taken it back when the server closed it.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()
