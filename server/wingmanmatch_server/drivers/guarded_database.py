"""A database behind its circuit breakers and bulkheads, whose calls are retried where that is safe."""

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.database_errors import read_only
from wingmanmatch_server.drivers.database_shares import Shares
from wingmanmatch_server.resilience.breaker import Breaker, State
from wingmanmatch_server.resilience.deadline import seconds_left
from wingmanmatch_server.resilience.retry import Retry

# Functions whose names begin so change nothing: a test holds it against what the database knows of them.
READING = ("get_", "list_", "read_", "coaching_context", "meetup_plan_facts")
REQUEST_ID = "p_request_id"


class GuardedDatabase:
    """`Database` whose calls count for a breaker, and raise errors.Unavailable CIRCUIT_OPEN at once while it is open.

    A second breaker, `writes`, opens where the database answers and accepts no changes; then reads go on, and changes
    raise errors.Unavailable DATABASE_UNAVAILABLE at once. What was not answered is tried again if `may_repeat` says so.
    A call waits for its place in `shares` before either breaker watches it: waiting says nothing of the database. Pings
    and probes pass all of it by: they are how the rest of the server finds out.
    """

    def __init__(self, database: Database, breaker: Breaker, writes: Breaker, retry: Retry, shares: Shares) -> None:
        self._database = database
        self._breaker = breaker
        self._writes = writes
        self._retry = retry
        self._shares = shares

    async def call(self, function: str, /, **parameters: Any) -> Any:
        """See `Database.call`."""
        return await self._call(self._database.call, function, parameters)

    async def call_as_anonymous(self, function: str, /, **parameters: Any) -> Any:
        """See `Database.call_as_anonymous`."""
        return await self._call(self._database.call_as_anonymous, function, parameters)

    async def ping(self) -> float:
        """See `Database.ping`."""
        return await self._database.ping()

    async def ping_as_anonymous(self) -> float:
        """See `Database.ping_as_anonymous`."""
        return await self._database.ping_as_anonymous()

    async def probe(self) -> None:
        """See `Database.probe`."""
        await self._database.probe()

    async def replace_connections(self) -> None:
        """See `Database.replace_connections`."""
        await self._database.replace_connections()

    async def listen(self, channel: str, callback: Callable[[], None]) -> Callable[[], Awaitable[None]] | None:
        """See `Database.listen`."""
        return await self._database.listen(channel, callback)

    async def follow(
        self, channel: str, callback: Callable[[str | None], None]
    ) -> Callable[[], Awaitable[None]] | None:
        """See `Database.follow`."""
        return await self._database.follow(channel, callback)

    async def _call(self, call: Callable[..., Awaitable[Any]], function: str, parameters: Mapping[str, Any]) -> Any:
        attempt = partial(self._attempt, call, function, parameters)
        return await self._retry.call(attempt, repeatable=may_repeat(function, parameters))

    async def _attempt(self, call: Callable[..., Awaitable[Any]], function: str, parameters: Mapping[str, Any]) -> Any:
        reading = reads(function)
        if self._breaker.open_for() > 0:
            raise self._breaker.refusal()
        if not reading and self._writes.open_for() > 0:
            raise read_only()
        left = seconds_left(time.monotonic())
        place = await self._shares.take(function, parameters, reads=reading, left=left)
        try:
            result, refused = await self._watched(call, function, parameters)
        finally:
            self._shares.leave(place)
        if refused is not None:
            self._refuses_changes(refused)
            raise refused
        if not reading and self._writes.state is not State.CLOSED:
            self._writes.reset()
        return result

    async def _watched(
        self, call: Callable[..., Awaitable[Any]], function: str, parameters: Mapping[str, Any]
    ) -> tuple[Any, errors.Unavailable | None]:
        """Return the result, or what says that the database is read-only: for the first breaker that is an answer."""
        with self._breaker.guard():
            try:
                return await call(function, **parameters), None
            except errors.Unavailable as error:
                if error.evidence is not errors.Evidence.REFUSES_WRITES:
                    raise
                return None, error

    def _refuses_changes(self, error: errors.Unavailable) -> None:
        with suppress(errors.Unavailable), self._writes.guard():
            raise error


def reads(function: str) -> bool:
    """Return whether a function changes nothing, by its name."""
    return function.startswith(READING)


def may_repeat(function: str, parameters: Mapping[str, Any]) -> bool:
    """Return whether a call made twice has the effect of one: it only reads, or the database knows it by its id."""
    return reads(function) or parameters.get(REQUEST_ID) is not None
