"""The `wingmanmatch` command.

What a command needs is imported when it runs: the engines boot while the server's modules load.
"""

import asyncio
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from wingmanmatch_server.backup.commands import backup, restore
from wingmanmatch_server.call.commands import call
from wingmanmatch_server.drivers.embedded import EmbeddedEngines, EngineError
from wingmanmatch_server.exits import database_url_or_exit, fail, settings_or_exit
from wingmanmatch_server.outbox.commands import app as outbox
from wingmanmatch_server.settings import Environment, Settings

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="Run WingmanMatch.")


def main() -> None:
    """Run the command line."""
    app()


@app.callback()
def _root() -> None:
    """Keep `wingmanmatch serve` a sub-command even while there is no other."""


@app.command()
def serve() -> None:
    """Start the server, with its own PostgreSQL and Valkey unless DATABASE_URL and REDIS_URL name others."""
    started = time.monotonic()
    settings = settings_or_exit()
    _silence_grpc()
    with _engines(settings) as engines:
        from wingmanmatch_server.running import run  # noqa: PLC0415 - loads while the engines boot

        run(settings, engines, started)


@app.command(hidden=True)
def worker() -> None:
    """Serve as one of the processes that `serve` starts where WORKERS says more than one."""
    _silence_grpc()
    from wingmanmatch_server.running import run_worker  # noqa: PLC0415

    run_worker(settings_or_exit())


@app.command()
def demo(
    target: Annotated[str, typer.Option(help="The server, HOST:PORT.", envvar="GRPC_LISTEN")] = "127.0.0.1:50051",
    data_dir: Annotated[Path, typer.Option(help="Where the server's data and outbox lie.", envvar="DATA_DIR")] = Path(
        ".wingmanmatch"
    ),
) -> None:
    """Play a whole journey against a running server and print it: from the first search to a confirmed meet-up."""
    from wingmanmatch_server.demo import DemoFailed, play  # noqa: PLC0415

    try:
        asyncio.run(play(target, data_dir, typer.echo))
    except DemoFailed as error:
        fail(str(error))


@app.command()
def migrate(
    *,
    status: Annotated[bool, typer.Option("--status", help="Only say what is applied; exit 1 unless all is.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Try what is missing, and undo it.")] = False,
) -> None:
    """Bring the database of DATABASE_URL, or the embedded one, to the schema of this version."""
    settings = settings_or_exit()
    if settings.by_rest:
        fail("DATABASE_URL is required to migrate: REST cannot")
    with _database(settings) as dsn:
        _migrate(dsn, baseline=settings.supabase_url is None, status=status, dry_run=dry_run)


@app.command()
def seed(
    profiles: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many people.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same people for the same number.")] = 1,
) -> None:
    """Settle people who do not exist in the database of DATABASE_URL, or the embedded one, for trying things out."""
    settings = settings_or_exit()
    if settings.environment is Environment.PRODUCTION:
        fail("seed is for development: ENVIRONMENT is production")
    if settings.by_rest:
        fail("DATABASE_URL is required to seed: REST cannot")
    with _database(settings) as dsn:
        _seed(dsn, profiles, seed, baseline=settings.supabase_url is None)


@app.command()
def doctor(
    resend_url: Annotated[str, typer.Option(help="The address of Resend's API.")] = "https://api.resend.com",
    anthropic_url: Annotated[str, typer.Option(help="The address of Claude's API.")] = "https://api.anthropic.com",
) -> None:
    """Check the settings and everything they lead to, and say what to do; exit 1 if something fails."""
    from wingmanmatch_server.doctor.examination import Endpoints, check_settings, examine  # noqa: PLC0415
    from wingmanmatch_server.doctor.given import Given  # noqa: PLC0415
    from wingmanmatch_server.doctor.report import failed, table  # noqa: PLC0415

    endpoints = Endpoints(resend=resend_url, anthropic=anthropic_url)
    findings = [*check_settings(), *asyncio.run(examine(Given(), endpoints))]
    typer.echo(table(findings))
    sys.exit(failed(findings))


app.command("backup")(backup)
app.command("restore")(restore)
app.command("call")(call)
keys = typer.Typer(no_args_is_help=True, help="API keys of calling back ends.")
app.add_typer(keys, name="keys")
app.add_typer(outbox, name="outbox")


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="The back end's name, as logs will show it.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="An area, such as matching; '*', the default, for all; 'admin' besides."),
    ] = None,
) -> None:
    """Make an API key and print it, once, with the entry by which the server knows it."""
    from wingmanmatch_server.identity.api_keys import ApiKeyError  # noqa: PLC0415
    from wingmanmatch_server.keys import describe_new_key  # noqa: PLC0415

    try:
        typer.echo(describe_new_key(name, scope or ["*"], secrets.token_urlsafe(32)))
    except ApiKeyError as error:
        fail(str(error))


def _migrate(dsn: str, *, baseline: bool, status: bool, dry_run: bool) -> None:
    import asyncpg  # noqa: PLC0415

    from wingmanmatch_server import migrating  # noqa: PLC0415
    from wingmanmatch_server.drivers.migrations import MigrationError  # noqa: PLC0415
    from wingmanmatch_server.drivers.postgres import AWAY  # noqa: PLC0415

    try:
        if status:
            said, current = asyncio.run(migrating.tell_status(dsn))
            typer.echo(said)
            sys.exit(not current)
        if dry_run:
            said = asyncio.run(migrating.tell_rehearsal(dsn, baseline=baseline))
        else:
            said = asyncio.run(migrating.tell_migration(dsn, baseline=baseline, warn=_warn))
        typer.echo(said)
    except MigrationError as error:
        fail(str(error))
    except (asyncpg.PostgresError, *AWAY) as error:
        fail(f"DATABASE_URL cannot be used: {type(error).__name__}")


def _warn(sentence: str) -> None:
    typer.echo(sentence, err=True)


def _seed(dsn: str, profiles: int, seed: int, *, baseline: bool) -> None:
    import asyncpg  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    from wingmanmatch_server import migrating  # noqa: PLC0415
    from wingmanmatch_server.drivers.migrations import MigrationError  # noqa: PLC0415
    from wingmanmatch_server.drivers.postgres import AWAY  # noqa: PLC0415
    from wingmanmatch_server.drivers.postgres_address import without_pooler  # noqa: PLC0415
    from wingmanmatch_server.seeding import seed_people  # noqa: PLC0415

    dsn = without_pooler(dsn)
    started = time.monotonic()
    try:
        asyncio.run(migrating.tell_migration(dsn, baseline=baseline, warn=_warn))
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("people", total=profiles)
            asyncio.run(seed_people(dsn, profiles, seed=seed, tell=lambda count: progress.advance(task, count)))
    except MigrationError as error:
        fail(str(error))
    except (asyncpg.PostgresError, *AWAY) as error:
        fail(f"DATABASE_URL cannot be used: {type(error).__name__}")
    typer.echo(f"{profiles:,} people are settled ({time.monotonic() - started:.1f} s).")


def _silence_grpc() -> None:
    """Let gRPC's core log errors only; call it before grpc is imported, or it has no effect.

    It writes to standard error itself and waits for it. Each failed TLS handshake would be a line, so that strangers
    could fill a pipe that nobody reads.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


@contextmanager
def _database(settings: Settings) -> Iterator[str]:
    """Yield the address of DATABASE_URL, or of the database of DATA_DIR, on which a server may be running.

    End with a sentence where that is not possible.
    """
    if settings.database_url:
        yield database_url_or_exit(settings) or ""
        return
    from wingmanmatch_server.drivers.embedded_database import running_or_started  # noqa: PLC0415

    try:
        with running_or_started(settings.data_dir) as dsn:
            yield dsn
    except EngineError as error:
        fail(str(error))


@contextmanager
def _engines(settings: Settings) -> Iterator[EmbeddedEngines]:
    """Start the engines that the settings do not replace; end with a sentence where that is not possible."""
    postgres = settings.database_url is None and not settings.by_rest
    engines = EmbeddedEngines(
        settings.data_dir, postgres=postgres, valkey=settings.redis_url is None, users=settings.workers
    )
    try:
        engines.start()
        yield engines
    except EngineError as error:
        fail(str(error))
    finally:
        engines.stop()
