"""Requests that are none, that mean two things, or that lead where they should not."""

import urllib.request

import pytest

from support.http_target import Target
from support.slow_http import exchange

WEBHOOK = b"POST /webhooks/resend HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
# Name → bytes that are no request.
MALFORMED = {
    "no method": b"GARBAGE\r\n\r\n",
    "unknown method": b"FOO /unsubscribe/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "unknown version": b"GET / HTTP/3.7\r\nHost: localhost\r\n\r\n",
    "line feeds alone": b"GET /unsubscribe/x HTTP/1.1\nHost: localhost\n\n",
    "NUL in the path": b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: localhost\r\nA: b\x00c\r\n\r\n",
    "bytes above 127 in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no host": b"GET /unsubscribe/x HTTP/1.1\r\n\r\n",
    "blank before the colon": b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n",
    "header of 100 KB": b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
    "65 headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"a%d: b\r\n" % i for i in range(64)) + b"\r\n",
    "line of 100 KB": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c403035e") + bytes(190),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)),
    "two framings": WEBHOOK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": WEBHOOK + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd" + SMUGGLED,
    "unknown framing": WEBHOOK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked, then something": WEBHOOK + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "negative length": WEBHOOK + b"Content-Length: -4\r\n\r\n" + SMUGGLED,
    "length beyond 64 bits": WEBHOOK + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "chunk of no length": WEBHOOK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
    "no port": b"GET http://localhost:port/unsubscribe/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no bracket": b"GET http://[::1/unsubscribe/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "path without a slash": b"GET unsubscribe HTTP/1.1\r\nHost: localhost\r\n\r\n",
}
# Paths by which one asks for what only the administrator's address has, or reaches a page by another name.
PATHS = (
    "/metrics",
    "/livez",
    "/readyz",
    "/healthz",
    "/x/../metrics",
    "/x/%2e%2e/metrics",
    "/x/%2E./metrics",
    "/%2fmetrics",
    "//metrics",
    "//localhost/metrics",
    "/./metrics",
    "/metrics/",
    "/metrics%00",
    "/metrics;x",
    "/metrics%20",
    "/x\\..\\metrics",
    "/x/%5c../metrics",
    "/%6detrics",
    "/x/%252e%252e/metrics",
    "/metrics?x=/unsubscribe/",
    "http://localhost/metrics",
    "http://elsewhere.example/metrics",
    "https://elsewhere.example/x/../metrics",
    "//webhooks/resend",
    "/webhooks//resend",
    "/x/../webhooks/resend",
    "/",
    "*",
)


def status_of(answer: bytes) -> int:
    """Return the status of the one response that an answer must be."""
    assert answer.count(b"HTTP/1.") == 1, answer
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_request_is_one_line(either: Target, name: str) -> None:
    """What is no request, or two in one, is answered 400 once, closed, and logged in one line without its bytes."""
    before = len(either.lines_of_http())
    answer = exchange(either.http, MALFORMED[name])
    assert status_of(answer) == 400
    (line,) = either.lines_after(before)
    assert line["event"] == "http_request_malformed"
    assert line.keys() == {"event", "level", "timestamp", "error"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_path_leads_to_the_administrator(either: Target, method: str, path: str) -> None:
    """However a path is written, the public address has the webhook and the pages and nothing else."""
    request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    answer = exchange(either.http, request.encode())
    assert status_of(answer) in ({400, 404} if path == "*" else {404}), answer
    assert b"wingmanmatch_" not in answer


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
@pytest.mark.parametrize("path", ["/webhooks/resend", "/unsubscribe/x", "/metrics"])
def test_other_methods_are_not_allowed(either: Target, method: str, path: str) -> None:
    """Methods that nothing here has are 405 by themselves."""
    target = "localhost:80" if method == "CONNECT" else path
    answer = exchange(
        either.http, f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    assert status_of(answer) == 405
    assert b"Allow: GET,HEAD,POST" in answer.replace(b", ", b",")


@pytest.mark.parametrize(("method", "path"), [("GET", "/webhooks/resend"), ("HEAD", "/webhooks/resend")])
def test_webhook_is_posted_only(either: Target, method: str, path: str) -> None:
    """The webhook cannot be read."""
    answer = exchange(either.http, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert status_of(answer) == 405


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
def test_nothing_is_upgraded(either: Target, upgrade: str) -> None:
    """A request to go on in another protocol is answered in this one."""
    header = f"Connection: Upgrade, close\r\nUpgrade: {upgrade}\r\nSec-WebSocket-Key: x\r\nHTTP2-Settings: AA\r\n"
    answer = exchange(either.http, f"GET /unsubscribe/x HTTP/1.1\r\nHost: localhost\r\n{header}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "request_bytes",
    [
        MALFORMED["no method"],
        MALFORMED["two framings"],
        b"GET /unsubscribe/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_no_version_is_named(either: Target, request_bytes: bytes) -> None:
    """No answer names the version of a library or of Python."""
    head = exchange(either.http, request_bytes).partition(b"\r\n\r\n")[0].lower()
    assert b"server: wingmanmatch\r\n" in head + b"\r\n"
    for word in (b"aiohttp", b"python", b"0.1.0"):
        assert word not in head


def test_administrators_address_bears_the_same(target: Target) -> None:
    """Malformed bytes at the administrator's address are 400 as well, and it goes on."""
    for data in MALFORMED.values():
        assert status_of(exchange(target.server.admin, data)) == 400
    with urllib.request.urlopen(f"{target.server.admin}/livez", timeout=10) as answer:
        assert answer.status == 200


def test_log_has_no_traceback(either: Target) -> None:
    """After all of this the log has no error, and every line of it is JSON."""
    before = len(either.lines_of_http())
    for data in MALFORMED.values():
        exchange(either.http, data)
    either.lines_after(before + len(MALFORMED) - 1)
    lines = either.lines()
    assert len(lines) == before + len(MALFORMED)
    assert [line for line in lines if line["level"] in {"error", "critical"} or "exception" in line] == []
