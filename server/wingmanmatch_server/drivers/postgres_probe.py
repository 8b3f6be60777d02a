"""Asks a server for signs of life on a connection of its own, so that no call's connection is needed for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

# Both are also true of a standby, and of a primary whose settings or disk let nobody write.
IS_READ_ONLY = "select pg_is_in_recovery() or current_setting('transaction_read_only') = 'on'"


class Probe:
    """One question at a time. A connection on which one failed, or that leads to a read-only server, is not kept."""

    def __init__(self, connect: Callable[[], Awaitable[Any]]) -> None:
        self._connect = connect
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def ask(self, question: Callable[[Any], Awaitable[T]]) -> T:
        """Return `await question(connection)`. Raises what connecting and the question raise."""
        async with self._turn:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            try:
                return await question(self._connection)
            except BaseException:
                self.close()
                raise

    async def accepts_changes(self) -> bool:
        """Return whether a new transaction could write. Raises what connecting raises."""
        if await self.ask(_is_writable):
            return True
        # The address may lead to another server by now.
        self.close()
        if await self.ask(_is_writable):
            return True
        self.close()
        return False

    def close(self) -> None:
        """Close the connection at once; the next question makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


async def _is_writable(connection: Any) -> bool:
    return not await connection.fetchval(IS_READ_ONLY)
