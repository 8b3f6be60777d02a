"""What the database's errors mean, by SQLSTATE and by PostgREST's codes: the one table of both transports.

    UNAVAILABLE  errors.Unavailable       it cannot serve: the connection is closed, and a circuit breaker counts it
    READ_ONLY    errors.Unavailable       it serves reads only: the connection is closed, changes are refused
    BUSY         errors.Aborted           another transaction was in the way; the caller repeats the call
    TOO_SLOW     errors.DeadlineExceeded  the statement took longer than it may, or its caller took it back
    OVERLOADED   errors.ResourceExhausted all connections are taken

All but the first two are answers of a server that works, and never count for a circuit breaker. So are the errors that
our own functions raise, of class WM. Whatever is left can only be a defect of ours: `CallFailed`.
"""

import json
from collections.abc import Callable, Mapping
from enum import Enum, auto

from wingmanmatch_server import errors

RETRY_AFTER = 1.0  # seconds after which a caller may try again when the database did not answer


class Meaning(Enum):
    """What an error that is not the function's own says about the database."""

    UNAVAILABLE = auto()
    READ_ONLY = auto()
    BUSY = auto()
    TOO_SLOW = auto()
    OVERLOADED = auto()


# By class or code; the longest that fits decides. Names as in the PostgreSQL manual's appendix A, and PostgREST's.
MEANINGS: Mapping[str, Meaning] = {
    "08": Meaning.UNAVAILABLE,  # connection exceptions
    "25006": Meaning.READ_ONLY,  # read_only_sql_transaction: a standby, a demoted primary, a full disk
    "25P03": Meaning.UNAVAILABLE,  # idle_in_transaction_session_timeout: the connection is gone
    "25P04": Meaning.TOO_SLOW,  # transaction_timeout
    "28": Meaning.UNAVAILABLE,  # invalid_authorization_specification: no connection is to be had
    "3D000": Meaning.UNAVAILABLE,  # invalid_catalog_name, likewise
    "40001": Meaning.BUSY,  # serialization_failure
    "40P01": Meaning.BUSY,  # deadlock_detected
    "53": Meaning.UNAVAILABLE,  # insufficient resources: connections, memory, disk
    "55P03": Meaning.BUSY,  # lock_not_available: lock_timeout
    "57014": Meaning.TOO_SLOW,  # query_canceled: statement_timeout, or the caller's own deadline
    "57P": Meaning.UNAVAILABLE,  # shutdowns, crashes, cannot_connect_now
    "PGRST000": Meaning.UNAVAILABLE,  # PostgREST could not connect to the database
    "PGRST001": Meaning.UNAVAILABLE,  # PostgREST lost its connection
    "PGRST002": Meaning.UNAVAILABLE,  # PostgREST has no schema cache yet
    "PGRST003": Meaning.OVERLOADED,  # PostgREST's pool had no free connection in time
}
_LONGEST, _SHORTEST = 8, 2
# PostgREST begins each transaction as one that reads or writes. A standby refuses the latter with a code that means
# many things, 0A000 feature_not_supported, so that its text has to tell: "… read-write mode during recovery".
_NOT_SUPPORTED, _ON_A_STANDBY = "0A000", "read-write mode"


class CallFailed(Exception):
    """A function failed in a way that can only be a defect of ours.

    Its text is fit for a log: it quotes the database only where that names tables and constraints, never their rows.
    """

    def __init__(self, function: str, code: str, message: str) -> None:
        """`code` is an SQLSTATE, or PostgREST's own."""
        quoted = f": {message}" if code.startswith(_NAMES_NO_DATA) else ""
        super().__init__(f"{function} failed with {code}{quoted}")
        self.code = code


def meaning_of(code: str) -> Meaning | None:
    """Return what an SQLSTATE or PostgREST's code says about the database; None if it concerns the call alone."""
    for length in range(min(len(code), _LONGEST), _SHORTEST - 1, -1):
        if meaning := MEANINGS.get(code[:length]):
            return meaning
    return None


def costs_the_connection(code: str) -> bool:
    """Return whether a connection on which this SQLSTATE was raised must not be used again."""
    return meaning_of(code) in (Meaning.UNAVAILABLE, Meaning.READ_ONLY)


def unavailable() -> errors.Unavailable:
    """Return the error of a call that the database did not answer."""
    return errors.Unavailable("DATABASE_UNAVAILABLE", "the database does not answer", retry_after=RETRY_AFTER)


def read_only() -> errors.Unavailable:
    """Return the error of a change that the database does not accept at present."""
    message = "the database accepts no changes at present"
    return errors.Unavailable(
        "DATABASE_UNAVAILABLE", message, retry_after=RETRY_AFTER, evidence=errors.Evidence.REFUSES_WRITES
    )


def conflict() -> errors.Aborted:
    """Return the error of a call that met another transaction."""
    return errors.Aborted("CONFLICT", "a concurrent change was in the way; repeat the call")


def too_slow() -> errors.DeadlineExceeded:
    """Return the error of a statement that took longer than it may."""
    return errors.DeadlineExceeded("DEADLINE_EXCEEDED", "the database took too long to answer this call")


def overloaded() -> errors.ResourceExhausted:
    """Return the error of a call for which no connection came free in time."""
    message = "the database is busy with other calls"
    return errors.ResourceExhausted("OVERLOADED", message, retry_after=RETRY_AFTER)


def domain_error(
    code: str, message: str, detail: str | None = None, hint: str | None = None
) -> errors.DomainError | None:
    """Return what an SQLSTATE or PostgREST's code means in the domain, or None if it can only be a defect of ours.

    Our functions raise class WM with the reason in DETAIL and the metadata, an object of strings, as JSON in HINT.
    """
    if meaning := meaning_of(code):
        return _ERRORS[meaning]()
    if code == _NOT_SUPPORTED and _ON_A_STANDBY in message:
        return read_only()
    raised_as = _RAISED_AS.get(code)
    return raised_as(detail or "INTERNAL", message, json.loads(hint or "{}")) if raised_as else None


def call_error(
    function: str, code: str, message: str, detail: str | None = None, hint: str | None = None
) -> errors.DomainError | CallFailed:
    """Return what a code that ended a call of `function` means."""
    return domain_error(code, message, detail, hint) or CallFailed(function, code, message)


def _invalid(reason: str, message: str, metadata: Mapping[str, str]) -> errors.DomainError:
    violation = errors.FieldViolation(metadata.get("field", ""), reason, message)
    return errors.InvalidArgument([violation], reason, message, metadata)


def _exhausted(reason: str, message: str, metadata: Mapping[str, str]) -> errors.DomainError:
    return errors.ResourceExhausted(reason, message, metadata, retry_after=_retry_after(metadata))


def _precondition(reason: str, message: str, metadata: Mapping[str, str]) -> errors.DomainError:
    return errors.FailedPrecondition(reason, message, metadata, retry_after=_retry_after(metadata))


def _retry_after(metadata: Mapping[str, str]) -> float | None:
    seconds = metadata.get("retry_after_seconds")
    return float(seconds) if seconds else None


_ERRORS: Mapping[Meaning, Callable[[], errors.DomainError]] = {
    Meaning.UNAVAILABLE: unavailable,
    Meaning.READ_ONLY: read_only,
    Meaning.BUSY: conflict,
    Meaning.TOO_SLOW: too_slow,
    Meaning.OVERLOADED: overloaded,
}
_RAISED_AS: dict[str, Callable[[str, str, Mapping[str, str]], errors.DomainError]] = {
    "WM400": _invalid,
    "WM403": errors.PermissionDenied,
    "WM404": errors.NotFound,
    "WM409": _precondition,
    "WM412": errors.Aborted,
    "WM429": _exhausted,
}
# Integrity constraints, syntax and access rules: their messages speak of the schema. Others may quote a value.
_NAMES_NO_DATA = ("23", "42")
