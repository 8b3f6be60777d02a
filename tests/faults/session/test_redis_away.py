"""Sessions while Redis is killed, stopped or answers into the void, and once it is back."""

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from google.rpc import error_details_pb2

from support.databases import fresh_database
from support.edge import Failure, failure_of
from support.lateness import stopwatch
from support.redis_proxy import RedisProxy, proxying
from support.requests import join
from support.server import serving_application
from support.sessions import HOUR, create_store
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch.session.v1 import session_service_pb2 as pb
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.redis import open_redis

T = TypeVar("T")

USER = str(uuid.UUID(int=1))
AT_ONCE = 0.1  # seconds
GIVEN_UP = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedEngines]:
    """A Valkey of the test's own."""
    engines = EmbeddedEngines(tmp_path / "data", postgres=False)
    engines.start()
    engines.wait()
    yield engines
    engines.stop()


@pytest.fixture
async def client(admin_dsn: str, valkey: EmbeddedEngines, tmp_path: Path) -> AsyncIterator[Stubs]:
    """A client of a server on that Valkey."""
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_application(dsn, valkey.redis_url, tmp_path / "server") as client,
    ):
        yield client


async def create(client: Stubs) -> str:
    """Open a session and return its token."""
    return (await client.session.CreateSession(pb.CreateSessionRequest(user_id=USER), timeout=5)).token


async def get(client: Stubs, token: str, patience: float = 5) -> str:
    """Return the id of the session of a token."""
    return (await client.session.GetSession(pb.GetSessionRequest(token=token), timeout=patience)).session.id


async def until_open(client: Stubs, token: str, patience: float = 5) -> None:
    """Call until the breaker answers for Redis."""
    async with asyncio.timeout(20):
        while True:
            failure = await failure_of(get(client, token, patience))
            if failure.code is grpc.StatusCode.UNAVAILABLE and failure.reason == "CIRCUIT_OPEN":
                return


async def refused_at_once(client: Stubs, token: str) -> list[Failure]:
    """Return how each method fails that needs Redis; none may take longer than an instant."""
    session, failures = client.session, []
    requests = (
        (session.GetSession, pb.GetSessionRequest(token=token)),
        (session.UpdateSession, pb.UpdateSessionRequest(token=token)),
        (session.TouchSession, pb.TouchSessionRequest(token=token)),
        (session.DeleteSession, pb.DeleteSessionRequest(token=token)),
        (session.ListSessions, pb.ListSessionsRequest(user_id=USER)),
        (session.DeleteUserSessions, pb.DeleteUserSessionsRequest(user_id=USER)),
        (session.CreateSession, pb.CreateSessionRequest(user_id=USER)),
    )
    async with stopwatch() as watch:
        for method, request in requests:
            started = watch.now()
            failures.append(await failure_of(method(request, timeout=5)))
            assert watch.now() - started < AT_ONCE
    return failures


def assert_away(failures: list[Failure]) -> None:
    """Check that each failure says that Redis is away, and when to come back."""
    for failure in failures:
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "CIRCUIT_OPEN")
        assert failure.metadata == {"dependency": "redis"}
        assert 0 < failure.detail(error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds() <= 1


async def until_back(client: Stubs, token: str) -> str:
    """Call until Redis answers again; return the id of the session."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await get(client, token)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.05)


async def profile_works(client: Stubs) -> None:
    """Check that what needs no Redis is not in the way of its absence."""
    user_id = (await join(client)).user_id
    async with stopwatch() as watch:
        started = watch.now()
        await client.matching.GetProfile(matching_service_pb2.GetProfileRequest(user_id=user_id), timeout=5)
        assert watch.now() - started < 5 * AT_ONCE


async def test_killed(client: Stubs, valkey: EmbeddedEngines) -> None:
    """While Redis is gone sessions are refused at once, the rest goes on, and a restart brings the sessions back."""
    token = await create(client)
    session_id = await get(client, token)
    await asyncio.sleep(1.1)  # a kill loses the last second
    os.kill(valkey.pids["Valkey"], signal.SIGKILL)
    first = await failure_of(get(client, token))
    assert (first.code, first.reason) == (grpc.StatusCode.UNAVAILABLE, "REDIS_UNAVAILABLE")
    assert first.detail(error_details_pb2.RetryInfo).retry_delay.seconds == 1
    await until_open(client, token)
    assert_away(await refused_at_once(client, token))
    await profile_works(client)
    valkey.stop()
    valkey.start()
    valkey.wait()
    assert await until_back(client, token) == session_id


@pytest.mark.parametrize("patience", [1.5, 0.5])
async def test_stopped(client: Stubs, valkey: EmbeddedEngines, patience: float) -> None:
    """A Redis that takes calls and answers none is found out, refused at once, and used again when it goes on.

    The callers' deadlines pass before the server has waited for as long as it would: the probe confirms what they mean.
    """
    token = await create(client)
    session_id = await get(client, token)
    os.kill(valkey.pids["Valkey"], signal.SIGSTOP)
    try:
        calls = [asyncio.create_task(failure_of(get(client, token, patience))) for _ in range(30)]
        await profile_works(client)
        assert {failure.code for failure in await asyncio.gather(*calls)} <= GIVEN_UP
        await until_open(client, token, patience)
        assert_away(await refused_at_once(client, token))
        await profile_works(client)
    finally:
        os.kill(valkey.pids["Valkey"], signal.SIGCONT)
    assert await until_back(client, token) == session_id


async def test_unknown_outcome_is_not_repeated(valkey: EmbeddedEngines, tmp_path: Path) -> None:
    """A mutation without request_id whose answer is lost is sent once; the caller is told that it may have happened."""
    async with proxying(valkey.redis_url, tmp_path) as proxy, open_redis(proxy.url, seconds=1) as redis:
        store = create_store(redis)
        _, token = await store.create(USER, b"1", ttl=HOUR)
        await store.update(token, b"2")
        sent = proxy.count(b"EVALSHA")
        with pytest.raises(errors.Unavailable):
            await without_answer(proxy, b"EVALSHA", store.update(token, b"3"))
        assert proxy.count(b"EVALSHA") == sent + 1
        assert (await store.get(token)).version == 3


async def test_request_id_is_repeated(valkey: EmbeddedEngines, tmp_path: Path) -> None:
    """A mutation with a request_id whose answer is lost is sent again, and answers for its one effect."""
    async with proxying(valkey.redis_url, tmp_path) as proxy, open_redis(proxy.url, seconds=1) as redis:
        store, request_id = create_store(redis), str(uuid.uuid4())
        _, token = await store.create(USER, b"1", ttl=HOUR)
        await store.update(token, b"2")
        sent = proxy.count(b"EVALSHA")
        updated = await without_answer(proxy, b"EVALSHA", store.update(token, b"3", request_id=request_id))
        assert proxy.count(b"EVALSHA") == sent + 2
        assert (updated.version, (await store.get(token)).version) == (3, 3)


async def test_read_is_repeated(valkey: EmbeddedEngines, tmp_path: Path) -> None:
    """A read whose connection breaks is answered over another."""
    async with proxying(valkey.redis_url, tmp_path) as proxy, open_redis(proxy.url, seconds=1) as redis:
        store = create_store(redis)
        session, token = await store.create(USER, b"1", ttl=HOUR)
        assert await store.get(token) == session  # connects
        assert await without_answer(proxy, b"HMGET", store.get(token)) == session
        assert proxy.count(b"HMGET") == 3


async def without_answer(proxy: RedisProxy, command: bytes, call: Coroutine[Any, Any, T]) -> T:
    """Return what becomes of a call whose first answer is lost, with the connections."""
    sent, lost = proxy.count(command), proxy.lost
    proxy.replies_lost = True
    task = asyncio.create_task(call)
    async with asyncio.timeout(10):
        while proxy.count(command) == sent or proxy.lost == lost:
            await asyncio.sleep(0.001)
    proxy.replies_lost = False
    proxy.cut()
    return await task


async def test_waiting_in_line(valkey: EmbeddedEngines) -> None:
    """However many callers never pause, each gets its turn: nobody takes a full pool for an absent server."""
    async with open_redis(valkey.redis_url) as redis:
        store, counts = create_store(redis), [0] * 60
        _, token = await store.create(USER, b"1", ttl=HOUR)
        end = time.monotonic() + 1.5  # longer than anybody waits for a connection

        async def read(caller: int) -> None:
            while time.monotonic() < end:
                await store.get(token)
                counts[caller] += 1

        await asyncio.gather(*(read(caller) for caller in range(len(counts))))
        assert min(counts) > max(counts) / 2
