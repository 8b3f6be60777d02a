"""A server whose log nobody reads."""

import asyncio
import json
import os
import select
import signal
import socket
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from support.served import Served, served, start
from wingmanmatch.matching.v1 import matching_service_pb2, matching_service_pb2_grpc
from wingmanmatch_server.telemetry.log_writer import CAPACITY

LINE = 180  # bytes of an access line as JSON, at least
AT_ONCE = 100
# Whose lines are more than the queue and a pipe hold.
CALLS = ((CAPACITY + 65536) // LINE // AT_ONCE + 5) * AT_ONCE
STOP = 15.0  # seconds: nothing drains and no call is under way
HANDSHAKES = 600  # gRPC would write 200 bytes about each: more than a pipe holds
SOME = 1000  # whose lines are more than a pipe holds


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """A server whose standard error is a pipe that nobody reads."""
    settings = {"LOG_FORMAT": "json", "ENABLE_RATE_LIMITING": "false", "DRAIN_DELAY": "0"}
    started = start(tmp_path, **settings)
    yield started
    started.process.kill()
    started.process.wait()
    for stream in (started.process.stdout, started.process.stderr):
        if stream:
            stream.close()


@asynccontextmanager
async def _stubs(
    address: str,
) -> AsyncIterator[tuple[matching_service_pb2_grpc.MatchingServiceStub, health_pb2_grpc.HealthStub]]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield matching_service_pb2_grpc.MatchingServiceStub(channel), health_pb2_grpc.HealthStub(channel)


async def _call(address: str, calls: int) -> Counter[str]:
    """Make calls that are refused by their arguments, a hundred at a time, and return how they ended."""
    outcomes: Counter[str] = Counter()

    async def one(stub: matching_service_pb2_grpc.MatchingServiceStub) -> None:
        try:
            await stub.GetMatch(matching_service_pb2.GetMatchRequest(match_id="none"), timeout=10)
        except grpc.aio.AioRpcError as error:
            outcomes[error.code().name] += 1

    async with _stubs(address) as (matching, _):
        for _turn in range(0, calls, AT_ONCE):
            await asyncio.gather(*(one(matching) for _ in range(AT_ONCE)))
    return outcomes


async def _is_alive(address: str) -> bool:
    async with _stubs(address) as (_, health):
        answer = await health.Check(health_pb2.HealthCheckRequest(service="liveness"), timeout=5)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _dropped(metrics: str) -> float:
    with urllib.request.urlopen(metrics, timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = (sample for family in families for sample in family.samples)
    return next(sample.value for sample in samples if sample.name == "wingmanmatch_log_lines_dropped_total")


def _read(server: Served, seconds: float) -> list[bytes]:
    """Read the pipe until nothing comes for a while, and return what is between the ends of lines."""
    assert server.process.stderr
    pipe, said = server.process.stderr.fileno(), b""
    while select.select([pipe], [], [], seconds)[0] and (more := os.read(pipe, 1 << 20)):
        said += more
    return said.split(b"\n")


async def test_calls_and_probes_are_answered(server: Served) -> None:
    """More log than the pipe and the queue hold fails no call and no probe; lines beyond are counted and reported."""
    assert _dropped(server.metrics) == 0
    outcomes = await _call(server.grpc, CALLS)
    assert outcomes == {"INVALID_ARGUMENT": CALLS}
    assert await _is_alive(server.grpc)
    assert _dropped(server.metrics) > 0

    *lines, rest = await asyncio.to_thread(_read, server, 2.0)
    assert rest == b""
    events = [json.loads(line) for line in lines]
    dropped = _dropped(server.metrics)
    assert len(lines) * LINE < sum(map(len, lines))
    assert sum(event["event"] == "rpc" for event in events) + dropped == CALLS
    (loss,) = (event for event in events if event["event"] == "log_lines_dropped")
    assert (loss["lines"], loss["level"]) == (dropped, "warning")

    await _call(server.grpc, AT_ONCE)
    *lines, rest = await asyncio.to_thread(_read, server, 2.0)
    assert (len(lines), rest) == (AT_ONCE, b"")
    assert _dropped(server.metrics) == dropped


async def test_stop_does_not_wait_for_the_pipe(server: Served) -> None:
    """SIGTERM ends a server whose log is stuck, with status 0, and the last line in the pipe is whole."""
    await _call(server.grpc, SOME)
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait, STOP) == 0
    assert time.monotonic() - started < STOP
    assert (await asyncio.to_thread(_read, server, 2.0))[-1] == b""


async def test_reader_that_vanished(server: Served) -> None:
    """A pipe that is closed at its other end fails no call; the lines are counted."""
    assert server.process.stderr
    server.process.stderr.close()
    assert await _call(server.grpc, AT_ONCE) == {"INVALID_ARGUMENT": AT_ONCE}
    async with asyncio.timeout(10):
        while _dropped(server.metrics) < AT_ONCE:
            await asyncio.sleep(0.05)
    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait, STOP) == 0


def _shake_hands_badly(port: int, times: int) -> None:
    """Open connections that speak no TLS, one after the other, and wait for each to be closed."""
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with suppress(ConnectionError):
                while connection.recv(4096):
                    pass


async def test_strangers_cannot_fill_the_pipe(tmp_path: Path) -> None:
    """Failed TLS handshakes write nothing to standard error, past which gRPC would not get if nobody reads it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    files = {"TLS_CERT_FILE": str(tmp_path / "cert.pem"), "TLS_KEY_FILE": str(tmp_path / "key.pem")}
    with served(tmp_path / "data", DRAIN_DELAY="0", **files) as server:
        port = int(server.grpc.rpartition(":")[2])
        await asyncio.to_thread(_shake_hands_badly, port, HANDSHAKES)
        trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        async with grpc.aio.secure_channel(f"localhost:{port}", trusted) as channel:
            request = health_pb2.HealthCheckRequest(service="liveness")
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert await asyncio.to_thread(_read, server, 1.0) == [b""]
