"""The standard gRPC health service.

grpcio-health-checking's own servicer writes to watchers while it holds the lock that a change of status needs: one
watcher that does not read would keep a stopping server SERVING. Here a change wakes each watcher, and each writes by
itself.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

SERVICE = "grpc.health.v1.Health"
# What speaks of the process: it is up, and not about to stop.
PROCESS_NAMES = ("", "liveness", "readiness")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """The health of the process and of each service, by name."""

    def __init__(self, names: Iterable[str]) -> None:
        """Every one of `names` is SERVING until it is set otherwise."""
        self._statuses = dict.fromkeys(names, SERVING)
        self._watchers: set[asyncio.Event] = set()
        self._draining = False

    def set(self, name: str, *, serving: bool) -> None:
        """Change one name's status; without effect once the server drains."""
        status = SERVING if serving else NOT_SERVING
        if not self._draining and self._statuses.get(name) != status:
            self._statuses[name] = status
            self._wake()

    def drain(self) -> None:
        """Make every name NOT_SERVING for good, tell the watchers, and end their streams."""
        self._draining = True
        self._statuses = dict.fromkeys(self._statuses, NOT_SERVING)
        self._wake()

    def serving(self) -> dict[str, bool]:
        """Return for each name whether it is SERVING."""
        return {name: status == SERVING for name, status in self._statuses.items()}

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what serves `grpc.health.v1.Health`."""
        request, response = health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        handlers = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check, request.FromString, response.SerializeToString),
            "List": grpc.unary_unary_rpc_method_handler(
                self._list, health_pb2.HealthListRequest.FromString, health_pb2.HealthListResponse.SerializeToString
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch, request.FromString, response.SerializeToString),
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _wake(self) -> None:
        for watcher in self._watchers:
            watcher.set()

    async def _check(self, request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        status = self._statuses.get(request.service)
        if status is None:
            context.set_code(grpc.StatusCode.NOT_FOUND)
        return health_pb2.HealthCheckResponse(status=status)

    async def _list(self, _request: Any, _context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        statuses = {name: health_pb2.HealthCheckResponse(status=status) for name, status in self._statuses.items()}
        return health_pb2.HealthListResponse(statuses=statuses)

    async def _watch(self, request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        changed, told = asyncio.Event(), None
        self._watchers.add(changed)
        try:
            while True:
                changed.clear()
                status = self._statuses.get(request.service, SERVICE_UNKNOWN)
                if status != told:
                    await context.write(health_pb2.HealthCheckResponse(status=status))
                    told = status
                elif self._draining:
                    return
                else:
                    await changed.wait()
        finally:
            self._watchers.discard(changed)
