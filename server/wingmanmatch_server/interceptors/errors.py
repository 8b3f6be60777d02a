"""Turns what was raised into a status. Nothing else in the server ends a call with an error."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import Call, ClientGone, Proceed
from wingmanmatch_server.interceptors.policy import Method
from wingmanmatch_server.interceptors.requests import decoded

log = structlog.get_logger(__name__)

DOMAIN = "wingmanmatch.dev"
# Trailers above 8 KiB may be refused by the client's HTTP/2. The message is among them twice, once with up to three
# characters for a byte, and the details with four for three.
MAX_VIOLATIONS = 20
LONGEST_MESSAGE = 600  # bytes, as all of these
LONGEST_VIOLATIONS = 3000
LONGEST_FIELD = 300
LONGEST_PUSHBACK = 2**31 - 1  # milliseconds, what gRPC's clients can read
Trailers = tuple[tuple[str, str], ...]
CODES: dict[type[errors.DomainError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.RateLimited: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
}


class Errors:
    """Answers a raised error with its status and `google.rpc` details, and any other with an opaque id."""

    def __init__(self, make_error_id: Callable[[], str]) -> None:
        """`make_error_id` returns what joins an INTERNAL answer to the line in the log that says more."""
        self._make_error_id = make_error_id

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """See `Interceptor.bind`."""
        expected = type(None) if method.server_streaming else method.response

        async def answer(request: Any, call: Call) -> Any:
            try:
                return _of_type(expected, await proceed(decoded(request), call))
            except errors.DomainError as error:
                await refuse(call, error)
            except asyncio.CancelledError as error:
                if not _ended_by_client(call):
                    # Something inside leaked it. Passed on, the client would get no status at all.
                    await self._internal(method, call, error)
                raise
            except ClientGone:
                _end(call, grpc.StatusCode.CANCELLED, "CANCELLED")
                return None
            except Exception as error:  # noqa: BLE001 - the text of an unforeseen error must not reach the client
                await self._internal(method, call, error)

        return answer

    async def _internal(self, method: Method, call: Call, error: BaseException) -> None:
        error_id = self._make_error_id()
        log.error("rpc_failed", method=method.path, error_id=error_id, exc_info=error)
        info = _error_info("INTERNAL", {"error_id": error_id})
        await _refuse(call, grpc.StatusCode.INTERNAL, "INTERNAL", f"internal error {error_id}", [info])


def _of_type(expected: type, response: Any) -> Any:
    """Return the response. Raises TypeError for any other message, which grpc.aio would send as it is."""
    if response.__class__ is not expected:
        raise TypeError(f"returned {type(response).__name__} for {expected.__name__}")
    return response


def _ended_by_client(call: Call) -> bool:
    """Note which way the client ended the call; return False if it did not."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return False
    overdue = call.context.time_remaining() == 0
    code = grpc.StatusCode.DEADLINE_EXCEEDED if overdue else grpc.StatusCode.CANCELLED
    _end(call, code, code.name)
    return True


def details_of(error: errors.DomainError) -> list[Message]:
    """Return the `google.rpc` details that tell `error` to programs."""
    details: list[Message] = [_error_info(error.reason, error.metadata)]
    if isinstance(error, errors.InvalidArgument) and error.violations:
        details.append(_bad_request(error.violations))
    ends = errors.FailedPrecondition | errors.ResourceExhausted | errors.Unavailable
    if isinstance(error, ends) and error.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if isinstance(error, errors.RateLimited):
        details.append(_quota_failure(error))
    return details


def trailers_of(error: errors.DomainError, time_remaining: Callable[[], float | None]) -> Trailers:
    """Return the trailers that tell `error` to gRPC's own retries and to proxies.

    `time_remaining` returns the seconds left of the call's deadline, None without one.
    """
    if not isinstance(error, errors.ResourceExhausted | errors.Unavailable):
        return ()
    wait = error.retry_after
    if not isinstance(error, errors.RateLimited):
        return () if wait is None else (("grpc-retry-pushback-ms", str(_pushback(wait, time_remaining()))),)
    until = "" if wait is None else f";t={math.ceil(wait)}"
    return (
        ("grpc-retry-pushback-ms", str(_pushback(wait, time_remaining()))),
        ("ratelimit", f'"{error.policy}";r={error.remaining}{until}'),
        ("ratelimit-policy", f'"{error.policy}";q={error.capacity};w={math.ceil(error.window)}'),
    )


def _pushback(wait: float | None, left: float | None) -> int:
    """Return the milliseconds that a client's own retry is to wait; -1 where it would wait in vain."""
    if wait is None or (left is not None and wait >= left):
        return -1
    return min(math.ceil(wait * 1000), LONGEST_PUSHBACK)


def status_of(error: errors.DomainError) -> Message:
    """Return the `google.rpc.Status` that tells `error` inside a response."""
    return _status(CODES[type(error)], shortened(error.message, LONGEST_MESSAGE), details_of(error))


def shortened(text: str, longest: int) -> str:
    """Return a text in at most `longest` bytes of UTF-8, an ellipsis for what is cut off."""
    encoded = text.encode()
    if len(encoded) <= longest:
        return text
    return encoded[: longest - len("…".encode())].decode(errors="ignore") + "…"


def _status(code: grpc.StatusCode, message: str, details: Sequence[Message]) -> Message:
    packed = []
    for detail in details:
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    status: Message = status_pb2.Status(code=code.value[0], message=message, details=packed)
    return status


def _quota_failure(error: errors.RateLimited) -> Message:
    violation = error_details_pb2.QuotaFailure.Violation(
        subject=error.subject, description=error.message, quota_id=error.policy, quota_value=error.capacity
    )
    failure: Message = error_details_pb2.QuotaFailure(violations=[violation])
    return failure


def _error_info(reason: str, metadata: dict[str, str]) -> Message:
    info: Message = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)
    return info


def _bad_request(violations: Sequence[errors.FieldViolation]) -> Message:
    request = error_details_pb2.BadRequest()
    for violation in violations[:MAX_VIOLATIONS]:
        request.field_violations.add(
            field=shortened(violation.field, LONGEST_FIELD),
            reason=violation.rule,
            description=shortened(violation.description, LONGEST_FIELD),
        )
        if request.ByteSize() > LONGEST_VIOLATIONS:
            del request.field_violations[-1]
            break
    bounded: Message = request
    return bounded


async def refuse(call: Call, error: errors.DomainError) -> None:
    """End the call with an error's status, details and trailers; raises what grpc.aio ends it by."""
    trailers = trailers_of(error, call.context.time_remaining)
    await _refuse(call, CODES[type(error)], error.reason, error.message, details_of(error), trailers)


async def _refuse(
    call: Call,
    code: grpc.StatusCode,
    reason: str,
    message: str,
    details: Sequence[Message],
    trailers: Trailers = (),
) -> None:
    """End the call; raises what grpc.aio ends it by."""
    message = shortened(message, LONGEST_MESSAGE)
    status = _status(code, message, details)
    call.code, call.reason = code, reason
    # grpc.aio answers an aborted call by trailers alone, and only after such an answer may a client's own retry act.
    await call.context.abort(code, message, (("grpc-status-details-bin", status.SerializeToString()), *trailers))


async def abort(context: "grpc.aio.ServicerContext[Any, Any]", error: errors.DomainError) -> NoReturn:
    """End a call that the edge does not stand around; raises what grpc.aio ends it by."""
    details = (("grpc-status-details-bin", status_of(error).SerializeToString()),)
    await context.abort(CODES[type(error)], error.message, (*details, *trailers_of(error, context.time_remaining)))


def _end(call: Call, code: grpc.StatusCode, reason: str) -> None:
    call.code, call.reason = code, reason
    call.context.set_code(code)
