"""One HTTP listener."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from wingmanmatch_server.web.connection import Connection, Connections, Watch
from wingmanmatch_server.web.limits import HttpLimits
from wingmanmatch_server.web.requests import within_limits


def _unwatched(_count: Callable[[], float]) -> Callable[[str], object]:
    return lambda _reason: None


# Connections that may wait in the kernel to be accepted. What comes beyond them waits for a client's second try.
BACKLOG = 1024


@asynccontextmanager
async def serve_http(
    listen: str,
    routes: Sequence[web.AbstractRouteDef],
    *,
    limits: HttpLimits = HttpLimits(),  # noqa: B008 - frozen
    watch: Watch = _unwatched,
) -> AsyncIterator[int]:
    """Serve `routes` on `listen` and yield the port. Raises OSError if the address cannot be bound.

    `listen` is HOST:PORT, or `unix:` and the path of a socket, whose port is 0.
    """
    application = web.Application(client_max_size=limits.max_body, middlewares=[within_limits])
    application.router.add_routes(routes)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    try:
        listener = await _listen(runner, listen, limits, watch)
        try:
            yield listener.sockets[0].getsockname()[1] if not listen.startswith("unix:") else 0
        finally:
            listener.close()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, listen: str, limits: HttpLimits, watch: Watch) -> asyncio.Server:
    connections = Connections(limits, watch)
    server = runner.server
    assert server is not None

    def connect() -> Connection:
        return Connection(server, connections)

    host, _, place = listen.rpartition(":")
    loop = asyncio.get_running_loop()
    if host == "unix":
        return await loop.create_unix_server(connect, place, backlog=BACKLOG)
    return await loop.create_server(connect, host.strip("[]"), int(place), backlog=BACKLOG)
