"""Each of gRPC's own limits, by what it does: a name that gRPC does not know would do nothing, silently."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from support.edge import MATCHING, Edge
from support.http2 import (
    DATA,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    MAX_CONCURRENT_STREAMS,
    PING,
    REFUSED_STREAM,
    SETTINGS,
    connected,
    prefixed,
    setting,
)
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch_server.bootstrap import Application
from wingmanmatch_server.connections import KIB, ConnectionLimits
from wingmanmatch_server.interceptors.chain import service_handler
from wingmanmatch_server.serving import AddressInUse, listening
from wingmanmatch_server.system.health import Health

PATH = f"/{MATCHING.full_name}/GetProfile"
USER = "0d4a4d5e-6b4c-4f57-8f53-6f4b1f1c9d11"
REQUEST = matching_service_pb2.GetProfileRequest(user_id=USER).SerializeToString()
EXHAUSTED = str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])


class Profiles:
    """Answers with a text of `size` letters; `waits` until it may."""

    def __init__(self) -> None:
        self.size = 1
        self.calls = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def get_profile(self, _request: Any, _call: Any) -> matching_service_pb2.GetProfileResponse:
        """Answer."""
        self.calls += 1
        await self.may_answer.wait()
        return matching_service_pb2.GetProfileResponse(profile=matching_pb2.Profile(bio="x" * self.size))


@asynccontextmanager
async def serving(profiles: Profiles, **limits: Any) -> AsyncIterator[str]:
    """Serve with some limits smaller than the server's and yield the address."""
    handler = service_handler(MATCHING, profiles, Edge().interceptors())
    application = Application([handler], Health(()), CollectorRegistry())
    async with listening(application, "127.0.0.1:0", limits=ConnectionLimits(**limits)) as (_, port):
        yield f"127.0.0.1:{port}"


async def get(address: str, request: bytes = REQUEST, **options: Any) -> grpc.StatusCode:
    """Call as a client does, on a connection of its own, and return the status."""
    # Local, or gRPC would go on using an earlier connection; unlimited, so that the server decides.
    arguments = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    arguments += [("grpc.absolute_max_metadata_size", 1 << 20), ("grpc.max_metadata_size", 1 << 20)]
    async with grpc.aio.insecure_channel(address, options=arguments) as channel:
        try:
            await channel.unary_unary(PATH)(request, timeout=20, **options)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def test_port_is_not_shared() -> None:
    """A second server on the port is an error, not a silent half of the connections."""
    async with serving(Profiles()) as address:
        application = Application([], Health(()), CollectorRegistry())
        with pytest.raises(AddressInUse):
            async with listening(application, address):
                pass


async def test_streams_of_a_connection_are_counted() -> None:
    """The limit is announced; who opens more all the same is refused them, and others are served meanwhile."""
    async with serving(profiles := Profiles()) as address, connected(address) as connection:
        announced = await connection.until(lambda got: got.type == SETTINGS and not got.flags)
        assert setting(MAX_CONCURRENT_STREAMS, 100) in announced.payload
        await connection.ping()
        streams = [connection.open(PATH) for _ in range(150)]
        refused = [int((await connection.status(stream))["reset"]) for stream in streams[100:]]
        assert set(refused) <= {REFUSED_STREAM, ENHANCE_YOUR_CALM}
        assert profiles.calls == 0
        assert await get(address) is grpc.StatusCode.OK
        # Those within the limit are served once their requests come.
        connection.send(DATA, 1, streams[0], prefixed(REQUEST))
        assert (await connection.status(streams[0]))["grpc-status"] == "0"


async def test_client_with_more_calls_than_streams_is_served() -> None:
    """A client that knows the protocol keeps calls back while its connection is full, and none fails."""
    async with (
        serving(profiles := Profiles(), max_streams=20) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        call = channel.unary_unary(PATH)
        for _ in range(5):
            await asyncio.gather(*(call(REQUEST, timeout=20) for _ in range(300)))
    assert profiles.calls == 5 * 300


async def test_large_request_is_refused_by_its_length() -> None:
    """A request above the limit never reaches the method, and one that only claims to be large is not waited for."""
    async with serving(profiles := Profiles()) as address, connected(address) as connection:
        assert await get(address, REQUEST + bytes(1024 * KIB)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        for declared in (1024 * KIB + 1, 0xFFFFFFFF):
            stream = connection.open(PATH)
            connection.send(DATA, 0, stream, prefixed(b"", declared=declared))
            assert (await connection.status(stream))["grpc-status"] == EXHAUSTED
    assert profiles.calls == 0


async def test_large_response_is_refused_by_the_server() -> None:
    """A response that clients would not take is an error here, and the next call is answered."""
    async with serving(profiles := Profiles()) as address:
        profiles.size = 4096 * KIB + 1
        assert await get(address) is grpc.StatusCode.RESOURCE_EXHAUSTED
        profiles.size = 1024 * KIB
        assert await get(address) is grpc.StatusCode.OK


@pytest.mark.parametrize(("size", "code"), [(7, "OK"), (17, "RESOURCE_EXHAUSTED"), (150, "RESOURCE_EXHAUSTED")])
async def test_large_metadata(size: int, code: str) -> None:
    """Headers above the hard limit are refused before the method, those below the soft one never."""
    async with serving(profiles := Profiles()) as address:
        outcomes = {await get(address, metadata=[("x-large", "x" * (size * KIB))]) for _ in range(5)}
    assert {outcome.name for outcome in outcomes} == {code}
    assert (profiles.calls == 0) == (code != "OK")


async def test_silent_sockets_are_closed() -> None:
    """Who connects and says nothing, or only the beginning of a greeting, byte by byte, is not waited for."""
    async with (
        serving(Profiles()) as address,
        connected(address, greet=False) as silent,
        connected(address, greet=False) as slow,
    ):
        slow.writer.write(b"PRI * HT")
        await silent.ended()
        await slow.ended()
        assert await get(address) is grpc.StatusCode.OK


async def test_idle_connections_are_closed() -> None:
    """A connection without calls is told to go after its time, however often it pings."""
    async with serving(Profiles(), max_idle=0.3) as address, connected(address) as connection:
        assert (await connection.status(connection.call(PATH, REQUEST)))["grpc-status"] == "0"
        assert GOAWAY in {frame.type for frame in await connection.ended()}


async def test_call_outlives_its_connections_age_but_not_the_grace() -> None:
    """A connection past its age ends as soon as its calls do; a call that takes longer than the grace is cut."""
    for grace, code in ((20.0, grpc.StatusCode.OK), (0.2, grpc.StatusCode.UNAVAILABLE)):
        async with serving(profiles := Profiles(), max_age=0.2, age_grace=grace) as address:
            profiles.may_answer.clear()
            asyncio.get_running_loop().call_later(1.0, profiles.may_answer.set)
            assert await get(address) is code


@pytest.mark.parametrize("part", [b"", prefixed(REQUEST)[:-3]])
async def test_call_without_its_request_is_cut_with_its_connection(part: bytes) -> None:
    """A unary call that ends before its request, which gRPC never answers, lives no longer than its connection may."""
    async with serving(profiles := Profiles(), max_age=0.2, age_grace=0.2) as address, connected(address) as connection:
        stream = connection.open(PATH, end=not part)
        if part:
            connection.send(DATA, 1, stream, part)
        frames = await connection.ended()
    assert profiles.calls == 0
    assert not [frame for frame in frames if frame.type == DATA and frame.stream == stream]


async def test_client_that_vanished_is_noticed() -> None:
    """Who does not answer a keepalive ping is gone, and its call is cancelled."""
    limits = {"keepalive_time": 0.2, "keepalive_timeout": 0.2}
    async with serving(profiles := Profiles(), **limits) as address, connected(address) as connection:
        profiles.may_answer.clear()
        connection.call(PATH, REQUEST)
        await connection.until(lambda got: got.type == PING and not got.flags)
        connection.answers = False
        await connection.ended()
    assert profiles.calls == 1


@pytest.mark.slow
async def test_client_may_ping_at_the_allowed_pace_and_no_faster() -> None:
    """Pings without calls are welcome at the allowed interval; a flood of them ends the connection."""
    async with serving(Profiles()) as address, connected(address) as connection:
        for _ in range(5):
            await connection.ping()
            await asyncio.sleep(ConnectionLimits().min_ping_interval + 0.2)
        assert GOAWAY not in {frame.type for frame in connection.received}
        for _ in range(20):
            connection.send(PING, 0, 0, b"too fast")
        for goaway in (frame for frame in await connection.ended() if frame.type == GOAWAY):
            # It does not always arrive: what was not read of the flood resets the connection.
            assert int.from_bytes(goaway.payload[4:8]) == ENHANCE_YOUR_CALM
            assert b"too_many_pings" in goaway.payload


async def test_connections_are_counted() -> None:
    """Beyond so many connections a new one is closed at once, and has its place when another ends."""
    async with serving(Profiles(), max_connections=3) as address:
        async with connected(address) as one, connected(address) as two, connected(address) as three:
            for each in (one, two, three):
                await each.ping()
            async with connected(address) as refused:
                await refused.ended()
        async with asyncio.timeout(20):  # until the server has noticed that they are gone
            while await get(address) is not grpc.StatusCode.OK:
                pass


async def test_client_that_never_acknowledges_settings() -> None:
    """Who does not acknowledge SETTINGS, and so is held to no limit of metadata, is sent away after a moment."""
    async with serving(Profiles()) as address, connected(address, answers=False) as connection:
        connection.call(PATH, REQUEST, headers=[(f"x-large-{number}", "x" * KIB) for number in range(150)])
        goaway = await connection.until(lambda got: got.type == GOAWAY)
        assert b"settings_timeout" in goaway.payload
        await connection.ended()
        assert await get(address) is grpc.StatusCode.OK
