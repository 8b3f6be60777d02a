"""A database behind its circuit breaker."""

from collections.abc import Awaitable, Callable
from typing import Any

from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.resilience.breaker import Breaker


class GuardedDatabase:
    """`Database` whose calls count for a breaker, and raise errors.Unavailable CIRCUIT_OPEN at once while it is open.

    Pings pass it by: they are how the rest of the server finds out.
    """

    def __init__(self, database: Database, breaker: Breaker) -> None:
        self._database = database
        self._breaker = breaker

    async def call(self, function: str, /, **parameters: Any) -> Any:
        """See `Database.call`."""
        with self._breaker.guard():
            return await self._database.call(function, **parameters)

    async def call_as_anonymous(self, function: str, /, **parameters: Any) -> Any:
        """See `Database.call_as_anonymous`."""
        with self._breaker.guard():
            return await self._database.call_as_anonymous(function, **parameters)

    async def ping(self) -> float:
        """See `Database.ping`."""
        return await self._database.ping()

    async def ping_as_anonymous(self) -> float:
        """See `Database.ping_as_anonymous`."""
        return await self._database.ping_as_anonymous()

    async def listen(self, channel: str, callback: Callable[[], None]) -> Callable[[], Awaitable[None]] | None:
        """See `Database.listen`."""
        return await self._database.listen(channel, callback)

    async def follow(
        self, channel: str, callback: Callable[[str | None], None]
    ) -> Callable[[], Awaitable[None]] | None:
        """See `Database.follow`."""
        return await self._database.follow(channel, callback)
