"""The database as the areas see it: functions called by name, one call one transaction.

Both transports, PostgreSQL's own protocol and Supabase's REST interface, implement `Database` and turn the database's
errors into the domain's by the tables of `drivers/database_errors.py`.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from wingmanmatch_server.drivers.database_errors import (
    RETRY_AFTER,
    CallFailed,
    call_error,
    domain_error,
    unavailable,
)

__all__ = ["HEALTH", "RETRY_AFTER", "CallFailed", "Database", "call_error", "domain_error", "unavailable"]

HEALTH = "health"  # the function that a ping calls


class Database(Protocol):
    """A PostgreSQL database that holds the functions of `supabase/schemas/`."""

    async def call(self, function: str, /, **parameters: Any) -> Any:
        """Call `function` as the service role and return its jsonb result, decoded.

        `parameters` are JSON values, named as in the function's definition; those left out take their SQL defaults. The
        call is one transaction: it has its whole effect or none. Give a cancelled mutation's request_id again: over
        PostgreSQL's protocol a cancelled call is cancelled in the database too, but PostgREST lets it run to its end.

        Raises errors.DomainError as the function raised it, and besides errors.Unavailable if the database did not
        answer or accepts no changes, errors.Aborted CONFLICT if a lock was not to be had in time, OVERLOADED if no
        connection came free, errors.DeadlineExceeded if the statement took too long, and CallFailed.
        """

    async def call_as_anonymous(self, function: str, /, **parameters: Any) -> Any:
        """Do the same as the role `anon`, for which row level security is enforced."""

    async def ping(self) -> float:
        """Return the seconds that a call as the service role takes. Raises errors.Unavailable.

        A server that answers and accepts no changes passes; `probe` finds it out. Neither waits for the connections
        that calls use.
        """

    async def probe(self) -> None:
        """Raise errors.Unavailable unless the database accepts changes: it is no standby and not read-only."""

    async def ping_as_anonymous(self) -> float:
        """Do the same as the role `anon`."""

    async def replace_connections(self) -> None:
        """Give up the connections that calls use, each after its call: new ones may lead to another server."""

    async def listen(self, channel: str, callback: Callable[[], None], /) -> Callable[[], Awaitable[None]] | None:
        """Call `callback` on each NOTIFY of `channel`, and once after each connection made, the first included.

        Return what ends it, or None where the transport cannot listen and the caller must poll.
        """

    async def follow(
        self, channel: str, callback: Callable[[str | None], None], /
    ) -> Callable[[], Awaitable[None]] | None:
        """Do as `listen` does, with the payload of each NOTIFY, and None once after each connection made."""
