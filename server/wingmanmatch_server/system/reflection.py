"""gRPC server reflection, under both of its names."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, nullcontext
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.errors import abort
from wingmanmatch_server.interceptors.peer_streams import PeerStreams
from wingmanmatch_server.interceptors.requests import RequestReader, decoded, deserializer

LONGEST = 60.0  # seconds; tools open a stream for each command, or open another when one ends
# The two versions have the same messages; grpcio-reflection knows only the older name.
SERVICES = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)


def reflection_handlers(
    service_names: Iterable[str], streams: PeerStreams | None = None, reader: RequestReader | None = None
) -> list[grpc.GenericRpcHandler]:
    """Return what tells clients such as grpcurl about `service_names`.

    `streams` bounds how many ask at a time, `reader` how long is waited for a question, and `LONGEST` how long a stream
    is open.
    """
    names = (*service_names, reflection.SERVICE_NAME)
    servicer = reflection.aio.ReflectionServicer(names, pool=_MethodFinder(descriptor_pool.Default()))
    bounded = _Bounded(servicer, streams, reader or RequestReader())
    method = grpc.stream_stream_rpc_method_handler(
        bounded.serve,
        deserializer(reflection_pb2.ServerReflectionRequest),
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method}) for name in SERVICES]


class _Bounded:
    """Serves streams of questions within their bounds."""

    def __init__(self, servicer: Any, streams: PeerStreams | None, reader: RequestReader) -> None:
        self._servicer = servicer
        self._streams = streams
        self._reader = reader

    async def serve(self, requests: AsyncIterator[Any], context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        """Answer questions until the client has asked all, or has taken too long."""
        try:
            async with asyncio.timeout(LONGEST):
                with self._streams.place(context) if self._streams else nullcontext():
                    await self._answer(requests, context)
        except TimeoutError:
            error = errors.DeadlineExceeded("DEADLINE_EXCEEDED", f"the stream was open for {LONGEST:g} s")
            await abort(context, error)
        except errors.DomainError as error:
            await abort(context, error)

    async def _answer(self, requests: AsyncIterator[Any], context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        async with aclosing(self._servicer.ServerReflectionInfo(self._questions(requests), context)) as answers:
            async for answer in answers:
                await context.write(answer)

    async def _questions(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        while (question := await self._reader.read(requests, at_end=None)) is not None:
            yield decoded(question)


class _MethodFinder:
    """A descriptor pool that finds the file of a method as well: protobuf's own knows services, not their methods."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:  # noqa: N802 - protobuf's name
        """Return the file that defines `symbol`. Raises KeyError if none does."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            return self._pool.FindServiceByName(service).methods_by_name[method].containing_service.file
