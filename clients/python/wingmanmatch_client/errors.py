"""What a failed call raises.

    WingmanMatchError
    ├── InvalidArgument     the request is wrong whatever the state; `violations` name each field and rule
    ├── Unauthenticated     no valid credential
    ├── PermissionDenied    a valid credential, but not for this
    ├── NotFound            it does not exist, or not for this person
    ├── FailedPrecondition  the request is wrong now
    ├── Aborted             another change came first; repeat the whole step
    ├── ResourceExhausted   a quota is used up until `retry_after`
    │   └── RateLimited     the quota is that of the rate limit `policy`
    ├── Unavailable         the server or what it needs is away; the same call may succeed later
    ├── DeadlineExceeded    it took longer than it may; it may have happened
    ├── Cancelled           the call was ended before its answer
    ├── Unimplemented       this version of the server does not do it
    └── Internal            the server failed; `metadata["error_id"]` finds the cause in its log

A status that is none of these is a plain WingmanMatchError. The `grpc.RpcError` is always the `__cause__`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One rule that one field breaks. `field` is its path, such as `profile.email`."""

    field: str
    rule: str
    description: str


class WingmanMatchError(Exception):
    """A call failed.

    `reason` is the name of a value of `wingmanmatch.error.v1.ErrorReason` without its prefix, such as
    `PROFILE_NOT_FOUND`, and `metadata` its particulars; both are empty, like `domain`, where it was not the server that
    answered. `retry_after` is in seconds, None where nobody knows. `request_id` is what a mutation was sent with: the
    same call with the same id is safe to repeat, and tells whether the first one happened.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        domain: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.code = code
        self.message = message
        self.reason = reason
        self.domain = domain
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.request_id = request_id


class InvalidArgument(WingmanMatchError):
    """The request is wrong whatever the state; `violations` name each field and rule."""


class Unauthenticated(WingmanMatchError):
    """No valid credential came with the call."""


class PermissionDenied(WingmanMatchError):
    """The credential is valid, but not for this."""


class NotFound(WingmanMatchError):
    """It does not exist, or not for this person."""


class FailedPrecondition(WingmanMatchError):
    """The request is wrong in the present state."""


class Aborted(WingmanMatchError):
    """Another change came first; repeat the whole step."""


class ResourceExhausted(WingmanMatchError):
    """A quota is used up until `retry_after`."""


class RateLimited(ResourceExhausted):
    """The rate limit `policy` has no token left until `retry_after`."""

    @property
    def policy(self) -> str:
        """Name of the policy, such as `match_request`."""
        return self.metadata.get("policy", "")


class Unavailable(WingmanMatchError):
    """The server, or what it needs, is away; the same call with the same `request_id` may succeed later."""


class DeadlineExceeded(WingmanMatchError):
    """The call took longer than it may. It may have happened: repeat it with its `request_id` to know."""


class Cancelled(WingmanMatchError):
    """The call was ended before its answer."""


class Unimplemented(WingmanMatchError):
    """This version of the server does not do it."""


class Internal(WingmanMatchError):
    """The server failed in a way it did not foresee."""


CLASSES: dict[grpc.StatusCode, type[WingmanMatchError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.INTERNAL: Internal,
}
CODES = {code.value[0]: code for code in grpc.StatusCode}


def error_of(error: grpc.RpcError, request_id: str = "") -> WingmanMatchError:
    """Return what a failed call of either of gRPC's APIs, asyncio's or the synchronous one, is to a caller."""
    status = _status_of(error)
    if status is None:
        return _made(error.code(), error.details() or "", status_pb2.Status(), request_id)
    return _made(error.code(), status.message, status, request_id)


def cancellation_of(error: asyncio.CancelledError, request_id: str = "") -> BaseException:
    """Return the error itself where the running task is cancelled, Cancelled where only its call was, by `close`."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        return error
    return closed(request_id)


def closed(request_id: str = "") -> Cancelled:
    """Return what a call on a client that is closed raises."""
    return Cancelled(grpc.StatusCode.CANCELLED, "the client was closed", request_id=request_id)


def error_of_status(status: status_pb2.Status) -> WingmanMatchError:
    """Return the error that a response carries as a status, as those of StreamCheckRateLimit may."""
    return _made(CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, status)


def reason_of(error: grpc.RpcError) -> str:
    """Return the reason of an error that a bare stub raised, empty if the server did not give one."""
    return error_of(error).reason


def _status_of(error: grpc.RpcError) -> status_pb2.Status | None:
    try:
        return rpc_status.from_call(error)
    except (ValueError, DecodeError):
        # Something between here and the server changed the status and left its details, or made them up.
        return None


def _made(code: grpc.StatusCode, message: str, status: status_pb2.Status, request_id: str = "") -> WingmanMatchError:
    info, delay, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        any(detail.Unpack(kind) for kind in (info, delay, bad))
    return _class_of(code, info.reason)(
        code,
        message,
        reason=info.reason,
        domain=info.domain,
        metadata=info.metadata,
        violations=[FieldViolation(each.field, each.reason, each.description) for each in bad.field_violations],
        retry_after=delay.retry_delay.ToNanoseconds() / 1e9 if delay.HasField("retry_delay") else None,
        request_id=request_id,
    )


def _class_of(code: grpc.StatusCode, reason: str) -> type[WingmanMatchError]:
    if reason == "RATE_LIMITED":
        return RateLimited
    return CLASSES.get(code, WingmanMatchError)
