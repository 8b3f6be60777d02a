"""Connections. `sync/` has the same without asyncio, derived from here by protos/generate_client.py."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import grpc

from wingmanmatch_client.connection import Option
from wingmanmatch_client.rpc import Rpc

# A server takes a hundred streams on a connection and lets further ones wait without a word. Some room is left, since a
# stream that was ended here may not have ended there yet.
MOST_STREAMS = 90
OWN_CONNECTION: Option = ("grpc.use_local_subchannel_pool", 1)


class Connection:
    """A channel, and what calls its methods."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.streams = 0
        self._methods: dict[str, Any] = {}

    def method(self, rpc: Rpc[Any, Any], kind: str) -> Any:
        """Return what calls an RPC; `kind` is the channel's name for it, such as unary_stream."""
        method = self._methods.get(rpc.path)
        if method is None:
            serialize, parse = rpc.request.SerializeToString, rpc.response.FromString
            make = getattr(self.channel, kind)
            method = make(rpc.path, request_serializer=serialize, response_deserializer=parse)
            self._methods[rpc.path] = method
        return method


class Connections:
    """One connection for calls, and for streams as many as they need: no number of them makes a call wait."""

    def __init__(self, open_channel: Callable[[list[Option]], grpc.aio.Channel]) -> None:
        """`open_channel` opens a channel with further options; it connects at its first call."""
        self._open_channel = open_channel
        self._lock = Lock()
        self._for_streams: list[Connection] = []
        self.for_calls = Connection(open_channel([]))

    @contextmanager
    def for_a_stream(self) -> Iterator[Connection]:
        """Yield a connection with room for a stream, for as long as the stream is open."""
        with self._lock:
            connection = next((each for each in self._for_streams if each.streams < MOST_STREAMS), None)
            if connection is None:
                connection = Connection(self._open_channel([OWN_CONNECTION]))
                self._for_streams.append(connection)
            connection.streams += 1
        try:
            yield connection
        finally:
            with self._lock:
                connection.streams -= 1

    async def close(self) -> None:
        """Close all channels."""
        for connection in (self.for_calls, *self._for_streams):
            await connection.channel.close()
