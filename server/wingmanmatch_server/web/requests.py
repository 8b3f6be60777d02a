"""Which requests reach a handler: plain paths, few methods, whole bodies."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import unquote_to_bytes

import structlog
from aiohttp import web

from wingmanmatch_server.web.connection import connection_of

log = structlog.get_logger(__name__)

METHODS = ("GET", "HEAD", "POST")
AMBIGUOUS_BYTES = frozenset((*range(0x21), 0x7F, *b"\\"))  # controls, blank, backslash
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def within_limits(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read the request and have it answered within the limits of its connection.

    Methods that no handler has are 405. Paths that proxies and servers may understand differently are 404, so that
    none of them leads where another one says it does not.
    """
    connection = connection_of(request)
    connection.header_complete()
    if request.method not in METHODS:
        raise web.HTTPMethodNotAllowed(request.method, METHODS)
    if not is_plain(request.rel_url.raw_path):
        raise web.HTTPNotFound
    await request.read()
    connection.body_complete()
    try:
        async with asyncio.timeout(connection.limits.handler_timeout):
            return await handler(request)
    except TimeoutError:
        log.warning("http_handler_timed_out", method=request.method)
        return web.Response(status=503, headers={"Retry-After": "5"})


def is_plain(path: str) -> bool:
    """Return whether a path, as it was sent, names the same thing however it is normalized."""
    segments = unquote_to_bytes(path).split(b"/")
    return segments[0] == b"" and not any(map(_is_ambiguous, segments[1:]))


def _is_ambiguous(segment: bytes) -> bool:
    return segment in {b"", b".", b".."} or any(byte in AMBIGUOUS_BYTES for byte in segment)
