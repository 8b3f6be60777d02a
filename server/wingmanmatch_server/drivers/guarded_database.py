"""A database behind its circuit breaker, whose calls are retried where that is safe."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.resilience.retry import Retry

# Functions of these names change nothing: a test holds it against what the database knows of them.
READING = ("get_", "list_")
REQUEST_ID = "p_request_id"


class GuardedDatabase:
    """`Database` whose calls count for a breaker, and raise errors.Unavailable CIRCUIT_OPEN at once while it is open.

    What was not answered is tried again if `may_repeat` says so. Pings pass both by: they are how the rest of the
    server finds out.
    """

    def __init__(self, database: Database, breaker: Breaker, retry: Retry) -> None:
        self._database = database
        self._breaker = breaker
        self._retry = retry

    async def call(self, function: str, /, **parameters: Any) -> Any:
        """See `Database.call`."""
        attempt = partial(self._attempt, self._database.call, function, parameters)
        return await self._retry.call(attempt, repeatable=may_repeat(function, parameters))

    async def call_as_anonymous(self, function: str, /, **parameters: Any) -> Any:
        """See `Database.call_as_anonymous`."""
        attempt = partial(self._attempt, self._database.call_as_anonymous, function, parameters)
        return await self._retry.call(attempt, repeatable=may_repeat(function, parameters))

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

    async def _attempt(self, call: Callable[..., Awaitable[Any]], function: str, parameters: Mapping[str, Any]) -> Any:
        with self._breaker.guard():
            return await call(function, **parameters)


def may_repeat(function: str, parameters: Mapping[str, Any]) -> bool:
    """Return whether a call made twice has the effect of one: it only reads, or the database knows it by its id."""
    return function.startswith(READING) or parameters.get(REQUEST_ID) is not None
