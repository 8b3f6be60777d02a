"""The real Envoy, with the sample configuration, limits a real HTTP route through a real server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from support.databases import fresh_database
from support.envoy import free_ports, needs_envoy, running_envoy
from support.limiters import serving_limits
from support.valkey import own_valkey

pytestmark = needs_envoy


class Front:
    """Envoy in front of an application, and how often the application was reached."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.reached = 0

    async def application(self, _request: web.BaseRequest) -> web.Response:
        """Answer a request that got through."""
        self.reached += 1
        return web.Response(text="hello")

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, str]]:
        """Return status and headers of a request through Envoy."""
        async with aiohttp.ClientSession() as session, session.get(self.url + path, headers=headers) as response:
            return response.status, {name.lower(): value for name, value in response.headers.items()}


@asynccontextmanager
async def serving_front(server_address: str, folder: Path) -> AsyncIterator[Front]:
    """Start the application and Envoy."""
    (port,) = free_ports(1)
    front = Front(f"http://127.0.0.1:{port}")
    runner = web.ServerRunner(web.Server(front.application))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ports = {10000: port, 8080: runner.addresses[0][1], 50051: int(server_address.rpartition(":")[2])}
        async with running_envoy("envoy.yaml", ports, port, folder):
            yield front
    finally:
        await runner.cleanup()


async def test_envoy_limits_a_route(admin_dsn: str, tmp_path: Path) -> None:
    """Ten log-ins an address get through; the eleventh is told to wait, and costs its account nothing.

    The other route has its own limit, and when Redis is killed Envoy's failure mode lets requests pass.
    """
    with own_valkey(tmp_path) as valkey:
        async with (
            fresh_database(admin_dsn) as dsn,
            serving_limits(dsn, valkey.url, tmp_path) as served,
            serving_front(served.address, tmp_path) as front,
        ):
            await front.get("/login", **{"x-account": "ada"})
            statuses = [(await front.get("/login"))[0] for _ in range(12)]
            assert (statuses, front.reached) == ([200] * 9 + [429] * 3, 10)
            status, headers = await front.get("/login", **{"x-account": "ada"})
            assert status == 429
            assert headers["ratelimit-policy"] == '"auth_endpoint";q=10;w=100'
            assert 1 <= int(headers["retry-after"]) <= 10
            assert (await front.get("/"))[0] == 200
            denied = served.sample("ratelimit_decisions_total", policy="auth_endpoint", outcome="denied")
            from_memory = served.sample(
                "ratelimit_decisions_total", policy="auth_endpoint", outcome="denied_from_memory"
            )
            assert denied + from_memory == 4

            valkey.kill()
            assert [(await front.get("/login"))[0] for _ in range(5)] == [200] * 5
