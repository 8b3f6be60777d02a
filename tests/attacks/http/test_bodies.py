"""Bodies that are too large, or signed and impossible."""

import uuid
from collections.abc import Callable

import pytest

from support.http_target import Target
from support.slow_http import exchange
from support.webhooks import SignedEvent, body_of, sign
from wingmanmatch_server.web.limits import HttpLimits

LARGEST = HttpLimits().max_body
Encode = Callable[[str, bytes], bytes]


def post(path: str, body: bytes, *headers: str) -> bytes:
    """Return a request with a body whose length is told."""
    head = (f"POST {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def chunked(path: str, body: bytes) -> bytes:
    """Return the same in chunks of 64 KiB."""
    parts = [body[start : start + 65536] for start in range(0, len(body), 65536)]
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def signed(event: SignedEvent) -> bytes:
    """Return the request by which an event is delivered."""
    return post("/webhooks/resend", event.payload, *(f"{name}: {value}" for name, value in event.headers.items()))


@pytest.mark.parametrize("encode", [post, chunked])
def test_large_webhook_is_refused(either: Target, encode: Encode) -> None:
    """An event may have 256 KiB and not a byte more, whether its length is told or not."""
    assert exchange(either.http, encode("/webhooks/resend", bytes(LARGEST))).startswith(b"HTTP/1.1 400")
    assert exchange(either.http, encode("/webhooks/resend", bytes(LARGEST + 1))).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("encode", [post, chunked])
def test_large_unsubscribing_is_refused(either: Target, encode: Encode) -> None:
    """What a mail program posts to unsubscribe may not be larger either, with a good link as well."""
    path = either.link(str(uuid.uuid4())).removeprefix(either.http)
    assert exchange(either.http, encode(path, b"List-Unsubscribe=One-Click")).startswith(b"HTTP/1.1 200")
    assert exchange(either.http, encode(path, bytes(LARGEST + 1))).startswith(b"HTTP/1.1 413")


def test_compressed_body_is_not_unfolded(either: Target) -> None:
    """A body that says that it is compressed is taken as it is, and is not signed."""
    request = post("/webhooks/resend", b"\x1f\x8b" + bytes(100), "Content-Encoding: gzip")
    assert exchange(either.http, request).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "event",
    [
        sign(b'{"type": "email.\\u0000delivered"}'),
        sign(b'{"type": "email.delivered", "data": {"email_id": "\\u0000"}}'),
        sign(b'{"type": "email.delivered", "created_at": "0001-01-01T00:00:00+14:00"}'),
        sign(b'{"type": "email.delivered", "created_at": "0001-01-01T00:00:00Z"}'),
    ],
    ids=["NUL in the type", "NUL in an id", "before the year 1", "the year 1"],
)
def test_impossible_event_is_the_senders_mistake(either: Target, event: SignedEvent) -> None:
    """A signed event that cannot be stored is 400; the provider is not told to send it again."""
    assert exchange(either.http, signed(event)).startswith(b"HTTP/1.1 400")
    assert exchange(either.http, signed(sign(body_of("delivered")))).startswith(b"HTTP/1.1 204")
