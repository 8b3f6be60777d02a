"""The one public HTTP address of several workers."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import structlog
from aiohttp import web
from yarl import URL

from wingmanmatch_server.workers.process import Worker

log = structlog.get_logger(__name__)

TIMEOUT = aiohttp.ClientTimeout(total=10, connect=1)
WORKER = URL("http://worker")
SOCKETS_OF_A_WORKER = 128  # connections to one worker, half of them for the world and half for administrators
# What speaks of one connection (RFC 9110, section 7.6.1), and what is told anew for the other.
OF_ONE_CONNECTION = frozenset(
    (
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
# What aiohttp would add to a request that lacks it.
ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Front:
    """Hands every request to a worker that is up."""

    def __init__(self, workers: Sequence[Worker], sessions: Sequence[aiohttp.ClientSession]) -> None:
        """`sessions` lead to the workers, in their order."""
        self._workers = list(zip(workers, sessions, strict=True))
        self._turn = 0

    async def hand_on(self, request: web.Request) -> web.Response:
        """Answer with what a worker answers; 503 if none can be reached, 504 if it takes too long.

        A request is given to a second worker only if the first was not reached.
        """
        body = await request.read()
        for session in self._in_turn():
            try:
                return await _ask(session, request, body)
            except aiohttp.ClientConnectorError:
                continue
            except TimeoutError:
                return web.Response(status=504)
            except aiohttp.ClientError as error:
                log.warning("worker_http_failed", error=type(error).__name__)
                return web.Response(status=502)
        return web.Response(status=503, headers={"Retry-After": "1"})

    def _in_turn(self) -> Iterable[aiohttp.ClientSession]:
        self._turn += 1
        places = ((self._turn + offset) % len(self._workers) for offset in range(len(self._workers)))
        return [session for worker, session in map(self._workers.__getitem__, places) if worker.is_up]


@asynccontextmanager
async def open_front_routes(workers: Sequence[Worker]) -> AsyncIterator[list[web.RouteDef]]:
    """Yield the routes that lead to the workers."""
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(session_to(worker.http_socket)) for worker in workers]
        yield [web.route("*", "/{path:.*}", Front(workers, sessions).hand_on)]


def session_to(socket: str) -> aiohttp.ClientSession:
    """Return a session with what answers HTTP on a Unix socket."""
    connector = aiohttp.UnixConnector(socket, limit=SOCKETS_OF_A_WORKER // 2)
    return aiohttp.ClientSession(
        WORKER, connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    )


async def _ask(session: aiohttp.ClientSession, request: web.Request, body: bytes) -> web.Response:
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in OF_ONE_CONNECTION]
    async with session.request(
        request.method,
        _address(request),
        headers=headers,
        data=body or None,
        timeout=TIMEOUT,
        allow_redirects=False,
        skip_auto_headers=ADDED,
    ) as answer:
        kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in OF_ONE_CONNECTION]
        response = web.Response(status=answer.status, reason=answer.reason, body=await answer.read())
        response.headers.clear()
        response.headers.extend(kept)
        return response


def _address(request: web.Request) -> URL:
    """Return where a request leads at a worker: the path exactly as it was sent, whatever host it was sent for."""
    sent = request.rel_url
    return WORKER.build(
        scheme=WORKER.scheme,
        host=WORKER.raw_host or "",
        path=sent.raw_path,
        query_string=sent.raw_query_string,
        encoded=True,
    )
