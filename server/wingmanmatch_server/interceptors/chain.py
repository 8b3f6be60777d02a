"""Composes the edge around each method, once, at registration.

grpc.aio's own interceptors would be asked for a handler on every call. Generic handlers alone are registered: in
grpcio 1.85 every *registered* method makes every RPC of the server dearer.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from wingmanmatch.options.v1 import options_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.policy import Method, methods_of
from wingmanmatch_server.interceptors.requests import RequestReader, decoded, deserializer

RpcMethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
ADMIN = "admin"  # the scope of administration


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the name of a calling backend and its scopes, or the user whose credential it is.

    `email` is the user's address that the credential vouches for, empty without one. `calls_per_second` is how many
    calls a backend may make, None where its credential does not say. `expiry` is when the credential ends by itself, in
    seconds since the epoch, None if it does not. `credential` is the authenticator's own.
    """

    name: str
    user_id: str | None = None
    scopes: frozenset[str] = frozenset()
    email: str = field(default="", repr=False)
    calls_per_second: int | None = None
    expiry: float | None = None
    credential: object = field(default=None, repr=False)

    @property
    def is_admin(self) -> bool:
        """Whether the caller may administer the server."""
        return self is LOCAL or ADMIN in self.scopes


LOCAL = Caller("local")  # whoever calls a server that asks for no credentials
ANONYMOUS = Caller("anonymous")  # calls without a credential, where others have one


# One step of what admits a call, such as its charge to a rate limit.
Admission = Callable[[], Awaitable[None]]


class Call:
    """One call on its way through the edge.

    `code` and `reason` are those it ended with, known to the interceptors outside `errors`; `reason` is empty for OK.
    """

    __slots__ = ("_admissions", "caller", "code", "context", "reason")

    def __init__(self, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        self.context = context
        self.caller = LOCAL
        self.code = grpc.StatusCode.OK
        self.reason = ""
        self._admissions: tuple[Admission, ...] = ()

    def defer(self, admission: Admission) -> None:
        """Leave a step of the admission to the handler of a method that is `admitted_by_handler`."""
        self._admissions += (admission,)

    async def admit(self) -> None:
        """Do what the edge left to the handler, in its order. Raises what the edge would have raised.

        A second time it does nothing.
        """
        admissions, self._admissions = self._admissions, ()
        for admission in admissions:
            await admission()


# What serves a call: takes the request, or for a client stream an iterator of requests, and returns the response, or
# None once a server stream is written.
Proceed = Callable[[Any, Call], Awaitable[Any]]


class Interceptor(Protocol):
    """A concern of the edge."""

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """Return `proceed` with this concern around it, or `proceed` itself where the method needs none of it."""


class ClientGone(Exception):
    """The client left while a stream was being written."""


def service_handler(
    service: ServiceDescriptor,
    implementation: object | None,
    interceptors: Sequence[Interceptor],
    reader: RequestReader | None = None,
) -> "ServiceHandler":
    """Return what serves `service`: the RPC `GetMatch` by the implementation's `get_match`.

    An RPC that the implementation lacks answers UNIMPLEMENTED, reason NOT_IMPLEMENTED. `reader` reads the requests;
    several services may share one.
    """
    quick, timed, reader = {}, {}, reader or RequestReader()
    for method in methods_of(service):
        behaviour = getattr(implementation, snake_case(method.name), _not_implemented)
        proceed = bound(method, interceptors, _innermost(method, behaviour))
        timed[method.path] = _timed_handler(method, proceed, reader)
        if not method.client_streaming and method.policy.access != options_pb2.ACCESS_PUBLIC:
            quick[method.path] = _quick_handler(method, proceed, reader)
    return ServiceHandler(quick, timed, reader)


class ServiceHandler(grpc.GenericRpcHandler):
    """Serves each method in one of two ways.

    `quick` leaves it to grpc.aio to wait for the request, where the method has it and few requests are waited for so;
    `timed` waits as long as the reader does.
    """

    def __init__(
        self, quick: Mapping[str, RpcMethodHandler], timed: Mapping[str, RpcMethodHandler], reader: RequestReader
    ) -> None:
        self._quick = quick
        self.timed = timed
        self._reader = reader

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """See `grpc.GenericRpcHandler.service`."""
        path = handler_call_details.method
        quick = self._quick.get(path)
        return quick if quick is not None and self._reader.leave() else self.timed.get(path)


def bound(method: Method, interceptors: Sequence[Interceptor], proceed: Proceed) -> Proceed:
    """Return `proceed` with the interceptors around it, the first outermost."""
    for interceptor in reversed(interceptors):
        proceed = interceptor.bind(method, proceed)
    return proceed


def snake_case(name: str) -> str:
    """Return the Python name of an RPC: `get_match` for `GetMatch`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


async def _not_implemented(_request: object, _call: Call) -> None:
    raise errors.Unimplemented("NOT_IMPLEMENTED", "this version of the server does not implement the method")


def _innermost(method: Method, behaviour: Callable[[Any, Call], Any]) -> Proceed:
    if not method.server_streaming or behaviour is _not_implemented:
        return behaviour

    async def write_stream(request: Any, call: Call) -> None:
        # The generator must end in this task: handed on to grpc.aio, its `finally` would run in another.
        async with aclosing(behaviour(request, call)) as responses:
            async for response in responses:
                try:
                    await call.context.write(response)
                except grpc.aio.InternalError as error:
                    raise ClientGone from error

    return write_stream


def _quick_handler(method: Method, proceed: Proceed, reader: RequestReader) -> RpcMethodHandler:
    async def serve(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        reader.arrived()
        return await proceed(request, Call(context))

    handle: Any = serve
    make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
    return make(handle, deserializer(method.request), method.response.SerializeToString)


def _timed_handler(method: Method, proceed: Proceed, reader: RequestReader) -> RpcMethodHandler:
    async def serve(requests: AsyncIterator[Any], context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        return await proceed(await reader.read(requests), Call(context))

    async def serve_stream(requests: AsyncIterator[Any], context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        return await proceed(_decoded(requests), Call(context))

    return stream_handler(method, serve_stream if method.client_streaming else serve)


def stream_handler(method: Method, handle: Callable[..., Awaitable[Any]]) -> RpcMethodHandler:
    """Return what handles calls of an RPC by `handle`, which takes the requests and the context."""
    serialize: Any = method.response.SerializeToString
    make = grpc.stream_stream_rpc_method_handler if method.server_streaming else grpc.stream_unary_rpc_method_handler
    return make(handle, deserializer(method.request), serialize)


async def _decoded(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield decoded(request)
