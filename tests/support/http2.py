"""A client that speaks HTTP/2 by hand, and so may do what no library would: stop reading, stop answering, lie."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4
REFUSED_STREAM, ENHANCE_YOUR_CALM = 7, 11
ENOUGH = 20.0  # seconds: a server that does not react by then does not at all


@dataclass
class Frame:
    """One frame as it came."""

    type: int
    flags: int
    stream: int
    payload: bytes


@dataclass
class Connection:
    """A connection whose frames a test writes itself.

    `answers` is whether SETTINGS and PING are acknowledged as they should be.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    answers: bool = True
    received: list[Frame] = field(default_factory=list)
    _encoder: hpack.Encoder = field(default_factory=hpack.Encoder)
    _decoder: hpack.Decoder = field(default_factory=hpack.Decoder)
    _next_stream: int = 1

    def send(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        """Send a frame."""
        self.writer.write(frame(kind, flags, stream, payload))

    def open(self, path: str, *, end: bool = False, headers: Iterable[tuple[str, str]] = ()) -> int:
        """Send the headers of a call and return its stream."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        block = self._encoder.encode([*call_headers(path), *headers])
        first, rest = block[:16384], block[16384:]
        self.send(HEADERS, (END_STREAM if end else 0) | (0 if rest else END_HEADERS), stream, first)
        while rest:
            first, rest = rest[:16384], rest[16384:]
            self.send(CONTINUATION, 0 if rest else END_HEADERS, stream, first)
        return stream

    def request(self, headers: Iterable[tuple[str, str]]) -> int:
        """Send headers alone, all of the test's own choice, and return their stream."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, self._encoder.encode(list(headers)))
        return stream

    def call(self, path: str, message: bytes = b"", headers: Iterable[tuple[str, str]] = ()) -> int:
        """Send a whole unary call and return its stream."""
        stream = self.open(path, headers=headers)
        self.send(DATA, END_STREAM, stream, prefixed(message))
        return stream

    async def next(self) -> Frame | None:
        """Return the next frame, None at the end of the connection."""
        try:
            head = await self.reader.readexactly(9)
            payload = await self.reader.readexactly(int.from_bytes(head[:3]))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        got = Frame(head[3], head[4], int.from_bytes(head[5:]) & 0x7FFFFFFF, payload)
        self.received.append(got)
        if self.answers and got.type in {SETTINGS, PING} and not got.flags & ACK:
            self.send(got.type, ACK, 0, got.payload if got.type == PING else b"")
        return got

    async def until(self, wanted: Callable[[Frame], bool], within: float = ENOUGH) -> Frame:
        """Read until a frame is as wanted and return it; fail at the end of the connection."""
        async with asyncio.timeout(within):
            while got := await self.next():
                if wanted(got):
                    return got
        raise AssertionError(f"closed after {[(each.type, each.stream) for each in self.received[-5:]]}")

    async def ended(self) -> list[Frame]:
        """Read until the server closes the connection; return all that ever came."""
        async with asyncio.timeout(ENOUGH):
            while await self.next():
                pass
        return self.received

    async def statuses(self) -> AsyncIterator[str]:
        """Yield the gRPC status of each call that ends, for as long as the connection is there."""
        while got := await self.next():
            if got.type == HEADERS:
                decoded = {str(name): str(value) for name, value in self._decoder.decode(got.payload)}
                if got.flags & END_STREAM:
                    yield decoded["grpc-status"]

    async def status(self, stream: int, within: float = ENOUGH) -> dict[str, str]:
        """Return the headers with which the server ends a call; a reset is `{"reset": code}`."""
        found: dict[str, str] = {}

        def is_last(got: Frame) -> bool:
            if got.type == HEADERS:  # every block, in order: the decoder learns from each
                decoded = {str(name): str(value) for name, value in self._decoder.decode(got.payload)}
                if got.stream == stream:
                    found.update(decoded)
            if got.stream == stream and got.type == RST_STREAM:
                found.setdefault("reset", str(int.from_bytes(got.payload)))
            return got.stream == stream and (got.type == RST_STREAM or bool(got.flags & END_STREAM))

        await self.until(is_last, within)
        return found

    async def ping(self, data: bytes = b"are-you?") -> None:
        """Ask for a sign of life and wait for it: all that was sent before has been seen then."""
        self.send(PING, 0, 0, data)
        await self.until(lambda got: got.type == PING and bool(got.flags & ACK) and got.payload == data)


@asynccontextmanager
async def connected(
    address: str, *, answers: bool = True, settings: bytes = b"", greet: bool = True
) -> AsyncIterator[Connection]:
    """Yield a connection to HOST:PORT, greeted with the preface and SETTINGS unless the test does that."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        connection = Connection(reader, writer, answers)
        if greet:
            writer.write(PREFACE)
            connection.send(SETTINGS, payload=settings)
        yield connection
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame's bytes."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def setting(identifier: int, value: int) -> bytes:
    """Return one setting, as SETTINGS holds it."""
    return struct.pack(">HI", identifier, value)


def prefixed(message: bytes, *, declared: int | None = None, compressed: int = 0) -> bytes:
    """Return a message as gRPC frames it, or claiming another length."""
    return struct.pack(">BI", compressed, len(message) if declared is None else declared) + message


def call_headers(path: str) -> list[tuple[str, str]]:
    """Return the headers that a gRPC client sends."""
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
