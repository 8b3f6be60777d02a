"""Binding, signals and the way a server stops."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc

from wingmanmatch_server.bootstrap import Application, open_application
from wingmanmatch_server.identity.certificates import CertificateFiles, ServerCertificates
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.web import serve_web

CHANNEL_OPTIONS = (
    # Two servers would share one port silently, and connections could not be drained.
    ("grpc.so_reuseport", 0),
)


# Takes the address of gRPC and that of HTTP, each HOST:PORT.
Announce = Callable[[str, str], None]


class AddressInUse(Exception):
    """Something else listens on the address that a setting names."""

    def __init__(self, setting: str, address: str) -> None:
        super().__init__(f"{address} is taken by another program; stop it, or set {setting} to another address")


async def serve(settings: Settings, database_url: str | None, redis_url: str, announce: Announce) -> None:
    """Serve until a signal says stop; `announce` is called once the server answers, with its addresses.

    SIGTERM drains first: health is NOT_SERVING for `drain_delay` seconds while calls are still served, so that load
    balancers turn away in time. SIGINT, a person's Ctrl-C, does not wait for them. A second signal ends all waiting.
    Raises AddressInUse and errors.Unavailable.
    """
    signals = _signals()
    async with (
        open_application(settings, database_url, redis_url, sys.stderr.buffer) as application,
        _web(settings, application) as http_port,
        listening(application, settings.grpc_listen, credentials_of(settings)) as (server, grpc_port),
    ):
        announce(_with_port(settings.grpc_listen, grpc_port), _with_port(settings.http_listen, http_port))
        received = await signals.get()
        application.drain()
        if received == signal.SIGTERM:
            await _first(signals.get(), asyncio.sleep(settings.drain_delay))
        await _first(signals.get(), server.stop(settings.shutdown_grace))


@asynccontextmanager
async def listening(
    application: Application, address: str, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    """Start a gRPC server on `address`, with TLS if there are credentials, and yield it with its port.

    Raises AddressInUse.
    """
    server = grpc.aio.server(options=CHANNEL_OPTIONS)
    server.add_generic_rpc_handlers(tuple(application.handlers))
    try:
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError:
        raise AddressInUse("GRPC_LISTEN", address) from None
    await server.start()
    try:
        yield server, port
    finally:
        await server.stop(0)


def credentials_of(settings: Settings) -> grpc.ServerCredentials | None:
    """Return the TLS credentials that the settings name, None without. Raises CertificateError."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    files = CertificateFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
    return ServerCertificates(files).credentials()


@asynccontextmanager
async def _web(settings: Settings, application: Application) -> AsyncIterator[int]:
    try:
        async with serve_web(settings.http_listen, application.registry, application.routes) as port:
            yield port
    except OSError:
        raise AddressInUse("HTTP_LISTEN", settings.http_listen) from None


def _with_port(address: str, port: int) -> str:
    """Return the address with the port that it got, for one that left the choice to the system by port 0."""
    return f"{address.rpartition(':')[0]}:{port}"


def _signals() -> "asyncio.Queue[int]":
    """Return a queue of the stop signals that arrive from now on."""
    received: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, received.put_nowait, number)
    return received


async def _first(*awaitables: Coroutine[Any, Any, object]) -> None:
    """Wait for the first of `awaitables` and cancel the others."""
    tasks = [asyncio.create_task(awaitable) for awaitable in awaitables]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
