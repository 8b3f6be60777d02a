"""Binding, signals and the way a server stops."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import grpc

from wingmanmatch_server.addresses import Addresses, AddressInUse, Announce, with_port
from wingmanmatch_server.bootstrap import Application, open_application
from wingmanmatch_server.connections import ConnectionLimits
from wingmanmatch_server.identity.certificates import CertificateFiles, ServerCertificates
from wingmanmatch_server.open_files import ConnectionShares, reserve_files
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.telemetry.log_writer import LogWriter
from wingmanmatch_server.telemetry.metrics import LogMetrics
from wingmanmatch_server.web.admin import process_routes
from wingmanmatch_server.web.limits import ADMIN_CONNECTIONS
from wingmanmatch_server.web.listeners import Listeners
from wingmanmatch_server.web.metrics import HttpMetrics

CLEANUP = 5.0  # seconds that cancelled handlers have to end
LAST_RESORT = 30.0  # seconds after drain and grace by which closing everything must have ended
LAST_WORDS = 1.0  # seconds that standard error has to take the sentence about it


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
    room = reserve_files(wanted_connections(settings))
    limits = replace(connection_limits(settings), max_connections=room.grpc)
    async with open_application(settings, database_url, redis_url, logs) as application:
        listeners = Listeners(settings, room, HttpMetrics(application.registry))
        async with (
            listeners.public(application.routes) as http_address,
            listening(application, settings.grpc_listen, credentials_of(settings), limits=limits) as (server, port),
            # Last, so that who is told that the process is ready finds it so.
            listeners.admin(process_routes(application.registry, application.health)) as admin_address,
        ):
            LogMetrics(application.registry, lambda: logs.dropped)
            announce(Addresses([with_port(settings.grpc_listen, port)], http_address, admin_address))
            await _until_stopped(signals, settings, application, server)


async def _until_stopped(
    signals: "asyncio.Queue[int]", settings: Settings, application: Application, server: grpc.aio.Server
) -> None:
    received = await signals.get()
    end_within(longest_stop(settings))
    application.drain()
    if received == signal.SIGTERM:
        await first(signals.get(), asyncio.sleep(settings.drain_delay))
    await first(signals.get(), server.stop(settings.shutdown_grace))


def wanted_connections(settings: Settings) -> ConnectionShares:
    """Return how many connections the settings allow each listener."""
    return ConnectionShares(settings.max_connections, settings.max_http_connections, ADMIN_CONNECTIONS)


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
