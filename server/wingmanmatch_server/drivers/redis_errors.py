"""What Redis can say, and what it means here: the one classification. `docs/failures.md` has it for people."""

import asyncio
import re
from collections.abc import Callable, Mapping
from enum import Enum

from redis import exceptions

from wingmanmatch_server import errors
from wingmanmatch_server.errors import Evidence

RETRY_AFTER = 1.0  # seconds after which a caller may try again


class Meaning(Enum):
    """What an error means for the call, and for the others."""

    UNAVAILABLE = "unavailable"  # this server serves nobody
    REFUSES_WRITES = "refuses writes"  # it takes no change, for whatever reason
    BUSY = "busy with itself"  # data on the move, or no connection of ours is free: nothing was executed
    ANSWER = "an answer"  # about this call alone


# By the first word of an error reply. Every other is an answer.
REPLIES: Mapping[str, Meaning] = {
    "BUSY": Meaning.UNAVAILABLE,  # a script of somebody's runs for seconds, and nothing else does
    "CLUSTERDOWN": Meaning.UNAVAILABLE,
    "LOADING": Meaning.UNAVAILABLE,
    "MASTERDOWN": Meaning.UNAVAILABLE,
    "NOAUTH": Meaning.UNAVAILABLE,
    "NOPERM": Meaning.UNAVAILABLE,
    "UNBLOCKED": Meaning.UNAVAILABLE,
    "WRONGPASS": Meaning.UNAVAILABLE,
    "MISCONF": Meaning.REFUSES_WRITES,
    "NOREPLICAS": Meaning.REFUSES_WRITES,
    "OOM": Meaning.REFUSES_WRITES,
    "READONLY": Meaning.REFUSES_WRITES,
    "ASK": Meaning.BUSY,
    "MOVED": Meaning.BUSY,
    "TRYAGAIN": Meaning.BUSY,
}
# Replies of a server that is no longer the primary: every connection may lead to it, so all are made anew. A refused
# password is not among them: connections from before it was changed go on working.
STALE = frozenset({"MASTERDOWN", "READONLY", "UNBLOCKED"})
EVIDENCE = {
    Meaning.UNAVAILABLE: Evidence.ABSENT,
    Meaning.REFUSES_WRITES: Evidence.REFUSES_WRITES,
    Meaning.BUSY: Evidence.NONE,
}
MESSAGES = {
    Meaning.UNAVAILABLE: "Redis does not answer",
    Meaning.REFUSES_WRITES: "Redis refuses writes",
    Meaning.BUSY: "Redis could not take the call now",
}
# By what redis-py and the event loop show that there is no server or no connection to it.
NO_ANSWER = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.RedisClusterException,
    OSError,
    TimeoutError,
)
# Redis 6.2 wraps what a command inside a script met, and puts ERR before it.
_IN_SCRIPT = re.compile(r"(?:ERR )?Error running script .*?: -?([A-Z]+) ")
_CODE = re.compile(r"-?([A-Z]+)(?: |$)")


def code_of(error: exceptions.RedisError) -> str:
    """Return the first word of an error reply, as Redis 7 and later say it; ERR where there is none."""
    text = str(error)
    inside = _IN_SCRIPT.match(text)
    if inside:
        return inside[1]
    if error.status_code:
        return str(error.status_code)
    code = _CODE.match(text)
    return code[1] if code else "ERR"


def meaning_of(error: BaseException) -> Meaning:
    """Return what an error of redis-py, or of the event loop below it, means."""
    if isinstance(error, exceptions.ResponseError):
        return REPLIES.get(code_of(error), Meaning.ANSWER)
    if _is_our_own_shortage(error) or type(error) is exceptions.ClusterError:  # redirected too often
        return Meaning.BUSY
    return Meaning.UNAVAILABLE if isinstance(error, NO_ANSWER) or _is_closed_transport(error) else Meaning.ANSWER


def is_stale(error: BaseException) -> bool:
    """Return whether the connection that brought this error, and those made like it, are to be made anew."""
    return isinstance(error, exceptions.RedisError) and code_of(error) in STALE


def unavailable(meaning: Meaning = Meaning.UNAVAILABLE) -> errors.Unavailable:
    """Return the error of a call that Redis did not serve."""
    return errors.Unavailable(
        "REDIS_UNAVAILABLE", MESSAGES[meaning], retry_after=RETRY_AFTER, evidence=EVIDENCE[meaning]
    )


class away:  # noqa: N801 - reads as a statement: `with away():`
    """Turn the errors of redis-py that are no answers into errors.Unavailable, after `on_error` has seen them."""

    __slots__ = ("_on_error",)

    def __init__(self, on_error: Callable[[BaseException], object] = lambda _error: None) -> None:
        self._on_error = on_error

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if error is None:
            return
        meaning = meaning_of(error)
        if meaning is not Meaning.ANSWER:
            self._on_error(error)
            raise unavailable(meaning) from error


def _is_closed_transport(error: BaseException) -> bool:
    """Return whether uvloop refused to write to a lost connection, which redis-py's cluster client passes on."""
    return type(error) is RuntimeError and str(error).endswith("the handler is closed")


def _is_our_own_shortage(error: BaseException) -> bool:
    """Return whether a pool had no connection to lend: redis-py tells so by the same error as a lost connection."""
    if isinstance(error, exceptions.MaxConnectionsError):
        return True
    return type(error) is exceptions.ConnectionError and isinstance(error.__cause__, asyncio.TimeoutError)
