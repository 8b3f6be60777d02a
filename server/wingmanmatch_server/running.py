"""`wingmanmatch serve` after the engines were started: migrate, serve, and say what runs where."""

import asyncio
import shlex
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import structlog
import typer
import uvloop

from wingmanmatch_server import __version__, errors
from wingmanmatch_server.addresses import Addresses, AddressInUse
from wingmanmatch_server.bootstrap.background import background
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migration_files import Migration, read_migrations
from wingmanmatch_server.drivers.migrations import MigrationError, migrate
from wingmanmatch_server.drivers.postgres_address import behind_transaction_pooler, with_password
from wingmanmatch_server.drivers.schema_version import SchemaRefused
from wingmanmatch_server.identity.api_keys import ApiKeyError
from wingmanmatch_server.identity.certificates import CertificateError
from wingmanmatch_server.ratelimit.policy_file import PolicyFileError
from wingmanmatch_server.serving import serve
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.telemetry.log_writer import LogWriter
from wingmanmatch_server.telemetry.logs import open_logs
from wingmanmatch_server.waiting import answering_probes
from wingmanmatch_server.workers.assignment import Assignment, read_assignment, stop_with_supervisor, tell_ready
from wingmanmatch_server.workers.backoff import Backoff
from wingmanmatch_server.workers.process import WorkerFailed
from wingmanmatch_server.workers.supervisor import supervise

DEFAULT_TARGET, DEFAULT_DATA_DIR = "127.0.0.1:50051", ".wingmanmatch"  # of `wingmanmatch demo`
SILENT_START = 1.0  # seconds that migrations may take before health probes are answered meanwhile

log = structlog.get_logger(__name__)

# Why a server cannot begin; the text is for people.
EXPECTED = (
    AddressInUse,
    ApiKeyError,
    CertificateError,
    MigrationError,
    PolicyFileError,
    SchemaRefused,
    WorkerFailed,
    errors.Unavailable,
)


def run(settings: Settings, engines: EmbeddedEngines, started: float) -> None:
    """Serve until stopped. Ends the process with a sentence if that cannot begin. `started` is monotonic seconds."""
    with _logs(settings) as logs:
        engines.wait()
        _run(_serve(settings, engines, logs, started))


def run_worker(settings: Settings) -> None:
    """Serve as one of a supervisor's workers, which says where by standard input, until it says stop or is gone."""
    with _logs(settings) as logs:
        assignment = read_assignment()
        _run(_work(settings.model_copy(update=assignment.listens), assignment, logs))


@contextmanager
def _logs(settings: Settings) -> Iterator[LogWriter]:
    with (
        open(sys.stderr.fileno(), "wb", buffering=0, closefd=False) as output,
        open_logs(settings.log_format, output) as logs,
    ):
        yield logs


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)
    except EXPECTED as error:
        sys.exit(f"wingmanmatch {__version__}: {error}")
    except (asyncpg.PostgresError, OSError) as error:
        sys.exit(f"wingmanmatch {__version__}: DATABASE_URL cannot be used: {type(error).__name__}")


async def _serve(settings: Settings, engines: EmbeddedEngines, logs: LogWriter, started: float) -> None:
    database_url = _database_url(settings, engines)
    applied = await _migrate(settings, database_url)

    def announce(addresses: Addresses) -> None:
        typer.echo(banner(settings, engines, applied, addresses, time.monotonic() - started))

    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else engines.redis_url
    async with background(engines.keep_running(Backoff)):
        if settings.workers == 1:
            await serve(settings, database_url, redis_url, logs, announce)
        elif not await supervise(settings, database_url, redis_url, announce):
            sys.exit(1)


async def _work(settings: Settings, assignment: Assignment, logs: LogWriter) -> None:
    stop_with_supervisor()
    urls = (assignment.database_url, assignment.redis_url)
    await serve(settings, *urls, logs, lambda addresses: tell_ready(addresses.grpc[0]))


def _database_url(settings: Settings, engines: EmbeddedEngines) -> str | None:
    """Return where PostgreSQL answers, or None where it is reached by REST."""
    if settings.database_url:
        return settings.database_url.get_secret_value()
    return None if settings.by_rest else engines.postgres_dsn


async def _migrate(settings: Settings, database_url: str | None) -> list[Migration]:
    # REST cannot, and through a transaction pooler it is left to the command: docs/supabase.md names the address.
    if not settings.migrate_on_start or database_url is None or behind_transaction_pooler(database_url):
        return []
    baseline = settings.supabase_url is None
    dsn = with_password(database_url, settings.database_password_file)
    work = asyncio.create_task(migrate(dsn, read_migrations(), baseline=baseline, on_wait=_log_wait))
    try:
        await asyncio.wait([work], timeout=SILENT_START)
        if not work.done():
            async with answering_probes(settings):
                await asyncio.wait([work])
        return await work
    finally:
        work.cancel()


def _log_wait(migration: Migration) -> None:
    log.warning("migration_waiting_for_lock", file=migration.file)


def _place_of_postgres(settings: Settings, engines: EmbeddedEngines) -> str:
    if settings.database_url:
        return "DATABASE_URL"
    if settings.by_rest:
        return "SUPABASE_URL"
    return f"{engines.versions['PostgreSQL']} in {settings.data_dir.absolute() / 'postgres'}"


def _demo_options(settings: Settings, grpc_address: str) -> str:
    """Return the options by which the demo finds this server, where its defaults lead elsewhere."""
    options = {"--target": grpc_address, "--data-dir": str(settings.data_dir)}
    defaults = {"--target": DEFAULT_TARGET, "--data-dir": DEFAULT_DATA_DIR}
    return "".join(f" {name} {shlex.quote(value)}" for name, value in options.items() if value != defaults[name])


def banner(
    settings: Settings,
    engines: EmbeddedEngines,
    applied: list[Migration],
    addresses: Addresses,
    seconds: float,
) -> str:
    """Return what a person reads once the server answers."""
    data = settings.data_dir.absolute()
    versions = engines.versions
    migrated = f", {len(applied)} migration{'s' * (len(applied) > 1)} applied" if applied else ""
    postgres = _place_of_postgres(settings, engines)
    valkey = f"{versions['Valkey']} in {data / 'valkey'}" if not settings.redis_url else "REDIS_URL"
    listed = "\n              ".join(addresses.grpc)
    return "\n".join(
        (
            f"WingmanMatch {__version__}, {settings.environment.value}, ready in {seconds:.1f} s",
            "",
            f"  gRPC        {listed}",
            f"  HTTP        http://{addresses.http}",
            f"  metrics     http://{addresses.admin}/metrics",
            f"  PostgreSQL  {postgres}{migrated}",
            f"  Valkey      {valkey}",
            f"  mail        {data / 'outbox'}",
            "",
            "Next, in another terminal:",
            f"  grpcurl -plaintext {addresses.grpc[0]} list",
            f"  {sys.argv[0]} demo{_demo_options(settings, addresses.grpc[0])}",
            "",
            "Ctrl-C stops everything.",
        )
    )
