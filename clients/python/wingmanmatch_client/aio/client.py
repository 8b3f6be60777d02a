"""A connection and every service on it."""

import uuid
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import grpc

from wingmanmatch_client.aio.calls import Calls
from wingmanmatch_client.aio.channels import Connections
from wingmanmatch_client.aio.services import Services
from wingmanmatch_client.connection import Option, Tls, channel_options, credentials_for, metadata_for


class Client(Services):
    """Every service of a server; used as a context manager, or closed by `close`.

    Calls share one connection, `channel`; streams, ninety each, have others.
    """

    def __init__(self, connections: Connections, calls: Calls) -> None:
        """Take connections over. `connect` makes them."""
        super().__init__(calls)
        self.channel = connections.for_calls.channel
        self._calls = calls

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Calls under way, and any afterwards, raise Cancelled; watching ends in good order."""
        await self._calls.close()


def connect(
    target: str,
    *,
    api_key: str | None = None,
    tls: Tls | bool | None = None,
    options: Sequence[Option] = (),
    make_id: Callable[[], str] = lambda: str(uuid.uuid4()),
) -> Client:
    """Return a client of the server at `target`, `HOST:PORT` or any name that gRPC resolves.

    It connects at the first call. `api_key` is what `wingmanmatch keys create` printed, or a user's token. `tls` says
    how to be sure of the server: True by the authorities that gRPC trusts, a `Tls` by yours, False not at all. Left out
    it is True, and False for a server on this machine. `options` are gRPC's channel options, over those of this client;
    `make_id` makes the `request_id` of mutations.
    """
    credentials = credentials_for(target, tls=tls)

    def open_channel(further: list[Option]) -> grpc.aio.Channel:
        every_option = [*channel_options(), *further, *options]
        if credentials is None:
            return grpc.aio.insecure_channel(target, options=every_option)
        return grpc.aio.secure_channel(target, credentials, options=every_option)

    connections = Connections(open_channel)
    return Client(connections, Calls(connections, metadata_for(api_key), make_id))
