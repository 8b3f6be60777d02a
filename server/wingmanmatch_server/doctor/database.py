"""PostgreSQL by DATABASE_URL, the way the server itself uses it."""

import re
from collections.abc import Sequence

import asyncpg

from wingmanmatch_server.doctor.given import Given
from wingmanmatch_server.doctor.report import Finding, Verdict
from wingmanmatch_server.drivers.migration_files import Migration, read_migrations
from wingmanmatch_server.drivers.migration_history import Status, compare, open_connection
from wingmanmatch_server.drivers.postgres_address import behind_transaction_pooler, parse_address, with_password

OLDEST, NEWEST = 15, 18
NEEDED_EXTENSION = re.compile(r"^\s*create extension (?:if not exists )?\"?(\w+)", re.IGNORECASE | re.MULTILINE)
MAY_SERVE = """
select exists (select from pg_roles where rolname = 'service_role')
   and pg_has_role(current_user, (select oid from pg_roles where rolname = 'service_role'), 'member')
"""
PROMOTE = "Add target_session_attrs=read-write; if no host is the primary, promote one."
# What each refusal of a connection means, by SQLSTATE.
REFUSALS = {
    "28P01": "the password is wrong",
    "28000": "the server lets nobody in with this name from here",
    "3D000": "there is no database of this name",
    "53300": "all its connections are taken",
}


async def check(given: Given) -> list[Finding]:
    """Look at version, role, migrations and extensions."""
    if given.database_url is None:
        return [Finding("PostgreSQL", Verdict.UNSET, _without_address(given))]
    try:
        dsn = with_password(given.database_url.get_secret_value(), given.database_password_file)
    except OSError as error:
        said = f"DATABASE_PASSWORD_FILE cannot be read: {error.strerror}"
        return [Finding("PostgreSQL", Verdict.FAILED, said, "Let the file hold the password, for the server to read.")]
    try:
        async with open_connection(dsn) as connection, connection.transaction(readonly=True):
            return await _look_around(connection, dsn)
    except asyncpg.PostgresError as error:
        said = REFUSALS.get(error.sqlstate or "", f"refuses what every check needs ({type(error).__name__})")
        return [Finding("PostgreSQL", Verdict.FAILED, said, "Put DATABASE_URL right; Supabase shows it under Connect.")]
    except (asyncpg.InterfaceError, ValueError):
        advice = "It must read postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with what is special percent-encoded."
        return [Finding("PostgreSQL", Verdict.FAILED, "DATABASE_URL is not an address of PostgreSQL", advice)]


def _without_address(given: Given) -> str:
    if given.supabase_url:
        return "no DATABASE_URL: calls go through Supabase's REST interface"
    return "no DATABASE_URL: the server starts its own"


async def _look_around(connection: asyncpg.Connection, dsn: str) -> list[Finding]:
    migrations = read_migrations()
    return [
        await _check_server(connection, pooled=behind_transaction_pooler(dsn)),
        await _check_changes(connection, several=len(parse_address(dsn).hosts) > 1),
        await _check_role(connection),
        judge_migrations(await compare(connection, migrations)),
        await _check_extensions(connection, migrations),
    ]


async def _check_server(connection: asyncpg.Connection, *, pooled: bool) -> Finding:
    version = await connection.fetchval("show server_version")
    major = connection.get_server_version().major
    said = f"version {version.split()[0]}"
    if major < OLDEST:
        return Finding("PostgreSQL", Verdict.FAILED, said, f"Upgrade it to {OLDEST} or later.")
    if major > NEWEST:
        return Finding("PostgreSQL", Verdict.NOTE, said, f"This version of the server was tested up to {NEWEST}.")
    if pooled:
        advice = "Prefer the session pooler, port 5432: through this one mails wait for the next poll."
        return Finding("PostgreSQL", Verdict.NOTE, f"{said}, through a transaction pooler", advice)
    return Finding("PostgreSQL", Verdict.GOOD, said)


async def _check_changes(connection: asyncpg.Connection, *, several: bool) -> Finding:
    if await connection.fetchval("select pg_is_in_recovery()"):
        advice = "Name the primary, or all hosts with target_session_attrs=read-write." if not several else PROMOTE
        return Finding("  changes", Verdict.FAILED, "it is a standby, which only reads", advice)
    if await connection.fetchval("show default_transaction_read_only") == "on":
        advice = "See whether its disk is full; then: alter system reset default_transaction_read_only."
        return Finding("  changes", Verdict.FAILED, "it is read-only", advice)
    return Finding("  changes", Verdict.GOOD, "accepted")


async def _check_role(connection: asyncpg.Connection) -> Finding:
    user = await connection.fetchval("select current_user")
    if await connection.fetchval(MAY_SERVE):
        return Finding("  role", Verdict.GOOD, f"{user}, who may act as service_role")
    advice = f"Connect as the owner, or: grant service_role to {user}. Without such a role run `wingmanmatch migrate`."
    return Finding("  role", Verdict.FAILED, f"{user} may not act as service_role", advice)


def judge_migrations(status: Status) -> Finding:
    """Return whether the schema is this version's."""
    if status.problem:
        return Finding("  migrations", Verdict.FAILED, "the database is not this version's", status.problem)
    if status.missing:
        said = f"{len(status.missing)} of {len(status.missing) + len(status.applied)} are missing"
        return Finding("  migrations", Verdict.FAILED, said, "Run `wingmanmatch migrate`.")
    if status.unknown:
        said = f"all {len(status.applied)} applied, and {len(status.unknown)} of a newer version, which allow this one"
        return Finding("  migrations", Verdict.GOOD, said)
    return Finding("  migrations", Verdict.GOOD, f"all {len(status.applied)} applied")


async def _check_extensions(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> Finding:
    needed = sorted({name for migration in migrations for name in NEEDED_EXTENSION.findall(migration.sql)})
    if not needed:
        return Finding("  extensions", Verdict.GOOD, "none needed")
    rows = await connection.fetch("select name from pg_available_extensions where name = any($1)", needed)
    lacking = sorted(set(needed) - {row["name"] for row in rows})
    if lacking:
        return Finding("  extensions", Verdict.FAILED, f"lacks {', '.join(lacking)}", "Install PostgreSQL's contrib.")
    return Finding("  extensions", Verdict.GOOD, f"has {', '.join(needed)}")
