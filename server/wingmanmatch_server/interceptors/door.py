"""Refuses a caller without a good credential before its request is there.

A client that sends headers and nothing more would hold its stream until the server is tired of waiting, without any
credential. So a call whose credential is not recognized at once is answered by its headers alone.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import (
    Call,
    Interceptor,
    ServiceHandler,
    bound,
    service_handler,
    stream_handler,
)
from wingmanmatch_server.interceptors.policy import Method, methods_of
from wingmanmatch_server.interceptors.requests import RequestReader

Metadata = Iterable[tuple[str, str | bytes]]
Serve = Callable[[Any, "grpc.aio.ServicerContext[Any, Any]"], Any]


class Doorkeeper(Interceptor, Protocol):
    """The interceptor that refuses bad credentials."""

    def recognizes(self, method: Method, metadata: Metadata) -> bool:
        """Tell whether the call may be read; False where that takes waiting to find out."""

    async def admits(self, method: Method, context: "grpc.aio.ServicerContext[Any, Any]") -> bool:
        """Tell whether the call may be read."""


def guarded_handler(
    service: ServiceDescriptor,
    implementation: object | None,
    interceptors: Sequence[Interceptor],
    doorkeeper: Doorkeeper,
    reader: RequestReader | None = None,
) -> grpc.GenericRpcHandler:
    """Return what `service_handler` does, behind one of the interceptors as doorkeeper."""
    handler = service_handler(service, implementation, interceptors, reader)
    return Guarded(handler, service, interceptors, doorkeeper)


class Guarded(grpc.GenericRpcHandler):
    """Serves a recognized caller as `handler` does, and lets any other in only once it is admitted."""

    def __init__(
        self,
        handler: ServiceHandler,
        service: ServiceDescriptor,
        interceptors: Sequence[Interceptor],
        doorkeeper: Doorkeeper,
    ) -> None:
        """`doorkeeper` is one of `interceptors`; those before it see the refused calls too."""
        self._handler = handler
        self._doorkeeper = doorkeeper
        outer = interceptors[: list(interceptors).index(doorkeeper) + 1]
        self._methods: Mapping[str, tuple[Method, Callable[..., Any]]] = {
            method.path: (method, bound(method, outer, _refuse))
            for method in methods_of(service)
            if not method.client_streaming
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """See `grpc.GenericRpcHandler.service`."""
        found = self._methods.get(handler_call_details.method)
        if found is None or self._doorkeeper.recognizes(found[0], handler_call_details.invocation_metadata or ()):
            return self._handler.service(handler_call_details)
        return self._once_admitted(*found)

    def _once_admitted(self, method: Method, refuse: Callable[..., Any]) -> Any:
        handler: Any = self._handler.timed[method.path]
        serve: Serve = handler.stream_stream if method.server_streaming else handler.stream_unary

        async def answer(requests: AsyncIterator[Any], context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            if not await self._doorkeeper.admits(method, context):
                await refuse(method.request(), Call(context))
            return await serve(requests, context)

        return stream_handler(method, answer)


async def _refuse(_request: object, _call: Call) -> None:
    """Refuse a caller whose credential became good between the two looks at it: its next call will pass."""
    raise errors.Unauthenticated("CREDENTIAL_INVALID", "the call carries no valid credential")
