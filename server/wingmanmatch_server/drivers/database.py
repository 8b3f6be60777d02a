"""The database as the areas see it: functions called by name, one call one transaction.

Both transports, PostgreSQL's own protocol and Supabase's REST interface, implement `Database` and turn the database's
errors into the domain's by the one table below.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from wingmanmatch_server import errors

RETRY_AFTER = 1.0  # seconds after which a caller may try again when the database did not answer
HEALTH = "health"  # the function that a ping calls


class CallFailed(Exception):
    """A function failed in a way that can only be a defect of ours.

    Its text is fit for a log: it quotes the database only where that names tables and constraints, never their rows.
    """

    def __init__(self, function: str, code: str, message: str) -> None:
        """`code` is an SQLSTATE, or PostgREST's own."""
        quoted = f": {message}" if code.startswith(_NAMES_NO_DATA) else ""
        super().__init__(f"{function} failed with {code}{quoted}")
        self.code = code


class Database(Protocol):
    """A PostgreSQL database that holds the functions of `supabase/schemas/`."""

    async def call(self, function: str, /, **parameters: Any) -> Any:
        """Call `function` as the service role and return its jsonb result, decoded.

        `parameters` are JSON values, named as in the function's definition; those left out take their SQL defaults. The
        call is one transaction: it has its whole effect or none. Give a cancelled mutation's request_id again: over
        PostgreSQL's protocol a cancelled call is cancelled in the database too, but PostgREST lets it run to its end.

        Raises errors.DomainError as the function raised it, errors.Unavailable if the database did not answer, and
        CallFailed.
        """

    async def call_as_anonymous(self, function: str, /, **parameters: Any) -> Any:
        """Do the same as the role `anon`, for which row level security is enforced."""

    async def ping(self) -> float:
        """Return the seconds that a call as the service role takes. Raises errors.Unavailable."""

    async def ping_as_anonymous(self) -> float:
        """Do the same as the role `anon`."""

    async def listen(self, channel: str, callback: Callable[[], None], /) -> Callable[[], Awaitable[None]] | None:
        """Call `callback` on each NOTIFY of `channel`, and once after each connection made, the first included.

        Return what ends it, or None where the transport cannot listen and the caller must poll.
        """

    async def follow(
        self, channel: str, callback: Callable[[str | None], None], /
    ) -> Callable[[], Awaitable[None]] | None:
        """Do as `listen` does, with the payload of each NOTIFY, and None once after each connection made."""


def unavailable() -> errors.Unavailable:
    """Return the error of a call that the database did not answer."""
    return errors.Unavailable("DATABASE_UNAVAILABLE", "the database does not answer", retry_after=RETRY_AFTER)


def domain_error(
    sqlstate: str, message: str, detail: str | None = None, hint: str | None = None
) -> errors.DomainError | None:
    """Return what an SQLSTATE means in the domain, or None if it can only be a defect of ours.

    Our functions raise class WM with the reason in DETAIL and the metadata, an object of strings, as JSON in HINT.
    """
    if sqlstate.startswith(_AWAY):
        return unavailable()
    if sqlstate in _LOST_RACE:
        return errors.Aborted("CONFLICT", "another change came first; repeat the call")
    raised_as = _RAISED_AS.get(sqlstate)
    return raised_as(detail or "INTERNAL", message, json.loads(hint or "{}")) if raised_as else None


def call_error(
    function: str, sqlstate: str, message: str, detail: str | None = None, hint: str | None = None
) -> errors.DomainError | CallFailed:
    """Return what an SQLSTATE that ended a call of `function` means."""
    return domain_error(sqlstate, message, detail, hint) or CallFailed(function, sqlstate, message)


def _invalid(reason: str, message: str, metadata: Mapping[str, str]) -> errors.DomainError:
    violation = errors.FieldViolation(metadata.get("field", ""), reason, message)
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
# Classes of the PostgreSQL manual's appendix A: connection exception, insufficient resources, operator intervention.
_AWAY = ("08", "53", "57")
_LOST_RACE = ("40001", "40P01")
# Integrity constraints, syntax and access rules: their messages speak of the schema. Others may quote a value.
_NAMES_NO_DATA = ("23", "42")
