"""A real server with the real edge around whatever implementation a test gives it."""

import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry

from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch_server.bootstrap import Application, make_interceptors
from wingmanmatch_server.interceptors.chain import Interceptor, service_handler
from wingmanmatch_server.interceptors.identity import Identity
from wingmanmatch_server.interceptors.peer import peer_address_behind
from wingmanmatch_server.serving import listening
from wingmanmatch_server.system.health import Health
from wingmanmatch_server.telemetry.logs import AccessLog
from wingmanmatch_server.telemetry.metrics import RpcMetrics

MATCHING = matching_service_pb2.DESCRIPTOR.services_by_name["MatchingService"]


class Edge:
    """What a test sees of the edge from outside: a channel, the access log and the metrics."""

    def __init__(self) -> None:
        self.log_output = io.BytesIO()
        self.access_log = AccessLog("json", self.log_output)
        self.registry = CollectorRegistry()
        self.channel: grpc.aio.Channel

    def interceptors(self) -> list[Interceptor]:
        """Return the server's own edge."""
        identity = Identity(None, None, peer_address_behind(()))
        return make_interceptors(RpcMetrics(self.registry), self.access_log, identity)

    def replaced(self, replacement: Interceptor) -> list[Interceptor]:
        """Return the server's own edge with the interceptor of `replacement`'s class replaced."""
        return [replacement if type(each) is type(replacement) else each for each in self.interceptors()]

    def log_lines(self) -> list[bytes]:
        """Return the access log so far."""
        self.access_log.flush()
        return self.log_output.getvalue().splitlines()

    def handled(self, method: str, code: str, service: str = MATCHING.full_name) -> float | None:
        """Return how many calls of a method ended with a code."""
        labels = {"grpc_service": service, "grpc_method": method, "grpc_code": code}
        return self.registry.get_sample_value("grpc_server_handled_total", labels)


@asynccontextmanager
async def serving(
    implementation: object,
    *,
    edge: Edge | None = None,
    interceptors: Sequence[Interceptor] | None = None,
    service: ServiceDescriptor = MATCHING,
) -> AsyncIterator[Edge]:
    """Serve `implementation` on a port of its own and yield the edge with a channel to it."""
    edge = edge or Edge()
    handler = service_handler(service, implementation, interceptors or edge.interceptors())
    application = Application([handler], Health(()), edge.registry)
    async with channel_to(application) as channel:
        edge.channel = channel
        yield edge


@asynccontextmanager
async def channel_to(application: Application) -> AsyncIterator[grpc.aio.Channel]:
    """Serve an application on a port of its own and yield a channel to it."""
    async with (
        listening(application, "127.0.0.1:0") as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield channel


class Failure:
    """What a client sees of a failed call."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        self.message = error.details() or ""
        status = rpc_status.from_call(error)
        self.details: list[Any] = list(status.details) if status else []

    def detail(self, message: type[Any]) -> Any:
        """Return the detail of a type; fail if the error has none or two."""
        (packed,) = [each for each in self.details if each.Is(message.DESCRIPTOR)]
        detail = message()
        packed.Unpack(detail)
        return detail

    @property
    def reason(self) -> str:
        """The reason of the error's ErrorInfo."""
        return str(self.detail(error_details_pb2.ErrorInfo).reason)

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of the error's ErrorInfo."""
        return dict(self.detail(error_details_pb2.ErrorInfo).metadata)

    @property
    def violations(self) -> dict[str, str]:
        """Field → rule of the error's BadRequest."""
        violations = self.detail(error_details_pb2.BadRequest).field_violations
        return {violation.field: violation.reason for violation in violations}


async def failure_of(call: Any) -> Failure:
    """Await a call that must fail and return how it did."""
    try:
        response = await call
    except grpc.aio.AioRpcError as error:
        return Failure(error)
    raise AssertionError(f"the call succeeded: {response}")
