"""PostgreSQL in the versions that this machine has, and databases on them as Supabase and others hand them over."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from support.databases import execute, with_database
from wingmanmatch_server.drivers.embedded_process import engine_account, own_folder

EMBEDDED = 18  # the major version that the server brings
# Where Debian, Red Hat and Homebrew put a version's programs.
PLACES = ("/usr/lib/postgresql/{0}/bin", "/usr/pgsql-{0}/bin", "/opt/homebrew/opt/postgresql@{0}/bin")
# Further folders of programs, as in PATH; each ends in VERSION/bin.
MORE = os.environ.get("TEST_POSTGRES_PROGRAMS", "")

# What a project of Supabase has besides roles: people who sign in, extensions in a schema of their own, and grants that
# open whatever is created in public to everybody. `owner` is what `postgres` is there: no superuser.
AS_SUPABASE = """
create schema auth;
create table auth.users (id uuid primary key);
create function auth.uid() returns uuid language sql stable as
    $$ select nullif(current_setting('request.jwt.claim.sub', true), '')::uuid $$;
create schema extensions;
create extension btree_gist schema extensions;
grant usage on schema auth, extensions, public to anon, authenticated, service_role, {owner};
alter default privileges for role {owner} in schema public
    grant all on tables to anon, authenticated, service_role;
alter default privileges for role {owner} in schema public
    grant all on sequences to anon, authenticated, service_role;
alter default privileges for role {owner} in schema public
    grant all on functions to anon, authenticated, service_role;
alter database {database} set search_path = "$user", public, extensions;
"""


def programs(version: int) -> Path | None:
    """Return the folder of a major version's programs, or None if this machine does not have it."""
    more = [Path(path) for path in MORE.split(os.pathsep) if path and Path(path).parent.name == str(version)]
    found = [*more, *(Path(place.format(version)) for place in PLACES)]
    return next((path for path in found if (path / "postgres").exists()), None)


@contextmanager
def running(folder_of_programs: Path) -> Iterator[str]:
    """Start a server of its own and yield its superuser's DSN; stop it, and leave nothing."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    own_folder(folder, engine_account())
    try:
        initialise(folder_of_programs, folder / "data")
        with running_on(folder_of_programs, folder / "data") as dsn:
            yield dsn
    finally:
        shutil.rmtree(folder)


@contextmanager
def cluster_of(version: int, embedded_dsn: str) -> Iterator[str]:
    """Yield the superuser's DSN on a major version; skip the test by name where this machine lacks it."""
    if version == EMBEDDED:
        yield embedded_dsn
        return
    found = programs(version)
    if found is None:
        pytest.skip(f"PostgreSQL {version} is not installed here")
    with running(found) as dsn:
        yield dsn


def initialise(folder_of_programs: Path, data: Path) -> None:
    """Create a data folder, in one that the engines' account may write."""
    _run(folder_of_programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")


@contextmanager
def running_on(folder_of_programs: Path, data: Path) -> Iterator[str]:
    """Start a server on a data folder, its socket beside that, and yield its superuser's DSN; stop it."""
    sockets = data.parent
    options = f"-c listen_addresses= -c unix_socket_directories={sockets} -c fsync=off"
    _run(folder_of_programs / "pg_ctl", "start", "-w", "-D", data, "-o", options, "-l", sockets / "server.log")
    try:
        yield f"postgresql://postgres@/postgres?host={quote(str(sockets), safe='')}"
    finally:
        _run(folder_of_programs / "pg_ctl", "stop", "-m", "fast", "-D", data)


def _run(*command: object) -> None:
    account = engine_account()
    user = {} if account.is_ours else {"user": account.uid, "group": account.gid, "extra_groups": []}
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, timeout=60, cwd="/", **user)


@asynccontextmanager
async def empty_database(admin_dsn: str, owner: str = "postgres") -> AsyncIterator[str]:
    """Yield the superuser's DSN of a new database that holds nothing, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    await execute(admin_dsn, f"create database {name} owner {owner} template template0")
    try:
        yield with_database(admin_dsn, name)
    finally:
        await execute(admin_dsn, f"drop database {name} with (force)")


@asynccontextmanager
async def supabase_database(admin_dsn: str) -> AsyncIterator[str]:
    """Yield the DSN of a new database as Supabase hands it over, for its owner, who is no superuser.

    The roles anon, authenticated and service_role must exist.
    """
    owner = f"owner_{uuid.uuid4().hex}"
    await execute(
        admin_dsn, f"create role {owner} login createrole bypassrls in role anon, authenticated, service_role"
    )
    try:
        async with empty_database(admin_dsn, owner) as dsn:
            name = dsn.partition("?")[0].rpartition("/")[2]
            await execute(dsn, AS_SUPABASE.format(owner=owner, database=name))
            yield dsn.replace("postgres@", f"{owner}@", 1)
    finally:
        await execute(admin_dsn, f"drop role {owner}")
