"""Answers health probes while the server waits for its migrations, so that nothing restarts it for being slow."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
from prometheus_client import CollectorRegistry

from wingmanmatch_server.addresses import AddressInUse
from wingmanmatch_server.open_files import reserve_files
from wingmanmatch_server.serving import credentials_of, wanted_connections
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system.health import PROCESS_NAMES, SERVICE, Health
from wingmanmatch_server.system.reflection import reflection_handlers
from wingmanmatch_server.web.admin import waiting_routes
from wingmanmatch_server.web.listeners import Listeners
from wingmanmatch_server.web.metrics import HttpMetrics

ALIVE = "liveness"
GRACE = 1.0  # seconds for probes on their way; a stream that watches health must not delay the start longer


@asynccontextmanager
async def answering_probes(settings: Settings) -> AsyncIterator[None]:
    """Take gRPC calls at every port that the server will have, and probes by HTTP; `liveness` alone is SERVING.

    Every other method answers UNAVAILABLE, which clients and proxies retry elsewhere. Raises AddressInUse and
    CertificateError.
    """
    server = grpc.aio.server()
    reflection = reflection_handlers([SERVICE]) if settings.reflects else []
    server.add_generic_rpc_handlers((_health().handler(), *reflection, _NotYet()))
    for address in _addresses(settings):
        _bind(server, address, credentials_of(settings))
    await server.start()
    try:
        async with _probes_by_http(settings):
            yield
    finally:
        await server.stop(GRACE)


@asynccontextmanager
async def _probes_by_http(settings: Settings) -> AsyncIterator[None]:
    if settings.admin_listen.endswith(":0"):  # the system is to choose the port: who could ask there?
        yield
        return
    listeners = Listeners(settings, reserve_files(wanted_connections(settings)), HttpMetrics(CollectorRegistry()))
    async with listeners.admin(waiting_routes("migrations")):
        yield


def _health() -> Health:
    health = Health(PROCESS_NAMES)
    for name in PROCESS_NAMES:
        health.set(name, serving=name == ALIVE)
    return health


def _addresses(settings: Settings) -> list[str]:
    """Return the addresses of all workers; none where the system is to choose the port: who could ask there?"""
    host, _, port = settings.grpc_listen.rpartition(":")
    first = int(port)
    return [f"{host}:{each}" for each in range(first, first + settings.workers)] if first else []


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> None:
    try:
        if credentials:
            server.add_secure_port(address, credentials)
        else:
            server.add_insecure_port(address)
    except RuntimeError:
        raise AddressInUse("GRPC_LISTEN", address) from None


class _NotYet(grpc.GenericRpcHandler):
    """Refuses every method by its headers alone: a unary handler would first wait for the request."""

    def service(self, _details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    @staticmethod
    async def _refuse(_requests: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> NoReturn:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the server waits for its database's migrations")
