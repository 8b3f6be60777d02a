"""SessionService through the whole server."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.protobuf.struct_pb2 import Struct

from support.edge import failure_of
from support.requests import TIMEOUT
from support.sessions import HOUR, pass_time
from support.stubs import Stubs
from wingmanmatch.session.v1 import session_pb2
from wingmanmatch.session.v1 import session_service_pb2 as pb
from wingmanmatch_client import reason_of
from wingmanmatch_server.drivers.redis import RedisServer

DAY = timedelta(days=1)


def struct(**fields: Any) -> Struct:
    """Return data for a session."""
    data = Struct()
    data.update(fields)
    return data


async def create(client: Stubs, user_id: str, **fields: Any) -> pb.CreateSessionResponse:
    """Open a session."""
    return await client.session.CreateSession(pb.CreateSessionRequest(user_id=user_id, **fields), timeout=TIMEOUT)


async def get(client: Stubs, token: str, **fields: Any) -> session_pb2.Session:
    """Return the session of a token."""
    request = pb.GetSessionRequest(token=token, **fields)
    return (await client.session.GetSession(request, timeout=TIMEOUT)).session


async def sessions_of(client: Stubs, user_id: str, **fields: Any) -> list[session_pb2.Session]:
    """Return a person's sessions as listed."""
    request = pb.ListSessionsRequest(user_id=user_id, **fields)
    return list((await client.session.ListSessions(request, timeout=TIMEOUT)).sessions)


def new_id() -> str:
    """Return a new UUID."""
    return str(uuid.uuid4())


def life_of(session: session_pb2.Session) -> timedelta:
    """Return how long after its creation a session ends."""
    return session.expire_time.ToDatetime() - session.create_time.ToDatetime()


async def test_create_and_get(client: Stubs) -> None:
    """A session comes back with its data, of every kind that a Struct has, under the token of its creation."""
    user_id = new_id()
    data = struct(name="Ada", count=3, tags=["a", None, True], nested={"deep": {"er": 1.5}})
    created = await create(client, user_id, data=data)
    session = await get(client, created.token)
    assert session == created.session
    assert (session.user_id, session.data, session.version) == (user_id, data, 1)
    assert life_of(session) == DAY
    assert session.max_expire_time.ToDatetime() - session.create_time.ToDatetime() == 30 * DAY
    assert abs(datetime.now(UTC) - session.create_time.ToDatetime(UTC)) < timedelta(minutes=1)
    assert created.token not in str(session)


async def test_session_without_data(client: Stubs) -> None:
    """Data left out is an empty Struct."""
    created = await create(client, new_id())
    session = await get(client, created.token)
    assert session.HasField("data")
    assert session.data == Struct()


async def test_user_id_in_capitals(client: Stubs) -> None:
    """A UUID means the same person however it is spelled."""
    user_id = new_id()
    created = await create(client, user_id.upper())
    assert created.session.user_id == user_id
    assert await sessions_of(client, user_id) == await sessions_of(client, user_id.upper()) == [created.session]


async def test_shorter_ttl(client: Stubs, redis: RedisServer) -> None:
    """A caller's shorter time to live is kept, and by it the session slides."""
    created = await create(client, new_id(), ttl=HOUR)
    assert life_of(created.session) == HOUR
    await pass_time(redis, timedelta(minutes=50))
    touched = await get(client, created.token, touch=True)
    assert touched.expire_time.ToDatetime() >= created.session.expire_time.ToDatetime()
    await pass_time(redis, timedelta(minutes=50))
    assert (await get(client, created.token)).id == created.session.id
    await pass_time(redis, timedelta(minutes=11))
    assert (await failure_of(get(client, created.token))).reason == "SESSION_NOT_FOUND"


async def test_update(client: Stubs) -> None:
    """An update replaces all of the data, and its expected version has to be the one there is."""
    token = (await create(client, new_id(), data=struct(a=1, b=2))).token
    request = pb.UpdateSessionRequest(token=token, data=struct(c=3), expected_version=1)
    updated = (await client.session.UpdateSession(request, timeout=TIMEOUT)).session
    assert (updated.data, updated.version) == (struct(c=3), 2)
    assert updated == await get(client, token)
    failure = await failure_of(client.session.UpdateSession(request, timeout=TIMEOUT))
    assert (failure.code.name, failure.reason) == ("ABORTED", "SESSION_VERSION_MISMATCH")
    assert failure.metadata == {"version": "2"}


async def test_a_hundred_updates_of_one_version(client: Stubs) -> None:
    """Of a hundred updates at once exactly one wins each round, and its data is what is kept."""
    token = (await create(client, new_id())).token

    async def update(caller: int, version: int) -> int | str:
        request = pb.UpdateSessionRequest(token=token, data=struct(by=caller), expected_version=version)
        try:
            await client.session.UpdateSession(request, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            return reason_of(error)
        return caller

    for version in (1, 2, 3):
        outcomes = await asyncio.gather(*(update(caller, version) for caller in range(100)))
        (winner,) = [outcome for outcome in outcomes if isinstance(outcome, int)]
        assert outcomes.count("SESSION_VERSION_MISMATCH") == 99
        session = await get(client, token)
        assert (session.version, session.data) == (version + 1, struct(by=winner))


async def test_touch(client: Stubs) -> None:
    """A touched session lives for the time given, counted from now."""
    created = await create(client, new_id(), ttl=HOUR)
    request = pb.TouchSessionRequest(token=created.token, ttl=2 * HOUR)
    touched = (await client.session.TouchSession(request, timeout=TIMEOUT)).session
    assert life_of(touched) >= 2 * HOUR
    assert await get(client, created.token) == touched


async def test_delete(client: Stubs) -> None:
    """An ended session is gone, and ending it again is no error, nor is ending what never was."""
    created = await create(client, new_id())
    for token in (created.token, created.token, "never was", ""):
        await client.session.DeleteSession(pb.DeleteSessionRequest(token=token), timeout=TIMEOUT)
    assert (await failure_of(get(client, created.token))).reason == "SESSION_NOT_FOUND"
    assert await sessions_of(client, created.session.user_id) == []


async def test_list_pages(client: Stubs) -> None:
    """Pages show a person's sessions newest first, 20 unless asked otherwise, 50 at most."""
    user_id = new_id()
    created = [(await create(client, user_id, data=struct(number=number))).session for number in range(53)]
    assert await sessions_of(client, user_id) == created[:32:-1]
    request = pb.ListSessionsRequest(user_id=user_id, page_size=1000)
    first = await client.session.ListSessions(request, timeout=TIMEOUT)
    request.page_token = first.next_page_token
    second = await client.session.ListSessions(request, timeout=TIMEOUT)
    assert [*first.sessions, *second.sessions] == created[::-1]
    assert (len(first.sessions), second.next_page_token) == (50, "")


async def test_largest_page(client: Stubs) -> None:
    """Fifty sessions of the largest size fit what a client receives."""
    user_id, data = new_id(), struct(x="")
    data["x"] = "x" * (64 * 1024 - data.ByteSize() - 16)
    await asyncio.gather(*(create(client, user_id, data=data) for _ in range(50)))
    listed = await sessions_of(client, user_id, page_size=50)
    assert [session.data.ByteSize() > 65_500 for session in listed] == [True] * 50


async def test_delete_of_user(client: Stubs) -> None:
    """All of a person's sessions end at once, and nobody else's."""
    user_id, other = new_id(), await create(client, new_id())
    tokens = [(await create(client, user_id)).token for _ in range(3)]
    request = pb.DeleteUserSessionsRequest(user_id=user_id)
    assert (await client.session.DeleteUserSessions(request, timeout=TIMEOUT)).deleted_count == 3
    assert {(await failure_of(get(client, token))).reason for token in tokens} == {"SESSION_NOT_FOUND"}
    assert (await client.session.DeleteUserSessions(request, timeout=TIMEOUT)).deleted_count == 0
    assert await get(client, other.token) == other.session


async def test_repeated_requests(client: Stubs) -> None:
    """A repeated creation or update gets the first answer, whatever the spelling of its request_id."""
    request = pb.CreateSessionRequest(user_id=new_id(), data=struct(b=1, a=2), request_id=new_id())
    first = await client.session.CreateSession(request, timeout=TIMEOUT)
    request.request_id = request.request_id.upper()
    assert await client.session.CreateSession(request, timeout=TIMEOUT) == first
    assert await sessions_of(client, request.user_id) == [first.session]
    update = pb.UpdateSessionRequest(token=first.token, data=struct(c=3), request_id=new_id())
    answers = [await client.session.UpdateSession(update, timeout=TIMEOUT) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0].session.version == 2
