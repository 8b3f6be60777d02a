"""DeleteProfile and ExportProfile over the wire, with what lies in Redis."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from support.databases import fresh_database
from support.edge import failure_of
from support.requests import TIMEOUT, invite, join, join_pair
from support.server import roomy_limits, serving_application
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch.session.v1 import session_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.redis import RedisServer, open_redis


@pytest.fixture(scope="module")
def redis_url(engines: EmbeddedEngines) -> str:
    """A database of Redis that holds nothing but what these tests put there."""
    return f"{engines.redis_url}?db=11"


@pytest.fixture(scope="module")
async def redis(redis_url: str) -> AsyncIterator[RedisServer]:
    """The same database, to look inside."""
    async with open_redis(redis_url) as redis:
        await redis.client.flushdb()
        yield redis


@pytest.fixture(scope="module")
async def client(admin_dsn: str, redis_url: str, data_dir: Path, transport: str) -> AsyncIterator[Stubs]:
    """A client of a server that these tests share; each runs once for each transport."""
    options: dict[str, Any] = {"transport": transport, "rate_limits_file": roomy_limits(data_dir)}
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_application(dsn, redis_url, data_dir, **options) as client,
    ):
        yield client


async def delete(client: Stubs, user_id: str, request_id: str = "") -> None:
    """Erase a person."""
    request = matching_service_pb2.DeleteProfileRequest(user_id=user_id, request_id=request_id)
    await client.matching.DeleteProfile(request, timeout=TIMEOUT)


async def open_session(client: Stubs, user_id: str) -> str:
    """Open a session and return its token."""
    request = session_service_pb2.CreateSessionRequest(user_id=user_id)
    request.data.update({"theme": "dark", "steps": [1, 2]})
    token: str = (await client.session.CreateSession(request, timeout=TIMEOUT)).token
    return token


async def export(client: Stubs, user_id: str) -> list[tuple[int, dict[str, Any]]]:
    """Return the records about a person."""
    request = matching_service_pb2.ExportProfileRequest(user_id=user_id)
    call = client.matching.ExportProfile(request, timeout=TIMEOUT)
    return [(response.kind, MessageToDict(response.record)) async for response in call]


async def test_erased_person_is_nowhere(client: Stubs, redis: RedisServer) -> None:
    """Profile, sessions and rate limits are gone from the database and from Redis; a repetition succeeds."""
    me, friend = await join_pair(client)
    token = await open_session(client, me)
    match = await invite(client, me, friend)
    assert await keys_about(redis, me)
    request_id = "7b2f0c5e-52a8-4d0b-9a53-8d6d9ef0a00a"
    await delete(client, me.upper(), request_id)
    await delete(client, me, request_id)
    for call in (
        client.matching.GetProfile(matching_service_pb2.GetProfileRequest(user_id=me), timeout=TIMEOUT),
        client.matching.DeleteProfile(matching_service_pb2.DeleteProfileRequest(user_id=me), timeout=TIMEOUT),
    ):
        assert (await failure_of(call)).reason == "PROFILE_NOT_FOUND"
    session = session_service_pb2.GetSessionRequest(token=token)
    assert (await failure_of(client.session.GetSession(session, timeout=TIMEOUT))).reason == "SESSION_NOT_FOUND"
    # Those calls were charged anew.
    assert {key.split(b":")[0] for key in await keys_about(redis, me)} <= {b"rl"}
    seen = matching_service_pb2.GetMatchRequest(match_id=match.id, user_id=friend)
    left = (await client.matching.GetMatch(seen, timeout=TIMEOUT)).match
    assert (left.requester_id, left.state) == (
        "00000000-0000-0000-0000-000000000000",
        matching_pb2.MATCH_STATE_CANCELLED,
    )


async def keys_about(redis: RedisServer, user_id: str) -> list[bytes]:
    """Return the keys of Redis that name a person or hold their id."""
    found = []
    for key in await redis.client.keys("*"):
        kind = await redis.client.type(key)
        held = await redis.client.hgetall(key) if kind == b"hash" else None
        if user_id.encode() in key or (held and user_id.encode() in held.values()):
            found.append(key)
    return found


async def test_rate_limits_are_forgotten(client: Stubs, redis: RedisServer) -> None:
    """Right after the erasure no bucket of the person is left, and others' are."""
    me, friend = await join_pair(client)
    await delete(client, me)
    assert await keys_about(redis, me) == []
    assert await keys_about(redis, friend)


async def test_erased_persons_stream_ends(client: Stubs) -> None:
    """Who watches when they are erased is told that there is no such person; the friend sees the match end."""
    me, friend = await join_pair(client)
    await invite(client, friend, me)
    calls = [
        client.matching.WatchMatches(matching_service_pb2.WatchMatchesRequest(user_id=user_id), timeout=TIMEOUT)
        for user_id in (me, friend)
    ]
    for call in calls:
        await call.read()
    await delete(client, me)
    async with asyncio.timeout(TIMEOUT):
        assert (await next_event(calls[1])).kind == matching_pb2.MATCH_EVENT_KIND_CANCELLED
        failure = await failure_of(next_event(calls[0]))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "PROFILE_NOT_FOUND")
    calls[1].cancel()


async def next_event(call: Any) -> matching_pb2.MatchEvent:
    """Return the next event of a stream; heartbeats may come at any time."""
    while not (response := await call.read()).HasField("event"):
        pass
    event: matching_pb2.MatchEvent = response.event
    return event


async def test_export_is_all_of_it_kind_by_kind(client: Stubs) -> None:
    """The stream has the profile with its place, matches, mails and sessions, in the order of their kinds."""
    sent = await join(client, bio="All about me.")
    friend = await join(client, location=sent.location)
    match = await invite(client, sent.user_id, friend.user_id, message="My own words.")
    await open_session(client, sent.user_id)
    records = await export(client, sent.user_id.upper())
    kinds = [kind for kind, _ in records]
    assert kinds == sorted(kinds)
    by_kind = dict(records)
    profile = by_kind[matching_pb2.EXPORT_RECORD_KIND_PROFILE]
    assert (profile["bio"], profile["email"]) == (sent.bio, sent.email)
    assert profile["location"] == {"latitude": sent.location.latitude, "longitude": sent.location.longitude}
    exported = by_kind[matching_pb2.EXPORT_RECORD_KIND_MATCH]
    assert (exported["id"], exported["message"]) == (match.id, "My own words.")
    session = by_kind[matching_pb2.EXPORT_RECORD_KIND_SESSION]
    assert session["data"] == {"theme": "dark", "steps": [1.0, 2.0]}
    friends = dict(await export(client, friend.user_id))
    assert "message" not in friends[matching_pb2.EXPORT_RECORD_KIND_MATCH]
    assert friends[matching_pb2.EXPORT_RECORD_KIND_NOTIFICATION]["recipient_email"] == friend.email


async def test_nobody_has_no_export(client: Stubs) -> None:
    """A person without a profile is not found."""
    request = matching_service_pb2.ExportProfileRequest(user_id="7b2f0c5e-52a8-4d0b-9a53-8d6d9ef0a00b")
    failure = await failure_of(client.matching.ExportProfile(request, timeout=TIMEOUT).read())
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "PROFILE_NOT_FOUND")
