"""Bytes that no client of ours would send, at the port of a real server: answered or cut off, and harmless."""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from support.edge import MATCHING, Edge, Failure, failure_of
from support.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    call_headers,
    connected,
    frame,
    prefixed,
)
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch_server.bootstrap import Application
from wingmanmatch_server.interceptors.chain import service_handler
from wingmanmatch_server.serving import listening
from wingmanmatch_server.system.health import Health

PATH = f"/{MATCHING.full_name}/GetProfile"
USER = "0d4a4d5e-6b4c-4f57-8f53-6f4b1f1c9d11"
REQUEST = matching_service_pb2.GetProfileRequest(user_id=USER).SerializeToString()
INVALID, INTERNAL = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL
# grpcio drops a message with an unknown flag without a word if it has read the call's headers before: what ends such a
# call is the caller's deadline.
DROPPED = {INTERNAL, INVALID, grpc.StatusCode.DEADLINE_EXCEEDED}


class Profiles:
    """Answers, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    async def get_profile(self, _request: Any, _call: Any) -> matching_service_pb2.GetProfileResponse:
        """Answer."""
        self.calls += 1
        return matching_service_pb2.GetProfileResponse()


@pytest.fixture
def profiles() -> Profiles:
    """What is served."""
    return Profiles()


@pytest.fixture
async def address(profiles: Profiles) -> AsyncIterator[str]:
    """A server that must answer an honest call when the test is over."""
    handler = service_handler(MATCHING, profiles, Edge().interceptors())
    application = Application([handler], Health(()), CollectorRegistry())
    async with listening(application, "127.0.0.1:0") as (_, port):
        address = f"127.0.0.1:{port}"
        yield address
        async with grpc.aio.insecure_channel(address) as channel:
            await channel.unary_unary(PATH)(REQUEST, timeout=20)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ssl.PROTOCOL_TLS_CLIENT.to_bytes(1) + b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        random.Random(7).randbytes(4096),
        b"\x00" * 4096,
        PREFACE[:-1] + b"X",
    ],
    ids=["http1", "tls", "random", "zeros", "preface"],
)
async def test_other_protocols_are_cut_off(address: str, data: bytes) -> None:
    """What is not HTTP/2 ends its connection."""
    async with connected(address, greet=False) as connection:
        connection.writer.write(data)
        await connection.ended()


# Name → frames after the greeting that end the connection.
FATAL = {
    "frame above the announced size": (0xFFFFFF).to_bytes(3) + bytes((0, 0, 0, 0, 0, 1)),
    "settings of five bytes": frame(SETTINGS, 0, 0, b"12345"),
    "settings on a stream": frame(SETTINGS, 0, 1, b""),
    "acknowledgement with content": frame(SETTINGS, 1, 0, b"123456"),
    "continuation of nothing": frame(CONTINUATION, END_HEADERS, 1, b""),
    "headers that are not continued": frame(HEADERS, 0, 1, b"") + frame(DATA, 0, 1, b""),
    "window of nothing": frame(WINDOW_UPDATE, 0, 0, bytes(4)),
    "ping of seven bytes": frame(6, 0, 0, b"1234567"),
}


@pytest.mark.parametrize("name", FATAL)
async def test_broken_frames_end_their_connection(address: str, name: str) -> None:
    """A frame that HTTP/2 does not allow costs its sender the connection."""
    async with connected(address) as connection:
        await connection.ping()
        connection.writer.write(FATAL[name])
        await connection.ended()


@pytest.mark.parametrize("garbage", [b"\xff" * 40, b"\x80", b"\x7f" + b"\xff" * 20, b"\x00\x7f" * 30])
async def test_broken_header_compression_reaches_no_method(address: str, profiles: Profiles, garbage: bytes) -> None:
    """Headers that cannot be read are an error of their stream or their connection."""
    async with connected(address) as connection:
        connection.send(HEADERS, END_HEADERS, 1, garbage)
        connection.send(DATA, 1, 1, prefixed(REQUEST))
        await connection.until(lambda got: got.stream == 1 or got.type == GOAWAY)
    assert profiles.calls == 0


async def test_frames_without_meaning_are_ignored(address: str) -> None:
    """An unknown type of frame does not disturb the calls beside it."""
    async with connected(address) as connection:
        connection.send(0xBE, 0xFF, 0, b"whatever")
        assert (await connection.status(connection.call(PATH, REQUEST)))["grpc-status"] == "0"


@pytest.mark.parametrize(
    ("body", "headers", "statuses"),
    [
        (prefixed(REQUEST, compressed=1), [], {INTERNAL}),
        (prefixed(b"not gzip", compressed=1), [("grpc-encoding", "gzip")], {INTERNAL}),
        (prefixed(REQUEST, compressed=1), [("grpc-encoding", "brotli")], {INTERNAL, grpc.StatusCode.UNIMPLEMENTED}),
        (prefixed(REQUEST, compressed=7), [("grpc-timeout", "2S")], DROPPED),
        (prefixed(REQUEST), [("trace-bin", "!!!")], {INTERNAL}),
        (prefixed(REQUEST), [("grpc-timeout", "soon")], {INTERNAL}),
    ],
    ids=["compressed", "gzip", "brotli", "flag", "base64", "timeout"],
)
async def test_broken_calls_are_errors(
    address: str, profiles: Profiles, body: bytes, headers: list[tuple[str, str]], statuses: set[grpc.StatusCode]
) -> None:
    """What is wrong between HTTP/2 and the message ends the call, and reaches no method."""
    async with connected(address) as connection:
        stream = connection.open(PATH, headers=headers)
        connection.send(DATA, 1, stream, body)
        ended = await connection.status(stream)
        assert "reset" in ended or int(ended["grpc-status"]) in {status.value[0] for status in statuses}
    assert profiles.calls == 0


@pytest.mark.parametrize("name", [":method", ":path", "te"])
async def test_requests_that_are_not_of_grpc(address: str, profiles: Profiles, name: str) -> None:
    """GET, or headers that lack what gRPC needs, are refused on their stream."""
    headers = [pair for pair in call_headers(PATH) if pair[0] != name]
    if name == ":method":
        headers.insert(0, (":method", "GET"))
    async with connected(address) as connection:
        ended = await connection.status(connection.request(headers))
    assert "reset" in ended or ended.get("grpc-status") != "0"
    assert profiles.calls == 0


async def test_bodies_of_random_bytes(address: str) -> None:
    """Each of three thousand broken bodies is INVALID_ARGUMENT, in words that say nothing of the server's inside."""
    chance = random.Random(20261125)

    async def failure_of_body(call: Any, body: bytes) -> Failure:
        return await failure_of(call(body, timeout=20))

    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(PATH)
        failures = []
        for _ in range(60):
            bodies = [spoilt(REQUEST, chance) for _ in range(50)]
            failures += await asyncio.gather(*(failure_of_body(call, body) for body in bodies))
    assert {failure.code for failure in failures} == {INVALID}
    assert {failure.reason for failure in failures} == {"REQUEST_UNDECODABLE", "FIELD_INVALID"}
    assert not [failure for failure in failures if "Error" in failure.message or "wingmanmatch" in failure.message]


def spoilt(message: bytes, chance: random.Random) -> bytes:
    """Return the message with its first bytes, and some others, replaced, or cut short."""
    body = bytearray(message)
    for place in (chance.randrange(3), *(chance.randrange(len(body)) for _ in range(chance.randint(0, 8)))):
        body[place] ^= chance.randint(1, 255)
    return bytes(body[: chance.randint(2, len(body))])


async def test_unknown_methods(address: str) -> None:
    """A method or a service that is not there is UNIMPLEMENTED."""
    async with grpc.aio.insecure_channel(address) as channel:
        for path in (f"/{MATCHING.full_name}/Nothing", "/no.Service/GetProfile", "/", "//"):
            failure = await failure_of(channel.unary_unary(path)(REQUEST, timeout=20))
            assert failure.code is grpc.StatusCode.UNIMPLEMENTED


async def test_gzip_bomb(address: str, profiles: Profiles) -> None:
    """A request of 20 KB that unfolds to 20 MB is as large as what it unfolds to."""
    async with grpc.aio.insecure_channel(address, compression=grpc.Compression.Gzip) as channel:
        bomb = REQUEST + b"\x00" * 20_000_000
        failure = await failure_of(channel.unary_unary(PATH)(bomb, timeout=20))
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert profiles.calls == 0


async def test_deadline_that_passed_has_no_effect(address: str, profiles: Profiles) -> None:
    """A call whose deadline is over before the server comes to it is not begun."""
    async with connected(address) as connection:
        await connection.ping()
        for _ in range(10):
            stream = connection.call(PATH, REQUEST, headers=[("grpc-timeout", "5m")])
            time.sleep(0.02)  # noqa: ASYNC251 - the loop comes to it when the deadline is over
            ended = await connection.status(stream)
            assert "reset" in ended or ended["grpc-status"] == str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
    assert profiles.calls == 0
