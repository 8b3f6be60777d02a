"""What operators and their probes read of a process."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry

from wingmanmatch_server.system.health import Health
from wingmanmatch_server.web.exposition import Exposition

READY = "readiness"  # the name under which gRPC's health service knows it
Metrics = Callable[[web.Request], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class Report:
    """Whether a process takes traffic, and what else `/healthz` says of it."""

    ready: bool
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The status that says so by HTTP."""
        return 200 if self.ready else 503


def admin_routes(metrics: Metrics, report: Callable[[], Awaitable[Report]]) -> list[web.RouteDef]:
    """Return `/metrics` and the probes.

    `/livez` is 200 as long as the event loop turns. `/readyz` is 200 while the process takes traffic and 503 before and
    while it drains; so is `/healthz`, which says in JSON what it knows besides.
    """

    async def livez(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        found = await report()
        return web.Response(text="ok\n" if found.ready else "not ready\n", status=found.status)

    async def healthz(_request: web.Request) -> web.Response:
        found = await report()
        body = orjson.dumps({"ready": found.ready, **found.details}, option=orjson.OPT_APPEND_NEWLINE)
        return web.Response(body=body, content_type="application/json", status=found.status)

    return [
        web.get("/metrics", metrics),
        web.get("/livez", livez),
        web.get("/readyz", readyz),
        web.get("/healthz", healthz),
    ]


def process_routes(registry: CollectorRegistry, health: Health) -> list[web.RouteDef]:
    """Return what one serving process tells: its metrics, and the health that gRPC's service tells too."""
    exposition = Exposition()

    async def metrics(request: web.Request) -> web.Response:
        return await exposition.answer(request, lambda: registry)

    async def report() -> Report:
        serving = health.serving()
        return Report(serving[READY], {"services": {name: serving[name] for name in serving if "." in name}})

    return admin_routes(metrics, report)


def waiting_routes(reason: str) -> list[web.RouteDef]:
    """Return what a process tells that is alive and not ready, for a `reason` that `/healthz` names."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "1"})

    async def report() -> Report:
        return Report(ready=False, details={"waiting_for": reason})

    return admin_routes(metrics, report)
