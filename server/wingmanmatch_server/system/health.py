"""The standard gRPC health service.

grpcio-health-checking's own servicer writes to watchers while it holds the lock that a change of status needs: one
watcher that does not read would keep a stopping server SERVING. Here a change wakes each watcher, and each writes by
itself.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import nullcontext
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.errors import abort
from wingmanmatch_server.interceptors.peer_streams import PeerStreams
from wingmanmatch_server.interceptors.requests import RequestReader, decoded, deserializer

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

    def handler(
        self, streams: PeerStreams | None = None, reader: RequestReader | None = None
    ) -> grpc.GenericRpcHandler:
        """Return what serves `grpc.health.v1.Health`.

        `streams` bounds how many watch at a time, and `reader` reads the requests.
        """
        reader = reader or RequestReader()

        async def watch(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
            with streams.place(context) if streams else nullcontext():
                await self._watch(request, context)

        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Check": grpc.stream_unary_rpc_method_handler(
                    _reading(reader, self._check), deserializer(health_pb2.HealthCheckRequest), _serialize
                ),
                "List": grpc.stream_unary_rpc_method_handler(
                    _reading(reader, self._list), deserializer(health_pb2.HealthListRequest), _serialize
                ),
                "Watch": grpc.stream_stream_rpc_method_handler(
                    _reading(reader, watch), deserializer(health_pb2.HealthCheckRequest), _serialize
                ),
            },
        )

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


def _reading(reader: RequestReader, serve: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Any]:
    """Return what reads the one request of a call and serves it."""

    async def handle(requests: AsyncIterator[Any], context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        try:
            return await serve(decoded(await reader.read(requests)), context)
        except errors.DomainError as error:
            await abort(context, error)

    return handle


def _serialize(response: Any) -> bytes:
    data: bytes = response.SerializeToString()
    return data
