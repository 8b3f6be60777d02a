"""The real Envoy, with the sample configuration, limits a real HTTP route through a real server."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from support.databases import fresh_database
from support.limiters import serving_limits
from support.valkey import own_valkey

SAMPLE = Path(__file__).parents[3] / "deploy" / "envoy" / "envoy.yaml"
ENVOY = Path(sys.executable).parent / "envoy"

pytestmark = pytest.mark.skipif(not ENVOY.exists(), reason="no Envoy for this platform")


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
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    front = Front(f"http://127.0.0.1:{port}")
    runner = web.ServerRunner(web.Server(front.application))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    addresses = {"10000": port, "8080": runner.addresses[0][1], "50051": server_address.rpartition(":")[2]}
    text = SAMPLE.read_text()
    for sample, actual in addresses.items():
        assert text.count(f"port_value: {sample}") == 1
        text = text.replace(f"port_value: {sample}", f"port_value: {actual}")
    file = folder / "envoy.yaml"
    file.write_text(text)
    options = ("-c", file, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error")
    process = await asyncio.create_subprocess_exec(
        ENVOY, *options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        await _listens(port, process)
        yield front
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await runner.cleanup()


async def _listens(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(20):
        while True:
            assert process.returncode is None
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


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
