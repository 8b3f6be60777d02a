"""What a status becomes."""

import uuid

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from support.faces import Face
from support.scripted_server import Failure, ScriptedServer
from wingmanmatch_client import (
    Aborted,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RateLimited,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    WingmanMatchError,
    error_of_status,
    rpcs,
)

CLASSES = {
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.ALREADY_EXISTS: WingmanMatchError,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.DATA_LOSS: WingmanMatchError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.INTERNAL: Internal,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.OUT_OF_RANGE: WingmanMatchError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.UNKNOWN: WingmanMatchError,
}
INFO = error_details_pb2.ErrorInfo(reason="RATE_LIMITED", domain="wingmanmatch.dev", metadata={"policy": "email_send"})


def status(code: grpc.StatusCode, *details: Message) -> status_pb2.Status:
    """Return a status with details."""
    packed = [AnyMessage() for _ in details]
    for each, detail in zip(packed, details, strict=True):
        each.Pack(detail)
    return status_pb2.Status(code=code.value[0], message="as scripted", details=packed)


def failure(told: status_pb2.Status, code: grpc.StatusCode) -> Failure:
    """Return what ends a call with the status."""
    return Failure(code, trailers=(("grpc-status-details-bin", told.SerializeToString()),))


def test_each_code_has_its_class() -> None:
    """No status of gRPC is left out."""
    assert {code: type(error_of_status(status(code))) for code in CLASSES} == CLASSES
    assert set(CLASSES) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


async def raised(client: Face, server: ScriptedServer, answer: Failure) -> WingmanMatchError:
    """Call a method that fails so, and return what it raises."""
    server.script(rpcs.MATCHING_GET_PROFILE, answer)
    with pytest.raises(WingmanMatchError) as caught:
        await client.call("matching", "get_profile", user_id=str(uuid.uuid4()))
    return caught.value


async def test_details(client: Face, server: ScriptedServer) -> None:
    """Reason, domain, metadata and the wait are attributes; gRPC's own error is the cause."""
    delay = error_details_pb2.RetryInfo(retry_delay={"seconds": 2, "nanos": 500_000_000})
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    error = await raised(client, server, failure(status(code, INFO, delay), code))
    assert isinstance(error, RateLimited)
    assert (error.reason, error.domain, error.metadata) == (
        "RATE_LIMITED",
        "wingmanmatch.dev",
        {"policy": "email_send"},
    )
    assert (error.policy, error.retry_after, error.code, error.message) == ("email_send", 2.5, code, "as scripted")
    assert str(error) == "RATE_LIMITED: as scripted"
    assert isinstance(error.__cause__, grpc.RpcError)


async def test_violations(client: Face, server: ScriptedServer) -> None:
    """Each field and rule is named."""
    named = [{"field": "profile.email", "reason": "string.email", "description": "must be an address"}]
    code = grpc.StatusCode.INVALID_ARGUMENT
    bad = error_details_pb2.BadRequest(field_violations=named)
    error = await raised(client, server, failure(status(code, bad), code))
    assert isinstance(error, InvalidArgument)
    assert error.violations == (FieldViolation("profile.email", "string.email", "must be an address"),)
    assert error.retry_after is None


async def test_status_that_something_changed_on_the_way(client: Face, server: ScriptedServer) -> None:
    """Details of another code than the call's are not believed."""
    told = failure(status(grpc.StatusCode.RESOURCE_EXHAUSTED, INFO), grpc.StatusCode.PERMISSION_DENIED)
    error = await raised(client, server, told)
    assert (type(error), error.reason, str(error)) == (PermissionDenied, "", "PERMISSION_DENIED: as scripted")


async def test_details_that_are_none(client: Face, server: ScriptedServer) -> None:
    """Bytes that are no status are left alone."""
    garbage = Failure(grpc.StatusCode.NOT_FOUND, trailers=(("grpc-status-details-bin", b"\xff\xff"),))
    error = await raised(client, server, garbage)
    assert (type(error), error.reason) == (NotFound, "")
