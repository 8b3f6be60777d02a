"""How calls are made. Derived from `aio/` by protos/generate_client.py."""

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import Any, TypeVar

import grpc

from wingmanmatch_client.errors import WingmanMatchError, closed, error_of
from wingmanmatch_client.resuming import Resumption
from wingmanmatch_client.rpc import RequestT, ResponseT, Rpc, give_id
from wingmanmatch_client.sync.channels import Connection, Connections

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

    def close(self) -> None:
        """End the calls under way, and close the connections."""
        self._closed = True
        self._connections.close()

    def unary(self, rpc: Rpc[RequestT, ResponseT], request: RequestT, timeout: float | None) -> ResponseT:
        """Call once, within `timeout` seconds or the RPC's own deadline."""
        request_id = give_id(rpc, request, self._make_id)
        try:
            connection = self._connections.for_calls
            response: ResponseT = self._started(connection, rpc, "unary_unary", request, timeout)
        except grpc.RpcError as error:
            raise error_of(error, request_id) from error
        return response

    def stream(
        self, rpc: Rpc[RequestT, ResponseT], request: RequestT, timeout: float | None
    ) -> Generator[ResponseT, None, None]:
        """Yield the messages that one request is answered with."""
        return self._messages(rpc, "unary_stream", request, timeout)

    def exchange(
        self,
        rpc: Rpc[RequestT, ResponseT],
        requests: Iterable[RequestT],
        timeout: float | None,
    ) -> Generator[ResponseT, None, None]:
        """Send requests for as long as they come, and yield what they are answered with."""
        return self._messages(rpc, "stream_stream", iter(requests), timeout)

    def items(
        self,
        rpc: Rpc[RequestT, ResponseT],
        request: RequestT,
        items_of: Callable[[ResponseT], Iterable[ItemT]],
        timeout: float | None,
    ) -> Generator[ItemT, None, None]:
        """Yield what is on all pages. Each is asked for when it is needed, and has `timeout` seconds."""
        asked: Any = request
        while True:
            page: Any = self.unary(rpc, request, timeout)
            for item in items_of(page):
                yield item
            if not page.next_page_token:
                return
            asked.page_token = page.next_page_token

    def watch(
        self, rpc: Rpc[RequestT, ResponseT], request: RequestT, *, heartbeats: bool, patience: float | None
    ) -> Generator[ResponseT, None, None]:
        """Yield what a stream brings, and open it again from where it was whenever it breaks, until `close`."""
        asked: Any = request
        resumption = Resumption(patience, time.monotonic)
        while not self._closed:
            failure: WingmanMatchError | None = None
            messages: Generator[Any, None, None] = self.stream(rpc, request, None)
            try:
                with closing(messages):
                    for message in messages:
                        resumption.heard()
                        asked.resume_token = message.resume_token
                        if heartbeats or message.HasField("event"):
                            yield message
            except WingmanMatchError as error:
                failure = error
            if not self._closed:
                time.sleep(resumption.delay(failure))

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
        except ValueError:
            if self._closed:
                raise closed() from None
            raise

    def _messages(
        self, rpc: Rpc[Any, ResponseT], kind: str, request: Any, timeout: float | None
    ) -> Generator[ResponseT, None, None]:
        """Yield the messages of a call, begun with the first and ended when nobody reads on."""
        if self._closed:
            raise closed()
        with self._connections.for_a_stream() as connection:
            call = self._started(connection, rpc, kind, request, timeout)
            try:
                for message in call:
                    yield message
            except grpc.RpcError as error:
                raise error_of(error) from error
            finally:
                call.cancel()
