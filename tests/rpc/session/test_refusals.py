"""What SessionService refuses, and how."""

import itertools
import uuid
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import NULL_VALUE, Struct
from google.rpc import error_details_pb2

from support.edge import failure_of
from support.redis_raw import changed_keys, raw_contents
from support.requests import TIMEOUT
from support.stubs import Stubs
from wingmanmatch.session.v1 import session_service_pb2 as pb
from wingmanmatch_client import reason_of
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.session.keys import session_key

SOMEBODY = str(uuid.UUID(int=1))
DAY = timedelta(days=1)
TOKEN = "A" * 43


def requests_with(token: str) -> dict[str, Any]:
    """Return a request of each method that refuses a token."""
    return {
        "GetSession": pb.GetSessionRequest(token=token),
        "TouchSession": pb.TouchSessionRequest(token=token),
        "UpdateSession": pb.UpdateSessionRequest(token=token, expected_version=1, request_id=SOMEBODY),
    }


@pytest.mark.parametrize("method", requests_with(""))
async def test_bad_tokens(client: Stubs, method: str) -> None:
    """Whatever is wrong with a token, each method's answer is the same to the last byte."""
    created = await client.session.CreateSession(pb.CreateSessionRequest(user_id=SOMEBODY), timeout=TIMEOUT)
    await client.session.DeleteSession(pb.DeleteSessionRequest(token=created.token), timeout=TIMEOUT)
    tokens = ["", "x", "\0", "ü" * 9999, created.token, created.token + "=", f"{TOKEN}0000", f"{TOKEN}zzzz", "{}" * 9]
    answers = set()
    for token in tokens:
        failure = await failure_of(getattr(client.session, method)(requests_with(token)[method], timeout=TIMEOUT))
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "SESSION_NOT_FOUND")
        answers.add((failure.message, *(detail.SerializeToString() for detail in failure.details)))
    assert len(answers) == 1


def creations() -> dict[str, tuple[str, pb.CreateSessionRequest]]:
    """Return creations that break a rule, by the rule, and the field at fault."""
    return {
        "user": ("user_id", pb.CreateSessionRequest(user_id="me")),
        "no user": ("user_id", pb.CreateSessionRequest()),
        "request": ("request_id", pb.CreateSessionRequest(user_id=SOMEBODY, request_id="1")),
        "too short": ("ttl", pb.CreateSessionRequest(user_id=SOMEBODY, ttl=timedelta(milliseconds=999))),
        "too long": ("ttl", pb.CreateSessionRequest(user_id=SOMEBODY, ttl=DAY + timedelta(milliseconds=1))),
        "far too long": ("ttl", pb.CreateSessionRequest(user_id=SOMEBODY, ttl={"seconds": 315_576_000_000})),
        "negative": ("ttl", pb.CreateSessionRequest(user_id=SOMEBODY, ttl=timedelta(seconds=-1))),
    }


@pytest.mark.parametrize("rule", creations())
async def test_bad_creations(client: Stubs, rule: str) -> None:
    """A field that breaks a rule is named."""
    field, request = creations()[rule]
    failure = await failure_of(client.session.CreateSession(request, timeout=TIMEOUT))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert list(failure.violations) == [field]


@pytest.mark.parametrize("ttl", [timedelta(seconds=1), DAY])
async def test_bounds_of_ttl(client: Stubs, ttl: timedelta) -> None:
    """A second and the server's own time to live are both allowed."""
    request = pb.CreateSessionRequest(user_id=SOMEBODY, ttl=ttl)
    session = (await client.session.CreateSession(request, timeout=TIMEOUT)).session
    assert session.expire_time.ToDatetime() - session.create_time.ToDatetime() == ttl


async def test_touch_for_too_long(client: Stubs) -> None:
    """No touch lets a session live longer than the server's own time to live."""
    created = await client.session.CreateSession(pb.CreateSessionRequest(user_id=SOMEBODY), timeout=TIMEOUT)
    request = pb.TouchSessionRequest(token=created.token, ttl=DAY + timedelta(seconds=1))
    failure = await failure_of(client.session.TouchSession(request, timeout=TIMEOUT))
    assert list(failure.violations) == ["ttl"]


def of_size(size: int) -> Struct:
    """Return data of exactly that many bytes."""
    data = Struct()
    data["x"] = "x" * (size - 20)
    data["x"] += "x" * (size - data.ByteSize())
    assert data.ByteSize() == size
    return data


async def test_size_of_data(client: Stubs) -> None:
    """64 KiB of data are kept as they are, and one byte more is refused by both methods."""
    largest, larger = of_size(65_536), of_size(65_537)
    created = await client.session.CreateSession(
        pb.CreateSessionRequest(user_id=SOMEBODY, data=largest), timeout=TIMEOUT
    )
    got = await client.session.GetSession(pb.GetSessionRequest(token=created.token), timeout=TIMEOUT)
    assert got.session.data == largest
    for call in (
        client.session.CreateSession(pb.CreateSessionRequest(user_id=SOMEBODY, data=larger), timeout=TIMEOUT),
        client.session.UpdateSession(pb.UpdateSessionRequest(token=created.token, data=larger), timeout=TIMEOUT),
    ):
        failure = await failure_of(call)
        assert (failure.reason, failure.violations) == ("FIELD_INVALID", {"data": "data.max_bytes"})
        assert "xxx" not in failure.message


async def test_depth_of_data(client: Stubs) -> None:
    """Data is either returned as it was given or refused, however deep it is nested."""
    shapes = itertools.product(range(4), range(38, 52))
    assert {await _stored(client, _nested(structs, lists)) for structs, lists in shapes} == {
        "returned",
        "FIELD_INVALID",
        "REQUEST_UNDECODABLE",
    }


def _nested(structs: int, lists: int) -> pb.CreateSessionRequest:
    request = pb.CreateSessionRequest(user_id=SOMEBODY)
    data = request.data
    for _ in range(structs):
        data = data.fields["a"].struct_value
    value = data.fields["a"]
    for _ in range(lists):
        value = value.list_value.values.add()
    value.null_value = NULL_VALUE
    return request


async def _stored(client: Stubs, request: pb.CreateSessionRequest) -> str:
    """Return that the data came back, or why it was refused."""
    try:
        token = (await client.session.CreateSession(request, timeout=TIMEOUT)).token
    except grpc.aio.AioRpcError as error:
        return reason_of(error)
    got = await client.session.GetSession(pb.GetSessionRequest(token=token), timeout=TIMEOUT)
    assert got.session.data.SerializeToString() == request.data.SerializeToString()
    return "returned"


@pytest.mark.parametrize("page_token", ["!", "AAAA", "A" * 32])
async def test_bad_page_token(client: Stubs, page_token: str) -> None:
    """A page token that was not issued for the list is refused."""
    request = pb.ListSessionsRequest(user_id=SOMEBODY, page_token=page_token)
    failure = await failure_of(client.session.ListSessions(request, timeout=TIMEOUT))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_page_token_of_somebody_else(client: Stubs) -> None:
    """One person's page token does not continue another's list."""
    users = [str(uuid.uuid4()) for _ in range(2)]
    for user_id in users * 2:
        await client.session.CreateSession(pb.CreateSessionRequest(user_id=user_id), timeout=TIMEOUT)
    request = pb.ListSessionsRequest(user_id=users[0], page_size=1)
    request.page_token = (await client.session.ListSessions(request, timeout=TIMEOUT)).next_page_token
    request.user_id = users[1]
    failure = await failure_of(client.session.ListSessions(request, timeout=TIMEOUT))
    assert failure.reason == "PAGE_TOKEN_INVALID"


async def test_request_id_with_another_body(client: Stubs) -> None:
    """A request_id of another creation or update is refused."""
    request_id = str(uuid.uuid4())
    request = pb.CreateSessionRequest(user_id=SOMEBODY, request_id=request_id)
    token = (await client.session.CreateSession(request, timeout=TIMEOUT)).token
    request.data["a"] = 1
    update = pb.UpdateSessionRequest(token=token, request_id=request_id)
    await client.session.UpdateSession(update, timeout=TIMEOUT)
    update.expected_version = 1
    for call in (
        client.session.CreateSession(request, timeout=TIMEOUT),
        client.session.UpdateSession(update, timeout=TIMEOUT),
    ):
        failure = await failure_of(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
        assert list(failure.violations) == ["request_id"]


@pytest.mark.parametrize("method", [*requests_with(""), "ListSessions"])
async def test_session_of_a_newer_version(client: Stubs, redis: RedisServer, method: str) -> None:
    """Each method is UNAVAILABLE with a hint to try again at once, and the session stays byte for byte as it is."""
    user_id = str(uuid.uuid4())
    created = await client.session.CreateSession(pb.CreateSessionRequest(user_id=user_id), timeout=TIMEOUT)
    await redis.client.hset(session_key(created.token), "v", "2")
    before = await raw_contents(redis, "session:*")
    request = (requests_with(created.token) | {"ListSessions": pb.ListSessionsRequest(user_id=user_id)})[method]
    failure = await failure_of(getattr(client.session, method)(request, timeout=TIMEOUT))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "RECORD_VERSION_UNKNOWN")
    assert failure.metadata == {"record": "session"}
    assert failure.detail(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 100
    assert await changed_keys(redis, before, "session:*") == set()
    await client.session.DeleteSession(pb.DeleteSessionRequest(token=created.token), timeout=TIMEOUT)
    listed = await client.session.ListSessions(pb.ListSessionsRequest(user_id=user_id), timeout=TIMEOUT)
    assert list(listed.sessions) == []
