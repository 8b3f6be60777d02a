"""The HTTP endpoint beside gRPC: what monitoring reads, and what the areas serve to the world outside."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

LARGEST_BODY = 256 * 1024  # bytes; a larger one is answered 413


@asynccontextmanager
async def serve_web(
    listen: str, registry: CollectorRegistry, routes: Sequence[web.RouteDef] = ()
) -> AsyncIterator[int]:
    """Serve `GET /metrics` and `routes` on `listen` and yield the port. Raises OSError if the address is taken.

    `listen` is HOST:PORT, or `unix:` and the path of a socket, whose port is 0.
    """
    application = web.Application(client_max_size=LARGEST_BODY)

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    application.router.add_get("/metrics", metrics)
    application.router.add_routes(routes)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        yield await start_site(runner, listen)
    finally:
        await runner.cleanup()


async def start_site(runner: web.BaseRunner, listen: str) -> int:
    """Let `runner` answer at `listen`, as `serve_web` takes it, and return the port."""
    host, _, place = listen.rpartition(":")
    if host == "unix":
        await web.UnixSite(runner, place).start()
        return 0
    await web.TCPSite(runner, host.strip("[]"), int(place)).start()
    port: int = runner.addresses[0][1]
    return port
