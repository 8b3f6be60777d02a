"""What a caller sees when an RPC fails."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from support.edge import Failure, failure_of, serving
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2, matching_service_pb2_grpc
from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import Call
from wingmanmatch_server.interceptors.errors import CODES, MAX_VIOLATIONS
from wingmanmatch_server.telemetry.logs import configure_logs

SECRET = "postgres://admin:hunter2@database/people"
GET_MATCH = "/wingmanmatch.matching.v1.MatchingService/GetMatch"


class Raises:
    """Fails every call in the way it was made with."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    async def get_match(self, _request: Any, _call: Call) -> Any:
        """Fail."""
        if self._error:
            raise self._error

    async def watch_matches(self, _request: Any, _call: Call) -> AsyncIterator[Any]:
        """Send one message, then fail."""
        yield matching_service_pb2.WatchMatchesResponse(resume_token="1")
        if self._error:
            raise self._error


async def get_match(channel: grpc.aio.Channel) -> Failure:
    """Call an RPC that fails."""
    user = "7b2f0c5e-52a8-4d0b-9a53-8d6d9ef0a001"
    request = matching_service_pb2.GetMatchRequest(match_id=user, user_id=user)
    return await failure_of(matching_service_pb2_grpc.MatchingServiceStub(channel).GetMatch(request, timeout=5))


# RateLimited makes its own reason and message; it is tested with the throttle.
@pytest.mark.parametrize("kind", [each for each in CODES if each is not errors.RateLimited])
async def test_domain_error_becomes_its_status(kind: type[errors.DomainError]) -> None:
    """Each domain error is told by its code, reason, domain, metadata and message."""
    if kind is errors.InvalidArgument:
        error: errors.DomainError = errors.InvalidArgument((), "A_REASON", "a message", {"match_id": "m"})
    else:
        error = kind("A_REASON", "a message", {"match_id": "m"})
    async with serving(Raises(error)) as edge:
        failure = await get_match(edge.channel)
    info = failure.detail(error_details_pb2.ErrorInfo)
    assert (failure.code, failure.message) == (CODES[kind], "a message")
    assert (info.reason, info.domain, dict(info.metadata)) == ("A_REASON", "wingmanmatch.dev", {"match_id": "m"})


def test_every_domain_error_has_a_code() -> None:
    """No error of the domain is left without a status."""
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.DomainError)}
    abstract = {errors.DomainError, errors._Temporary}
    assert kinds - abstract == CODES.keys()


@pytest.mark.parametrize("kind", [errors.Unavailable, errors.ResourceExhausted])
async def test_retry_info_says_when(kind: type[Any]) -> None:
    """An error that ends by itself says after how long."""
    async with serving(Raises(kind("A_REASON", "later", retry_after=1.5))) as edge:
        failure = await get_match(edge.channel)
    delay = failure.detail(error_details_pb2.RetryInfo).retry_delay
    assert delay == Duration(seconds=1, nanos=500_000_000)


async def test_violations_are_bounded() -> None:
    """An answer with very many violations still fits into what clients accept as trailers."""
    many = [errors.FieldViolation(f"descriptors[{n}].policy", "string.max_len", "x" * 100) for n in range(1000)]
    async with serving(Raises(errors.InvalidArgument(many, message="many fields are wrong"))) as edge:
        failure = await get_match(edge.channel)
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(failure.violations) == MAX_VIOLATIONS


async def test_unforeseen_error_is_opaque() -> None:
    """The text of an unforeseen error stays in the log, under the id that the caller gets."""
    logged = io.BytesIO()
    configure_logs("json", logged)
    async with serving(Raises(RuntimeError(SECRET))) as edge:
        failure = await get_match(edge.channel)
    error_id = failure.metadata["error_id"]
    (line,) = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert (failure.code, failure.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "hunter2" not in failure.message + str(failure.details)
    assert (line["event"], line["error_id"], line["method"]) == ("rpc_failed", error_id, GET_MATCH)
    assert line["exception"][0]["exc_value"] == SECRET
    assert "locals" not in line["exception"][0]["frames"][0]


async def test_leaked_cancellation_is_internal() -> None:
    """A CancelledError that nobody asked for does not leave the caller without a status."""
    async with serving(Raises(asyncio.CancelledError())) as edge:
        failure = await get_match(edge.channel)
    assert failure.code is grpc.StatusCode.INTERNAL


class ReturnsWrongMessage:
    """Answers with a message of another RPC."""

    async def get_match(self, _request: Any, _call: Call) -> Any:
        """Return what GetMatch never returns."""
        return matching_pb2.Match(id=SECRET)


@pytest.mark.parametrize("implementation", [Raises(None), ReturnsWrongMessage()], ids=["nothing", "another message"])
async def test_wrong_response_is_internal(implementation: object) -> None:
    """A method that returns no message, or one of another type, is a defect and is told as one."""
    async with serving(implementation) as edge:
        failure = await get_match(edge.channel)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe", b"\x0a\x7fshort"])
async def test_undecodable_request(data: bytes) -> None:
    """Bytes that are no request are the caller's fault, and nothing of the decoder's words gets out."""
    async with serving(Raises(None)) as edge:
        call = edge.channel.unary_unary(GET_MATCH)(data, timeout=5)
        failure = await failure_of(call)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_UNDECODABLE")
    assert "Decode" not in failure.message


async def test_stream_keeps_what_was_sent_before_the_error() -> None:
    """A stream that fails half-way ends with the error's status after the messages it sent."""
    async with serving(Raises(errors.Aborted("CONFLICT", "resume"))) as edge:
        stub = matching_service_pb2_grpc.MatchingServiceStub(edge.channel)
        user = "7b2f0c5e-52a8-4d0b-9a53-8d6d9ef0a001"
        call = stub.WatchMatches(matching_service_pb2.WatchMatchesRequest(user_id=user), timeout=5)
        received = [(await call.read()).resume_token]
        failure = await failure_of(call.read())
    assert received == ["1"]
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "CONFLICT")


async def test_unimplemented_rpc_has_a_reason() -> None:
    """An RPC that this version lacks says so; one that no version has is unknown to gRPC itself."""
    async with serving(object()) as edge:
        known = await get_match(edge.channel)
        unknown = await failure_of(edge.channel.unary_unary(GET_MATCH + "s")(b"", timeout=5))
    assert (known.code, known.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")
    assert unknown.code is grpc.StatusCode.UNIMPLEMENTED
