"""How calls are made. `sync/` has the same without asyncio, derived from here by protos/generate_client.py."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc

from wingmanmatch_client.aio.channels import Connection, Connections
from wingmanmatch_client.errors import WingmanMatchError, cancellation_of, closed, error_of
from wingmanmatch_client.resuming import Resumption
from wingmanmatch_client.rpc import RequestT, ResponseT, Rpc, give_id

ItemT = TypeVar("ItemT")
Metadata = tuple[tuple[str, str], ...]


class Calls:
    """Makes calls. Each raises WingmanMatchError."""

    def __init__(self, connections: Connections, metadata: Metadata, make_id: Callable[[], str]) -> None:
        """Send `metadata` with every call; `make_id` returns the `request_id` of one that has none."""
        self._connections = connections
        self._metadata = metadata
        self._make_id = make_id
        self._closed = False

    async def close(self) -> None:
        """End the calls under way, and close the connections."""
        self._closed = True
        await self._connections.close()

    async def unary(self, rpc: Rpc[RequestT, ResponseT], request: RequestT, timeout: float | None) -> ResponseT:
        """Call once, within `timeout` seconds or the RPC's own deadline."""
        request_id = give_id(rpc, request, self._make_id)
        try:
            connection = self._connections.for_calls
            response: ResponseT = await self._started(connection, rpc, "unary_unary", request, timeout)
        except grpc.RpcError as error:
            raise error_of(error, request_id) from error
        except asyncio.CancelledError as error:
            raise cancellation_of(error, request_id) from None
        return response

    def stream(
        self, rpc: Rpc[RequestT, ResponseT], request: RequestT, timeout: float | None
    ) -> AsyncGenerator[ResponseT, None]:
        """Yield the messages that one request is answered with."""
        return self._messages(rpc, "unary_stream", request, timeout)

    def exchange(
        self,
        rpc: Rpc[RequestT, ResponseT],
        requests: AsyncIterable[RequestT] | Iterable[RequestT],
        timeout: float | None,
    ) -> AsyncGenerator[ResponseT, None]:
        """Send requests for as long as they come, and yield what they are answered with."""
        return self._messages(rpc, "stream_stream", requests, timeout)

    async def items(
        self,
        rpc: Rpc[RequestT, ResponseT],
        request: RequestT,
        items_of: Callable[[ResponseT], Iterable[ItemT]],
        timeout: float | None,
    ) -> AsyncGenerator[ItemT, None]:
        """Yield what is on all pages. Each is asked for when it is needed, and has `timeout` seconds."""
        asked: Any = request
        while True:
            page: Any = await self.unary(rpc, request, timeout)
            for item in items_of(page):
                yield item
            if not page.next_page_token:
                return
            asked.page_token = page.next_page_token

    async def watch(
        self, rpc: Rpc[RequestT, ResponseT], request: RequestT, *, heartbeats: bool, patience: float | None
    ) -> AsyncGenerator[ResponseT, None]:
        """Yield what a stream brings, and open it again from where it was whenever it breaks, until `close`."""
        asked: Any = request
        resumption = Resumption(patience, time.monotonic)
        while not self._closed:
            failure: WingmanMatchError | None = None
            messages: AsyncGenerator[Any, None] = self.stream(rpc, request, None)
            try:
                async with aclosing(messages):
                    async for message in messages:
                        resumption.heard()
                        asked.resume_token = message.resume_token
                        if heartbeats or message.HasField("event"):
                            yield message
            except WingmanMatchError as error:
                failure = error
            if not self._closed:
                await asyncio.sleep(resumption.delay(failure))

    def _started(
        self,
        connection: Connection,
        rpc: Rpc[RequestT, ResponseT],
        kind: str,
        request: Any,
        timeout: float | None,
    ) -> Any:
        try:
            method = connection.method(rpc, kind)
            return method(request, timeout=rpc.deadline if timeout is None else timeout, metadata=self._metadata)
        except (grpc.aio.UsageError, ValueError):
            if self._closed:
                raise closed() from None
            raise

    async def _messages(
        self, rpc: Rpc[Any, ResponseT], kind: str, request: Any, timeout: float | None
    ) -> AsyncGenerator[ResponseT, None]:
        """Yield the messages of a call, begun with the first and ended when nobody reads on."""
        if self._closed:
            raise closed()
        with self._connections.for_a_stream() as connection:
            call = self._started(connection, rpc, kind, request, timeout)
            try:
                async for message in call:
                    yield message
            except grpc.RpcError as error:
                raise error_of(error) from error
            except asyncio.CancelledError as error:
                raise cancellation_of(error) from None
            finally:
                call.cancel()
