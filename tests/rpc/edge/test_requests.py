"""Requests that come late or never."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from support.edge import MATCHING, Edge
from support.http2 import DATA, RST_STREAM, Connection, connected, prefixed
from support.limiters import until
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch_server.bootstrap import Application
from wingmanmatch_server.interceptors.chain import Call, service_handler
from wingmanmatch_server.interceptors.requests import MAX_UNTIMED, RequestReader
from wingmanmatch_server.serving import listening
from wingmanmatch_server.system.health import Health

USER = "0d4a4d5e-6b4c-4f57-8f53-6f4b1f1c9d11"
REQUEST = matching_service_pb2.GetProfileRequest(user_id=USER).SerializeToString()
LINK = matching_service_pb2.ResolveShareLinkRequest(token="x" * 40).SerializeToString()
GET, WATCH = f"/{MATCHING.full_name}/GetProfile", f"/{MATCHING.full_name}/WatchMatches"
RESOLVE = f"/{MATCHING.full_name}/ResolveShareLink"  # open to callers without a credential
CANCEL = (8).to_bytes(4)
TOO_LATE = str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])


class Profiles:
    """Answers once `meanwhile` has happened."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], None] = lambda: None

    async def get_profile(self, _request: Any, _call: Call) -> matching_service_pb2.GetProfileResponse:
        """Answer."""
        self.meanwhile()
        return matching_service_pb2.GetProfileResponse()

    async def resolve_share_link(self, _request: Any, _call: Call) -> matching_service_pb2.ResolveShareLinkResponse:
        """Answer."""
        self.meanwhile()
        return matching_service_pb2.ResolveShareLinkResponse()


class Scene:
    """A connection to a server whose reader has a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reader = RequestReader(lambda: self.now)
        self.edge = Edge()
        self.profiles = Profiles()
        self.address = ""
        self.connection: Connection

    async def waits(self, count: int) -> None:
        """Return once so many requests are waited for."""
        await until(lambda: self.reader.waiting == count)

    def room(self) -> bool:
        """Let the time pass after which the reader looks for calls that ended; tell whether there is room again."""
        self.now += 5
        return self.reader.has_room()

    def after(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.reader.end_overdue()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """A server, and a connection to it."""
    scene = Scene()
    handler = service_handler(MATCHING, scene.profiles, scene.edge.interceptors(), scene.reader)
    application = Application([handler], Health(()), scene.edge.registry)
    async with listening(application, "127.0.0.1:0") as (_, port):
        scene.address = f"127.0.0.1:{port}"
        async with connected(scene.address) as scene.connection:
            await scene.connection.ping()
            yield scene


async def test_a_request_that_does_not_come_ends_its_call(scene: Scene) -> None:
    """It is waited for 15 s, then answered, logged and counted like any call."""
    stream = scene.connection.open(RESOLVE)
    await scene.waits(1)
    scene.after(14.9)
    await scene.connection.ping()
    assert scene.reader.waiting == 1
    scene.after(0.1)
    status = await scene.connection.status(stream)
    assert (status["grpc-status"], scene.reader.waiting) == (TOO_LATE, 0)
    assert "no request came within 15 s" in status["grpc-message"]
    await until(lambda: scene.edge.handled("ResolveShareLink", "DEADLINE_EXCEEDED") == 1)
    assert len(scene.edge.log_lines()) == 1


async def test_a_request_that_never_ends_ends_its_call(scene: Scene) -> None:
    """A message of which a part came is waited for no longer than one of which nothing came."""
    stream = scene.connection.open(RESOLVE)
    scene.connection.send(DATA, 0, stream, prefixed(bytes(600), declared=1 << 20))
    await scene.waits(1)
    scene.after(15)
    assert (await scene.connection.status(stream))["grpc-status"] == TOO_LATE


@pytest.mark.parametrize("path", [GET, WATCH])
async def test_known_callers_hold_so_many_streams_and_no_more(scene: Scene, path: str) -> None:
    """Of 300 calls that send no request 256 last as long as their connections; the others end like anybody's.

    Calls with a request are served meanwhile, and once the connections are gone there is room again.
    """
    async with AsyncExitStack() as stack:
        for _ in range(3):
            connection = await stack.enter_async_context(connected(scene.address))
            await connection.ping()
            for _ in range(100):
                connection.open(path)
        await scene.waits(300 - MAX_UNTIMED)
        served = scene.connection.call(GET, REQUEST)
        assert (await scene.connection.status(served))["grpc-status"] == "0"
        scene.after(15)
        await scene.waits(0)
        method = path.rpartition("/")[2]
        await until(lambda: scene.edge.handled(method, "DEADLINE_EXCEEDED") == 300 - MAX_UNTIMED)
    await until(scene.room)


async def test_only_the_late_are_ended(scene: Scene) -> None:
    """A call that began later has its own time, and is served when its request comes."""
    late = scene.connection.open(RESOLVE)
    await scene.waits(1)
    scene.after(10)
    in_time = scene.connection.open(RESOLVE)
    await scene.waits(2)
    scene.after(5)
    assert (await scene.connection.status(late))["grpc-status"] == TOO_LATE
    scene.connection.send(DATA, 1, in_time, prefixed(LINK))
    assert (await scene.connection.status(in_time))["grpc-status"] == "0"
    assert scene.reader.waiting == 0


async def test_a_call_taken_back_is_not_waited_for(scene: Scene) -> None:
    """A client that cancels before its request has come leaves nothing behind."""
    stream = scene.connection.open(RESOLVE)
    await scene.waits(1)
    scene.connection.send(RST_STREAM, 0, stream, CANCEL)
    await scene.waits(0)


async def test_a_call_without_a_request_is_answered(scene: Scene) -> None:
    """A client that says that it has sent all, and has sent nothing, is told so."""
    status = await scene.connection.status(scene.connection.open(RESOLVE, end=True))
    assert status["grpc-status"] == str(grpc.StatusCode.INVALID_ARGUMENT.value[0])


async def test_a_call_that_is_served_has_its_own_time(scene: Scene) -> None:
    """Once the request is there its call is not ended, however long it takes."""
    scene.profiles.meanwhile = lambda: scene.after(100)
    for path, request, now in ((GET, REQUEST, 100), (RESOLVE, LINK, 200)):
        status = await scene.connection.status(scene.connection.call(path, request))
        assert (status["grpc-status"], scene.now) == ("0", now)
