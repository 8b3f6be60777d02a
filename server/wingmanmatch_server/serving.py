"""Binding, signals and the way a server stops."""

import asyncio
import os
import resource
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import grpc

from wingmanmatch_server.bootstrap import Application, open_application
from wingmanmatch_server.connections import ConnectionLimits
from wingmanmatch_server.identity.certificates import CertificateFiles, ServerCertificates
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.telemetry.log_writer import LogWriter
from wingmanmatch_server.telemetry.metrics import LogMetrics
from wingmanmatch_server.web import serve_web

OWN_FILES = 512  # files and sockets besides those of clients
CLEANUP = 5.0  # seconds that cancelled handlers have to end
LAST_RESORT = 30.0  # seconds after drain and grace by which closing everything must have ended
LAST_WORDS = 1.0  # seconds that standard error has to take the sentence about it


# Takes the address of gRPC and that of HTTP, each HOST:PORT.
Announce = Callable[[str, str], None]


class AddressInUse(Exception):
    """Something else listens on the address that a setting names."""

    def __init__(self, setting: str, address: str) -> None:
        super().__init__(f"{address} is taken by another program; stop it, or set {setting} to another address")


async def serve(
    settings: Settings, database_url: str | None, redis_url: str, logs: LogWriter, announce: Announce
) -> None:
    """Serve until a signal says stop; `announce` is called once the server answers, with its addresses.

    `logs` takes the access log.

    SIGTERM drains first: health is NOT_SERVING for `drain_delay` seconds while calls are still served, so that load
    balancers turn away in time. SIGINT, a person's Ctrl-C, does not wait for them. A second signal ends all waiting.
    Raises AddressInUse and errors.Unavailable.
    """
    signals = stop_signals()
    allow_sockets(settings.max_connections)
    async with (
        open_application(settings, database_url, redis_url, logs) as application,
        _web(settings, application) as http_port,
        listening(application, settings.grpc_listen, credentials_of(settings), limits=connection_limits(settings)) as (
            server,
            grpc_port,
        ),
    ):
        LogMetrics(application.registry, lambda: logs.dropped)
        announce(with_port(settings.grpc_listen, grpc_port), with_port(settings.http_listen, http_port))
        received = await signals.get()
        end_within(longest_stop(settings))
        application.drain()
        if received == signal.SIGTERM:
            await first(signals.get(), asyncio.sleep(settings.drain_delay))
        await first(signals.get(), server.stop(settings.shutdown_grace))


def allow_sockets(connections: int) -> None:
    """Raise the limit of open files, often 1024, so that so many connections fit, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def longest_stop(settings: Settings) -> float:
    """Return the seconds after a signal by which the process has ended, in good order or not."""
    return settings.drain_delay + settings.shutdown_grace + LAST_RESORT


def end_within(seconds: float) -> None:
    """End the process with status 1 after so many seconds, whatever it waits for: its event loop may be blocked."""

    def end() -> None:
        sentence = f"wingmanmatch: not stopped after {seconds:g} s, ended by force\n"
        # In a thread, because nobody may read it.
        saying = threading.Thread(target=sys.stderr.write, args=(sentence,), daemon=True)
        saying.start()
        saying.join(LAST_WORDS)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


@asynccontextmanager
async def listening(
    application: Application,
    address: str,
    credentials: grpc.ServerCredentials | None = None,
    *,
    limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 - frozen
) -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    """Start a gRPC server on `address`, with TLS if there are credentials, and yield it with its port.

    At the end all calls are cancelled, and their handlers have ended or had `CLEANUP` seconds for it.

    Raises AddressInUse.
    """
    server = grpc.aio.server(options=limits.channel_arguments())
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
        with suppress(TimeoutError):
            async with asyncio.timeout(CLEANUP):
                await application.in_flight.idle()


def connection_limits(settings: Settings) -> ConnectionLimits:
    """Return what the settings allow each connection. No call is cut by its connection's age before its deadline."""
    return ConnectionLimits(
        max_age=settings.max_connection_age,
        age_grace=settings.max_deadline,
        max_connections=settings.max_connections,
        max_streams=settings.max_concurrent_streams,
    )


def credentials_of(settings: Settings) -> grpc.ServerCredentials | None:
    """Return the TLS credentials that the settings name, None without. Raises CertificateError."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    files = CertificateFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
    return ServerCertificates(files).credentials()


@asynccontextmanager
async def _web(settings: Settings, application: Application) -> AsyncIterator[int]:
    async with AsyncExitStack() as stack:
        try:
            port = await stack.enter_async_context(
                serve_web(settings.http_listen, application.registry, application.routes)
            )
        except OSError:
            raise AddressInUse("HTTP_LISTEN", settings.http_listen) from None
        yield port


def with_port(address: str, port: int) -> str:
    """Return the address with the port that it got, for one that left the choice to the system by port 0."""
    return f"{address.rpartition(':')[0]}:{port}"


def stop_signals() -> "asyncio.Queue[int]":
    """Return a queue of the stop signals that arrive from now on."""
    received: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, received.put_nowait, number)
    return received


async def first(*awaitables: Coroutine[Any, Any, object]) -> None:
    """Wait for the first of `awaitables` and cancel the others."""
    tasks = [asyncio.create_task(awaitable) for awaitable in awaitables]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
