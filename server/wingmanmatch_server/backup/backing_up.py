"""From a database, running or not, to the file."""

import asyncio
import io
from datetime import UTC, datetime
from pathlib import Path

from wingmanmatch_server import __version__
from wingmanmatch_server.backup.archive import NUMBERS_OF_A_MAJOR, BackupError, Description, new_file, writing
from wingmanmatch_server.backup.database import Found, look_at
from wingmanmatch_server.backup.programs import Programs
from wingmanmatch_server.drivers.embedded_data import holds_database
from wingmanmatch_server.drivers.postgres_address import behind_transaction_pooler
from wingmanmatch_server.drivers.schema_version import BASELINE

# A migration may hold a table for as long; without a limit a backup would wait for ever.
_LOCK_WAIT = "--lock-wait-timeout=60s"


def require_database(data_directory: Path) -> None:
    """Raise BackupError if the folder holds no database."""
    if not holds_database(data_directory):
        raise BackupError(f"{data_directory} holds no database: there is nothing to back up.")


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
