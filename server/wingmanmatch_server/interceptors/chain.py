"""Composes the edge around each method, once, at registration.

grpc.aio's own interceptors would be asked for a handler on every call. Generic handlers alone are registered: in
grpcio 1.85 every *registered* method makes every RPC of the server dearer.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message

from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.policy import Method, methods_of


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the name of a calling back end and its scopes, or the user whose credential it is."""

    name: str
    user_id: str | None = None
    scopes: frozenset[str] = frozenset()


LOCAL = Caller("local")


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


class Undecodable(Message):
    """Stands for request bytes that are not the message they should be."""


class ClientGone(Exception):
    """The client left while a stream was being written."""


UNDECODABLE = Undecodable()


def service_handler(
    service: ServiceDescriptor, implementation: object | None, interceptors: Sequence[Interceptor]
) -> grpc.GenericRpcHandler:
    """Return what serves `service`: the RPC `GetMatch` by the implementation's `get_match`.

    An RPC that the implementation lacks answers UNIMPLEMENTED, reason NOT_IMPLEMENTED.
    """
    handlers = {}
    for method in methods_of(service):
        behaviour = getattr(implementation, snake_case(method.name), _not_implemented)
        handlers[method.name] = _handler(method, bound(method, interceptors, _innermost(method, behaviour)))
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


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


def _handler(method: Method, proceed: Proceed) -> "grpc.RpcMethodHandler[Any, Any]":
    async def serve(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        return await proceed(request, Call(context))

    async def serve_stream(requests: AsyncIterator[Any], context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        return await proceed(_decoded(requests), Call(context))

    make = _MAKE[method.client_streaming, method.server_streaming]
    handle: Any = serve_stream if method.client_streaming else serve
    return make(handle, deserializer(method.request), method.response.SerializeToString)


async def _decoded(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield decoded(request)


def decoded(request: Any) -> Any:
    """Return the request. Raises errors.InvalidArgument if its bytes were not decodable."""
    if request is UNDECODABLE:
        message = "the request's bytes are not the message of this method"
        raise errors.InvalidArgument((), "REQUEST_UNDECODABLE", message)
    return request


def deserializer(message: type[Message]) -> Callable[[bytes], Message]:
    """Return what makes requests of bytes, and UNDECODABLE of those that are none."""
    parse = message.FromString

    def deserialize(data: bytes) -> Message:
        # An exception here would reach the client with its class and text.
        try:
            return parse(data)
        except DecodeError:
            return UNDECODABLE

    return deserialize


_MAKE: dict[tuple[bool, bool], Callable[..., "grpc.RpcMethodHandler[Any, Any]"]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
