"""The HTTP endpoint."""

import aiohttp
from prometheus_client import CollectorRegistry, Counter

from wingmanmatch_server.web import serve_web


async def test_metrics_are_served() -> None:
    """Prometheus reads the registry's metrics; other paths do not exist."""
    registry = CollectorRegistry()
    Counter("calls", "Calls.", registry=registry).inc(3)
    async with serve_web("127.0.0.1:0", registry) as port, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
            assert response.status == 200
            assert "text/plain" in response.headers["Content-Type"]
            assert "calls_total 3.0" in await response.text()
        async with session.get(f"http://127.0.0.1:{port}/") as response:
            assert response.status == 404
