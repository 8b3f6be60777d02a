"""Holds each HTTP connection to its limits.

aiohttp has no time limit for a request's header, its body or the reading of its response, and no limit of connections.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from wingmanmatch_server.web.limits import HttpLimits

log = structlog.get_logger(__name__)

# Takes what counts a listener's open connections, and returns what is told why one was cut.
Watch = Callable[[Callable[[], float]], Callable[[str], object]]
LINGER = 1.0  # seconds in which a client may still send what it was told is not wanted, so that it reads the answer
IDLE = "idle_timeout"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time at all
MALFORMED = (HttpProcessingError, web.RequestPayloadError)


class Connections:
    """The connections of one listener. Those that wait for a request make room for new ones, the oldest first."""

    def __init__(self, limits: HttpLimits, watch: Watch) -> None:
        self.limits = limits
        self.on_cut = watch(lambda: len(self._open))
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}  # a set that keeps its order

    def admit(self, connection: "Connection") -> bool:
        """Take a new connection, and if there are too many cut another one; return whether there is room."""
        if len(self._open) >= self.limits.max_connections:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                self.on_cut("full")
                return False
            oldest.cut("evicted")
        self._open.add(connection)
        self.waits(connection)
        return True

    def waits(self, connection: "Connection") -> None:
        """Note that a connection waits for a request from now on."""
        self._waiting.pop(connection, None)
        if connection in self._open:
            self._waiting[connection] = None

    def works(self, connection: "Connection") -> None:
        """Note that a connection's request is being answered."""
        self._waiting.pop(connection, None)

    def forget(self, connection: "Connection") -> None:
        """Give a connection's place to others."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)


class Connection(web.RequestHandler):
    """One connection: aiohttp's protocol with a deadline for each of its phases."""

    def __init__(self, server: web.Server, connections: Connections) -> None:
        self._loop_of_timers = asyncio.get_running_loop()
        limits = connections.limits
        super().__init__(
            server,
            loop=self._loop_of_timers,
            # aiohttp takes None for no access log, and says otherwise.
            access_log=None,  # type: ignore[arg-type]
            lingering_time=LINGER,
            max_line_size=limits.max_line,
            max_field_size=limits.max_line,
            max_headers=limits.max_headers,
            auto_decompress=False,  # a small body would become a large one
        )
        self.limits = limits
        self._connections = connections
        self._wire: asyncio.Transport | None = None  # aiohttp forgets it before what was written is sent
        self._idle = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request, or refuse the connection."""
        wire = cast("asyncio.Transport", transport)
        if not self._connections.admit(self):
            wire.abort()
            return
        self._wire = wire
        super().connection_made(transport)
        self._allow("header_timeout", self.limits.header_timeout)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first ones after a pause begin a request's header."""
        if self._wire is None:
            return
        if self._idle and data:
            self._idle = False
            self._allow("header_timeout", self.limits.header_timeout)
        super().data_received(data)

    def header_complete(self) -> None:
        """Note that a request's header is complete."""
        self._idle = False
        self._connections.works(self)
        self._allow("body_timeout", self.limits.body_timeout)

    def body_complete(self) -> None:
        """Note that a request is complete: its handler limits itself."""
        self._cancel_deadline()

    async def finish_response(
        self,
        request: web.BaseRequest,
        resp: web.StreamResponse,
        start_time: float | None,
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response within its time, then wait for the next request."""
        self._allow("response_timeout", self.limits.response_timeout)
        resp.headers["Server"] = "wingmanmatch"  # aiohttp would name its version and Python's
        sent = await super().finish_response(request, resp, start_time)
        self._idle = True
        self._connections.waits(self)
        self._allow(IDLE, self.limits.idle_timeout)
        return sent

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place to others."""
        self._cancel_deadline()
        self._connections.forget(self)
        self._wire = None
        super().connection_lost(exc)

    def cut(self, reason: str) -> None:
        """Close the connection at once, whatever was still to be sent."""
        self._cancel_deadline()
        self._connections.forget(self)
        self._connections.on_cut(reason)
        if self._wire is None:
            return
        if reason != IDLE:
            # The system would keep what was sent and not read, up to megabytes, for minutes after the end.
            self._wire.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._wire.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's words, which quote the request
    ) -> web.StreamResponse:
        """Log what is wrong in one line and return the answer, after which the connection is closed.

        Raises ConnectionError if another answer was begun.
        """
        if isinstance(exc, MALFORMED):
            status = 400
            log.info("http_request_malformed", error=type(exc).__name__)
        elif not isinstance(exc, ConnectionError):
            log.error("http_request_failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a response was begun")
        response = web.Response(status=status)
        response.force_close()
        return response

    def _allow(self, reason: str, seconds: float) -> None:
        """Cut the connection for a reason in so many seconds, unless another deadline is set before."""
        self._cancel_deadline()
        if self._wire is not None:
            self._deadline = self._loop_of_timers.call_later(seconds, self.cut, reason)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def connection_of(request: web.Request) -> Connection:
    """Return the connection that a request came by."""
    connection: Any = request.protocol
    assert isinstance(connection, Connection)
    return connection
