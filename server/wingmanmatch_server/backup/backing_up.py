"""From a database, running or not, to the file."""

import asyncio
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from wingmanmatch_server import __version__
from wingmanmatch_server.backup.archive import NUMBERS_OF_A_MAJOR, BackupError, Description, new_file, writing
from wingmanmatch_server.backup.database import Found, look_at
from wingmanmatch_server.backup.programs import Programs
from wingmanmatch_server.drivers.embedded import DataDirectoryInUse, EmbeddedEngines, EngineError
from wingmanmatch_server.drivers.embedded_data import holds_database
from wingmanmatch_server.drivers.embedded_postgres import running_dsn
from wingmanmatch_server.drivers.postgres import AWAY
from wingmanmatch_server.drivers.postgres_address import behind_transaction_pooler
from wingmanmatch_server.drivers.schema_version import BASELINE

_POLL_INTERVAL = 0.1
_LONGEST_START = 30.0
# A migration may hold a table for as long; without a limit a backup would wait for ever.
_LOCK_WAIT = "--lock-wait-timeout=60s"


@contextmanager
def running_or_started(data_directory: Path) -> Iterator[str]:
    """Yield the superuser's address of the database of a data folder.

    It is that of the server that runs on the folder, or else PostgreSQL is started for as long as the block takes.
    Raises BackupError if the folder holds no database, and EngineError.
    """
    if not holds_database(data_directory):
        raise BackupError(f"{data_directory} holds no database: there is nothing to back up.")
    engines = EmbeddedEngines(data_directory, valkey=False)
    try:
        engines.start()
    except DataDirectoryInUse as in_use:
        yield _running(data_directory, in_use)
        return
    with engines_stopped(engines):
        engines.wait()
        yield engines.postgres_dsn


@contextmanager
def engines_stopped(engines: EmbeddedEngines) -> Iterator[None]:
    """Stop started engines at the end of the block."""
    try:
        yield
    finally:
        engines.stop()


def back_up(dsn: str, path: Path, programs: Programs, postgres_major: int, *, force: bool) -> Found:
    """Write the database `dsn` and all roles of its server to a new file; return what was found there.

    `programs` are those of PostgreSQL `postgres_major`. Others may write meanwhile: the file has what was committed
    when the dump began. Raises BackupError, and what asyncpg raises if nothing answers; no file is left then.
    """
    if behind_transaction_pooler(dsn):
        raise BackupError("DATABASE_URL is a transaction pooler: pg_dump needs the database or a session pooler.")
    found = asyncio.run(look_at(dsn))
    check(found, postgres_major)
    description = Description(__version__, found.version, postgres_major, datetime.now(UTC).isoformat())
    with new_file(path, force=force) as file:
        roles = io.BytesIO()
        # Without their passwords: reading those takes a superuser, and the embedded server asks for none.
        programs.read("pg_dumpall", dsn, "--roles-only", "--no-role-passwords", into=roles)
        with writing(file, description, roles.getvalue()) as dump:
            programs.read("pg_dump", dsn, "--format=custom", _LOCK_WAIT, into=dump)
    return found


def check(found: Found, postgres_major: int) -> None:
    """Raise BackupError unless the pg_dump of `postgres_major` can make a backup of the database that was found."""
    major = found.version // NUMBERS_OF_A_MAJOR
    if major > postgres_major:
        raise BackupError(
            f"The database is PostgreSQL {major}, and the pg_dump of this version of WingmanMatch reads no database "
            f"above PostgreSQL {postgres_major}: use the database's own pg_dump."
        )
    if found.is_supabase:
        raise BackupError(
            "DATABASE_URL is a Supabase project: use the project's own backups (docs/supabase.md, step 10)."
        )
    if not found.is_ours:
        raise BackupError(
            f"The database is not one of WingmanMatch: it has no history of migrations that includes {BASELINE}."
        )


def _running(data_directory: Path, in_use: DataDirectoryInUse) -> str:
    """Return the address of the running server's database once it answers."""
    deadline = time.monotonic() + _LONGEST_START
    while time.monotonic() < deadline:
        dsn = running_dsn(data_directory)
        if dsn and _answers(dsn):
            return dsn
        time.sleep(_POLL_INTERVAL)
    raise EngineError(f"Process {in_use.pid or '(unknown)'} uses {data_directory}, but no PostgreSQL answers there.")


def _answers(dsn: str) -> bool:
    try:
        asyncio.run(look_at(dsn))
    except (asyncpg.PostgresError, *AWAY):
        return False
    return True
