"""The two HTTP listeners that the settings name."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial

from aiohttp import web

from wingmanmatch_server.addresses import AddressInUse, with_port
from wingmanmatch_server.open_files import ConnectionShares
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.web.limits import BETWEEN_PROCESSES, HttpLimits
from wingmanmatch_server.web.metrics import HttpMetrics
from wingmanmatch_server.web.server import serve_http


class Listeners:
    """Opens the public listener and the administrator's, each with as many connections as there is room for."""

    def __init__(self, settings: Settings, room: ConnectionShares, metrics: HttpMetrics) -> None:
        self._settings = settings
        self._room = room
        self._metrics = metrics

    def public(self, routes: Sequence[web.AbstractRouteDef]) -> AbstractAsyncContextManager[str]:
        """Serve `routes` at HTTP_LISTEN and yield the address. Raises AddressInUse."""
        return self._open("HTTP_LISTEN", self._settings.http_listen, routes, "public", self._room.http)

    def admin(self, routes: Sequence[web.AbstractRouteDef]) -> AbstractAsyncContextManager[str]:
        """Serve `routes` at ADMIN_LISTEN and yield the address. Raises AddressInUse."""
        return self._open("ADMIN_LISTEN", self._settings.admin_listen, routes, "admin", self._room.admin)

    @asynccontextmanager
    async def _open(
        self, setting: str, address: str, routes: Sequence[web.AbstractRouteDef], name: str, connections: int
    ) -> AsyncIterator[str]:
        limits = BETWEEN_PROCESSES if address.startswith("unix:") else HttpLimits(max_connections=connections)
        async with AsyncExitStack() as stack:
            try:
                watch = partial(self._metrics.watch, name)
                port = await stack.enter_async_context(serve_http(address, routes, limits=limits, watch=watch))
            except OSError:
                raise AddressInUse(setting, address) from None
            yield with_port(address, port)
