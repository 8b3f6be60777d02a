"""A connection and every service on it."""

import uuid
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import grpc

from wingmanmatch_client.aio.calls import Calls
from wingmanmatch_client.aio.services import Services
from wingmanmatch_client.connection import Option, Tls, channel_options, credentials_for, metadata_for


class Client(Services):
    """Every service of a server, on one connection; used as a context manager, or closed by `close`."""

    def __init__(self, channel: grpc.aio.Channel, calls: Calls) -> None:
        """Take a channel over. `connect` makes one."""
        super().__init__(calls)
        self.channel = channel
        self._calls = calls

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Calls under way, and any afterwards, raise Cancelled; watching ends in good order."""
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
    every_option = [*channel_options(), *options]
    if credentials is None:
        channel = grpc.aio.insecure_channel(target, options=every_option)
    else:
        channel = grpc.aio.secure_channel(target, credentials, options=every_option)
    return Client(channel, Calls(channel, metadata_for(api_key), make_id))
