"""Backups for tests: how to make and restore them by the command, and what a database holds, to compare."""

import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from support.served import command
from wingmanmatch_server.drivers.embedded import EmbeddedEngines, postgres_programs

TABLES = """
select format('%I.%I', n.nspname, c.relname)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
order by 1
"""


def run(*arguments: str | Path, **environment: str) -> str:
    """Run a command that must succeed, and return what it said."""
    with command(*map(str, arguments), **environment) as process:
        said, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    return said


@contextmanager
def started(data_dir: Path) -> Iterator[str]:
    """Start PostgreSQL on a data folder and yield its superuser's DSN."""
    with EmbeddedEngines(data_dir, valkey=False) as engines:
        engines.wait()
        yield engines.postgres_dsn


async def rows(dsn: str) -> dict[str, list[str]]:
    """Return every row of every table, as text."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = [row[0] for row in await connection.fetch(TABLES)]
        return {name: [row[0] for row in await connection.fetch(_all_of(name))] for name in tables}
    finally:
        await connection.close()


async def fetch(dsn: str, query: str) -> Any:
    """Return the one value of a query."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def schema(dsn: str) -> str:
    """Return what `pg_dump -s` writes, tables, functions, owners, grants, comments, but for parentheses.

    PostgreSQL keeps `(a and b) and c` as it was written, and makes `a and b and c` of it when it reads its own dump.
    """
    return _written("pg_dump", "--schema-only", f"--dbname={dsn}").translate({ord("("): None, ord(")"): None})


def roles(dsn: str) -> str:
    """Return all roles with their attributes, settings and memberships."""
    return _written("pg_dumpall", "--roles-only", f"--dbname={dsn}")


def changed(backup: Path, to: Path, **members: bytes) -> Path:
    """Copy a backup with the content of some members replaced, with checksums that match; return where to."""
    with zipfile.ZipFile(backup) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            new.writestr(name, members.get(name.partition(".")[0].replace("-", "_"), old.read(name)))
    return to


def _all_of(table: str) -> str:
    return f"select t::text from {table} t order by 1"


def _written(program: str, *arguments: str) -> str:
    result = subprocess.run([postgres_programs() / program, *arguments], capture_output=True, text=True, check=True)
    # Each run protects its text by a random word.
    return "\n".join(line for line in result.stdout.splitlines() if "restrict " not in line)
