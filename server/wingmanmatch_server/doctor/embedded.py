"""The data folder of the embedded PostgreSQL, and its database if a server runs on it. Starts and changes nothing."""

from pathlib import Path

import asyncpg

from wingmanmatch_server.doctor.database import judge_migrations
from wingmanmatch_server.doctor.given import Given
from wingmanmatch_server.doctor.report import Finding, Verdict
from wingmanmatch_server.drivers.embedded import postgres_version
from wingmanmatch_server.drivers.embedded_data import NAME, check_major, holds_database
from wingmanmatch_server.drivers.embedded_postgres import running_dsn
from wingmanmatch_server.drivers.embedded_process import EngineError
from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migration_history import Status, read_status

SUBJECT = "  data folder"


async def check(given: Given) -> list[Finding]:
    """Look at the folder that the server would use; return nothing if it uses another database."""
    if given.database_url or given.supabase_url:
        return []
    folder = given.data_dir.absolute()
    try:
        if not holds_database(folder):
            return [Finding(SUBJECT, Verdict.UNSET, "no database in DATA_DIR yet: the first start creates it")]
        if not (folder / NAME).exists():
            return [_unread("a restore was interrupted", "The next start of the server undoes it.")]
        check_major(folder / NAME, postgres_version())
    except EngineError as error:
        return [Finding(SUBJECT, Verdict.FAILED, "cannot be used by this version", str(error))]
    except OSError as error:
        return [_unread(f"{error.strerror}", "Run this as the account that runs the server.")]
    return await _look_into(folder)


async def _look_into(folder: Path) -> list[Finding]:
    made_by = f"of PostgreSQL {postgres_version().partition('.')[0]}"
    dsn = running_dsn(folder)
    try:
        status = await read_status(dsn, read_migrations()) if dsn else None
    except (OSError, asyncpg.PostgresError):
        status = None  # it is starting, or was killed and left its address behind
    if status is None:
        said = f"{made_by}; no server answers there: its migrations were not looked at"
        return [Finding(SUBJECT, Verdict.NOTE, said, "`wingmanmatch migrate --status` starts it and lists them.")]
    return [Finding(SUBJECT, Verdict.GOOD, f"{made_by}, running"), _judge(status)]


def _judge(status: Status) -> Finding:
    found = judge_migrations(status)
    if status.problem or not status.missing:
        return found
    advice = "`serve` applies them as it starts; with MIGRATE_ON_START=false, run `wingmanmatch migrate`."
    return Finding(found.subject, Verdict.NOTE, found.said, advice)


def _unread(reason: str, advice: str) -> Finding:
    return Finding(SUBJECT, Verdict.NOTE, f"the embedded database in DATA_DIR was not looked at: {reason}", advice)
