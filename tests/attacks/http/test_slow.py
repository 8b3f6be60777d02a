"""Clients that connect and are slow: in sending a header or a body, in reading, in doing anything at all."""

import re
import socket
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from support.http_target import Target, serving
from support.served import INSTALLED
from support.slow_http import (
    HALF_A_BODY,
    HALF_A_HEADER,
    SILENT,
    connect,
    connections,
    exchange,
    seconds_until_closed,
    seconds_until_cut,
)
from wingmanmatch.system.v1 import system_service_pb2, system_service_pb2_grpc
from wingmanmatch_server.web.limits import HttpLimits

LIMITS = HttpLimits()
ALL_CLOSED = 15.0  # seconds after which nothing is left of any of them
GET = b"GET /unsubscribe/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST_GET, LAST_SCRAPE = (each[:-2] + b"Connection: close\r\n\r\n" for each in (GET, SCRAPE))
UNREAD = GET * 5000


class Caller:
    """A back end that calls the server by gRPC, each time on a new connection or on the one it has."""

    def __init__(self, target: Target) -> None:
        self._address = target.server.grpc

    def latencies(self, count: int) -> list[float]:
        """Return the seconds of so many calls on one connection, sorted. Raises grpc.RpcError."""
        with grpc.insecure_channel(self._address) as channel:
            return sorted(_timed(system_service_pb2_grpc.SystemServiceStub(channel)) for _ in range(count))

    def connects(self) -> None:
        """Make a call on a connection of its own. Raises grpc.RpcError."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self._address, options=options) as channel:
            _timed(system_service_pb2_grpc.SystemServiceStub(channel))


def _timed(stub: system_service_pb2_grpc.SystemServiceStub) -> float:
    started = time.perf_counter()
    stub.GetStatus(system_service_pb2.GetStatusRequest(), timeout=5)
    return time.perf_counter() - started


@pytest.fixture
def caller(target: Target) -> Caller:
    """A back end of the target."""
    return Caller(target)


def cuts(target: Target) -> dict[str, float]:
    """Return how many connections of the public address were cut, by the reason."""
    with urllib.request.urlopen(target.server.metrics, timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(r'connections_cut_total\{listener="public",reason="(\w+)"\} (\S+)', text)
    return {reason: float(count) for reason, count in found}


@pytest.mark.slow
def test_half_requests_by_the_thousand(target: Target, caller: Caller, capsys: pytest.CaptureFixture[str]) -> None:
    """5,000 half requests make no call fail or late, and are all closed within 15 s."""
    caller.latencies(200)
    quiet = caller.latencies(1000)
    with ThreadPoolExecutor(1) as threads:
        measured = threads.submit(caller.latencies, 1000)
        with connections(target.http, [HALF_A_HEADER] * 5000) as opened:
            closed = seconds_until_closed(opened, ALL_CLOSED)
        during = measured.result()
    with capsys.disabled():
        print(f"\np99 of calls: {quiet[990] * 1000:.2f} ms before, {during[990] * 1000:.2f} ms during the attack")
    assert len(closed) == 5000
    assert during[990] < max(2 * quiet[990], 0.05)


def test_everybody_who_is_slow_is_closed(target: Target, caller: Caller) -> None:
    """Silence, half a header, a header by the byte, half a body, an idle connection, an answer not read: all end."""
    slow, admin = [SILENT, HALF_A_HEADER, HALF_A_BODY, GET, GET + HALF_A_HEADER], target.server.admin
    with (
        ThreadPoolExecutor(4) as threads,
        connections(target.http, slow) as opened,
        connections(admin, [HALF_A_HEADER] * 60) as at_admin,
        connect(target.http) as by_the_byte,
        connect(target.http, UNREAD, receive_buffer=4096) as reads_nothing,
        connect(admin, SCRAPE * 100, receive_buffer=4096) as reads_no_metrics,
    ):
        trickled = threads.submit(trickle, by_the_byte)
        unread = [threads.submit(seconds_until_cut, each, ALL_CLOSED) for each in (reads_nothing, reads_no_metrics)]
        assert exchange(admin, LAST_SCRAPE).startswith(b"HTTP/1.1 200")
        assert exchange(target.http, LAST_GET).startswith(b"HTTP/1.1 404")
        caller.connects()
        assert len(seconds_until_closed([*opened, *at_admin], ALL_CLOSED)) == len(slow) + 60
        assert trickled.result() < LIMITS.header_timeout + 2
        assert all(each.result() < ALL_CLOSED for each in unread)
    assert cuts(target).keys() >= {"header_timeout", "body_timeout", "idle_timeout", "response_timeout"}


def trickle(connection: socket.socket) -> float:
    """Send a header, a byte each tenth of a second; return after how many seconds the connection was cut."""
    started = time.monotonic()
    connection.settimeout(0.1)
    for byte in b"GET /unsubscribe/" + b"x" * 1000:
        try:
            connection.sendall(bytes((byte,)))
            if not connection.recv(1):
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.monotonic() - started


def test_pipelined_requests_are_answered_in_turn(target: Target) -> None:
    """A thousand requests sent at once are answered one after the other, and the last one ends the connection."""
    assert exchange(target.http, GET * 999 + LAST_GET, patience=20).count(b"HTTP/1.1 404") == 1000


@pytest.fixture
def cramped(engines_of_target: dict[str, str], tmp_path: Path) -> Iterator[Target]:
    """A server that the system allows a thousand open files."""
    limited = ("sh", "-c", 'ulimit -n 1000 && exec "$0" "$@"', *INSTALLED)
    with serving(tmp_path, engines_of_target, limited) as target:
        yield target


def test_half_requests_leave_files_to_calls(cramped: Target) -> None:
    """With 1,000 open files, 1,100 half requests keep no call and no honest request out, and are closed in 15 s."""
    assert any(line["event"] == "connections_limited_by_open_files" for line in cramped.lines())
    caller = Caller(cramped)
    with connections(cramped.http, [HALF_A_HEADER] * 1100) as opened:
        for _ in range(20):
            caller.connects()
            assert exchange(cramped.http, LAST_GET).startswith(b"HTTP/1.1 404")
        closed = seconds_until_closed(opened, ALL_CLOSED)
    assert len(closed) == 1100
    assert cuts(cramped)["evicted"] > 1000
