"""Small HTTP servers that answer as the APIs of others are documented to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(method: str, path: str, handler: Handler) -> AsyncIterator[str]:
    """Serve one path on a free loopback port and yield the base address."""
    application = web.Application()
    application.router.add_route(method, path, handler)
    # Zero would be for ever.
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def answering(status: int, body: object) -> Handler:
    """Return a handler that always gives one answer."""

    async def handle(_request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    return handle


async def stalling(_request: web.Request) -> web.Response:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """Take connections on a loopback port, read what comes and never say a word; yield HOST:PORT."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"{host}:{port}"
