"""Connections that stay taken between calls: to give one back to asyncpg's pool costs more than a short call."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg

# The rest goes back, and the pool closes what nobody uses for a while.
MAX_KEPT = 8

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Connections:
    """What runs one call at a time on each connection of a pool that it has to itself."""

    def __init__(self, pool: asyncpg.Pool, *, acquire_timeout: float) -> None:
        """`acquire_timeout` is the seconds to wait for a connection."""
        self._pool = pool
        self._acquire_timeout = acquire_timeout
        self._kept: list[Any] = []
        self._waiting = 0

    async def run(
        self,
        work: Callable[Concatenate[Any, Arguments], Awaitable[Result]],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Return `await work(connection, …)`. Raises TimeoutError if no connection came free, and what `work` raises.

        Whatever interrupts the work is undone before the connection serves another call.
        """
        connection = await self._take()
        try:
            result = await work(connection, *args, **kwargs)
        except BaseException:
            # A connection that cannot be cleaned is closed by the pool; the error under way says more about why.
            with suppress(Exception):
                await self._pool.release(connection)
            raise
        if self._waiting or len(self._kept) >= MAX_KEPT:
            await self._pool.release(connection)
        else:
            self._kept.append(connection)
        return result

    async def give_all_back(self) -> None:
        """Return the kept connections to the pool, so that it can close."""
        while self._kept:
            await self._pool.release(self._kept.pop())

    async def _take(self) -> Any:
        while self._kept:
            connection = self._kept.pop()
            if is_open(connection):
                return connection
        self._waiting += 1
        try:
            return await self._pool.acquire(timeout=self._acquire_timeout)
        finally:
            self._waiting -= 1


def is_open(connection: Any) -> bool:
    """Return whether a connection taken from a pool can still be used, as far as is known here."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        # The pool took it back when the server closed it.
        return False
