"""`wingmanmatch backup` and `wingmanmatch restore`."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wingmanmatch_server.exits import database_url_or_exit, fail, settings_or_exit
from wingmanmatch_server.settings import Settings

if TYPE_CHECKING:
    from wingmanmatch_server.backup.programs import Programs

Written = Annotated[Path, typer.Argument(help="The file to write; only its owner may read it.", show_default=False)]
Made = Annotated[Path, typer.Argument(help="A file that `wingmanmatch backup` wrote.", show_default=False)]


def backup(
    file: Written,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write the database and its roles to one file: that of DATABASE_URL, or the embedded one.

    The server may go on running. Redis or Valkey and the outbox folder are not included.
    """
    settings = settings_or_exit()
    if settings.by_rest:
        fail("DATABASE_URL is required to back up: REST cannot")
    with _terminable(), _failing_with_a_sentence():
        _back_up(settings, file, force=force)


def restore(
    file: Made,
    *,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the data that DATA_DIR already holds.")] = False,
) -> None:
    """Make a backup the embedded database of DATA_DIR, while no server runs on it.

    If that fails, the database stays as it was.
    """
    settings = settings_or_exit()
    if settings.database_url or settings.by_rest:
        fail("restore is for the embedded database: unset DATABASE_URL and SUPABASE_URL, or see docs/operations.md")
    with _terminable(), _failing_with_a_sentence():
        _restore(settings, file, replace=replace)


def _back_up(settings: Settings, file: Path, *, force: bool) -> None:
    from wingmanmatch_server.backup.backing_up import back_up, require_database  # noqa: PLC0415
    from wingmanmatch_server.drivers.embedded_database import running_or_started  # noqa: PLC0415

    started = time.monotonic()
    programs, major = _postgres_programs()
    address = database_url_or_exit(settings)
    if not address:
        require_database(settings.data_dir.absolute())
    source = nullcontext(address) if address else running_or_started(settings.data_dir.absolute())
    with source as dsn:
        back_up(dsn, file, programs, major, force=force)
    size = file.stat().st_size / 1_000_000
    typer.echo(f"{file} holds the database ({size:,.1f} MB, {time.monotonic() - started:.1f} s).")


def _restore(settings: Settings, file: Path, *, replace: bool) -> None:
    from wingmanmatch_server.backup.restoring import restore as restore_file  # noqa: PLC0415

    started = time.monotonic()
    programs, major = _postgres_programs()
    description = restore_file(file, settings.data_dir.absolute(), programs, major, replace=replace)
    made = description.made[:16].replace("T", " ")
    typer.echo(f"The database of {made} UTC is restored ({time.monotonic() - started:.1f} s).")


def _postgres_programs() -> "tuple[Programs, int]":
    from wingmanmatch_server.backup.programs import Programs  # noqa: PLC0415
    from wingmanmatch_server.drivers.embedded import postgres_programs, postgres_version  # noqa: PLC0415

    return Programs(postgres_programs(), os.environ), int(postgres_version().partition(".")[0])


@contextmanager
def _failing_with_a_sentence() -> Iterator[None]:
    """End the process with status 1 and a sentence for everything that can be foreseen to go wrong."""
    import asyncpg  # noqa: PLC0415

    from wingmanmatch_server.backup.archive import BackupError  # noqa: PLC0415
    from wingmanmatch_server.drivers.embedded import EngineError  # noqa: PLC0415
    from wingmanmatch_server.drivers.postgres import AWAY  # noqa: PLC0415

    try:
        yield
    except (BackupError, EngineError) as error:
        fail(str(error))
    except (asyncpg.PostgresError, *AWAY) as error:
        fail(f"The database cannot be used: {type(error).__name__}")


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block as an exception does, so that nothing is left behind."""
    before = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
