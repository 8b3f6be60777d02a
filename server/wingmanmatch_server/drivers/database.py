"""The database as the areas see it: functions called by name, one call one transaction.

Both transports, PostgreSQL's own protocol and Supabase's REST interface, implement `Database` and turn the database's
errors into the domain's by the one table below.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from wingmanmatch_server import errors



class Database(Protocol):
    """A PostgreSQL database that holds the functions of `supabase/migrations/`."""

    async def call(self, function: str, /, **parameters: Any) -> Any:
        """Call `function` as the service role and return its jsonb result, decoded.

        `parameters` are JSON values, named as in the function's definition; those left out take their SQL defaults. The
        call is one transaction: it has its whole effect or none. A cancelled call is cancelled in the database too.

        Raises errors.DomainError as the function raised it, and errors.Unavailable if the database did not answer.
        """

    async def ping(self) -> float:
        """Return the seconds that a round trip takes. Raises errors.Unavailable."""

    async def listen(self, channel: str, callback: Callable[[], None]) -> Callable[[], Awaitable[None]] | None:
        """Call `callback` on each NOTIFY of `channel`, and once after each reconnection.

        Return what ends it, or None where the transport cannot listen and the caller must poll.
        """


def domain_error(sqlstate: str, message: str, detail: str | None, hint: str | None) -> errors.DomainError | None:
    """Return the error that a function of ours raised, or None if the SQLSTATE is not one of ours.

    Functions raise class WM with the reason in DETAIL and the metadata, an object of strings, as JSON in HINT.
    """
    raise_as = _RAISED_AS.get(sqlstate)
    return raise_as(detail or "INTERNAL", message, json.loads(hint or "{}")) if raise_as else None


def _invalid(reason: str, message: str, metadata: Mapping[str, str]) -> errors.DomainError:
    field = metadata.get("field", "")
    violation = errors.FieldViolation(field, reason, message)
    return errors.InvalidArgument([violation], reason, message, metadata)


def _exhausted(reason: str, message: str, metadata: Mapping[str, str]) -> errors.DomainError:
    seconds = metadata.get("retry_after_seconds")
    return errors.ResourceExhausted(reason, message, metadata, retry_after=float(seconds) if seconds else None)


_RAISED_AS: dict[str, Callable[[str, str, Mapping[str, str]], errors.DomainError]] = {
    "WM400": _invalid,
    "WM403": errors.PermissionDenied,
    "WM404": errors.NotFound,
    "WM409": errors.FailedPrecondition,
    "WM412": errors.Aborted,
    "WM429": _exhausted,
}
