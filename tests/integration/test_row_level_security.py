"""Who may do what to each table and function of the schemas public and internal: what is not listed here is refused.

Supabase grants every role everything on new tables and functions, so the same is proved on a database that does and on
one that does not. A new table or function that people may use themselves is listed here, with a row that they own.
"""

import importlib.resources
import json
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from support.databases import execute, with_database
from support.people import open_people
from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migrations import migrate

# Tables of which people, signed in, read the rows that they are part of.
READ_BY_PARTICIPANTS = {
    *("matches", "meetups", "meetup_notes", "notification_preferences", "notifications", "share_links"),
    *("user_challenges", "user_profiles"),
}
# Tables of which everybody, signed in or not, reads the rows that are public.
READ_BY_ANYBODY = {"approach_challenges"}
# Functions that the anonymous role may call.
CALLED_BY_ANYBODY = {"public.health", "public.list_challenges", "internal.challenge_json"}
# Functions that act with their owner's rights whoever calls them.
SECURITY_DEFINERS = {"public.get_migrations"}

CHANGES = ("insert into {} default values", "update {} set {} = {}", "delete from {}", "truncate {}")
OWN_TABLES = "relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f')"
OWN_FUNCTIONS = """
select p.pronamespace::regnamespace || '.' || p.proname as name, p.prosecdef as definer,
    -- The names in a body that is not text were resolved when it was created.
    p.prosqlbody is not null or coalesce(array_to_string(p.proconfig, ',') like '%search_path=%', false) as fixed,
    array(select r.rolname from pg_roles r where r.rolname in ('anon', 'authenticated', 'service_role')
        and has_function_privilege(r.oid, p.oid, 'execute')) as callers
from pg_proc p where p.pronamespace in ('public'::regnamespace, 'internal'::regnamespace)
    and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
"""


class World:
    """A database in which somebody takes part in everything: `participant` does, `stranger` in nothing."""

    def __init__(self, sql: asyncpg.Connection, participant: str) -> None:
        self.sql = sql
        self.participant = participant
        self.stranger = str(uuid.uuid4())

    async def tables(self) -> list[str]:
        """Return the names of all tables and views."""
        rows = await self.sql.fetch(f"select relname from pg_class where {OWN_TABLES} order by relname")
        return [row["relname"] for row in rows]

    async def columns(self, role: str, table: str) -> list[str]:
        """Return the columns of a table that a role may read."""
        rows = await self.sql.fetch(
            """select attname from pg_attribute where attrelid = $2::text::regclass and attnum > 0 and not attisdropped
                and has_column_privilege($1, attrelid, attnum, 'select') order by attnum""",
            role,
            f"public.{table}",
        )
        return [row["attname"] for row in rows]

    @asynccontextmanager
    async def acting_as(self, role: str, user_id: str | None = None) -> AsyncIterator[asyncpg.Connection]:
        """Act as a role, with a person's token if `user_id` is given, and undo everything."""
        transaction = self.sql.transaction()
        await transaction.start()
        try:
            claims = json.dumps({"sub": user_id, "role": role} if user_id else {"role": role})
            await self.sql.execute("select set_config('request.jwt.claims', $1, true)", claims)
            await self.sql.execute(f"set local role {role}")
            yield self.sql
        finally:
            await transaction.rollback()

    async def count(self, table: str, columns: list[str], role: str, user_id: str | None = None) -> int:
        """Return how many rows a role sees."""
        async with self.acting_as(role, user_id) as sql:
            return len(await sql.fetch(f"select {', '.join(columns)} from public.{table}"))

    async def may(self, statement: str, role: str, user_id: str | None = None) -> bool:
        """Return whether a statement gets past the privileges and policies of a role."""
        async with self.acting_as(role, user_id) as sql:
            try:
                await sql.execute(statement)
            except asyncpg.InsufficientPrivilegeError:
                return False
            except asyncpg.IntegrityConstraintViolationError:
                pass
            return True


@pytest.fixture(scope="module", params=["as Supabase grants", "without default grants"])
async def world(request: pytest.FixtureRequest, admin_dsn: str) -> AsyncIterator[World]:
    """A world on a database of either kind."""
    name = f"test_{uuid.uuid4().hex}"
    await execute(admin_dsn, f"create database {name}")
    dsn = with_database(admin_dsn, name)
    await execute(dsn, baseline(default_grants=request.param == "as Supabase grants"))
    await migrate(dsn, read_migrations(), baseline=False)
    sql = await asyncpg.connect(dsn)
    try:
        yield World(sql, await take_part(dsn))
    finally:
        await sql.close()
        await execute(admin_dsn, f"drop database {name} with (force)")


def baseline(*, default_grants: bool) -> str:
    """Return what makes a plain database like a new Supabase project."""
    sql = importlib.resources.files("wingmanmatch_server.drivers").joinpath("supabase_baseline.sql").read_text("utf-8")
    changed = re.sub(r"alter default privileges[^;]*;", "", sql)
    assert changed != sql
    return sql if default_grants else changed


async def take_part(dsn: str) -> str:
    """Make somebody have a row in each of `READ_BY_PARTICIPANTS` and return the person's id."""
    async with open_people(dsn, connections=2) as people:
        requester, invitee = await people.join_many(2)
        match = await people.invite(requester, invitee, request_id=str(uuid.uuid4()))
        meetup = await people.schedule(await people.answer(match, "ACCEPT"), requester)
        await people.meetups.update_meetup_notes(meetup.id, invitee, "Bring water.")
        await people.sql.execute("select public.unsubscribe($1, 'MATCH_DECLINE')", uuid.UUID(invitee))
        await people.sql.execute(
            "select public.start_challenge($1, id) from public.approach_challenges limit 1", uuid.UUID(invitee)
        )
        await people.sql.execute("select public.share_challenge(id, user_id, 60) from public.user_challenges")
        return invitee


async def test_row_security_is_on_for_every_table(world: World) -> None:
    """A table without row level security, or a view with its owner's rights, fails here."""
    rows = await world.sql.fetch(
        f"""select relname from pg_class where {OWN_TABLES} and case
            when relkind in ('r', 'p') then not relrowsecurity
            when relkind = 'v' then not coalesce(array_to_string(reloptions, ',') ~ 'security_invoker=(true|on)', false)
            else true end"""
    )
    assert [row["relname"] for row in rows] == []


async def test_policies_are_for_people_only(world: World) -> None:
    """No policy is for everybody but on what is public, and none lets anybody change a row."""
    rows = await world.sql.fetch(
        "select tablename, array(select unnest(roles) order by 1) as roles, cmd from pg_policies"
        " where schemaname = 'public'"
    )
    granted = {(row["tablename"], tuple(row["roles"])) for row in rows}
    assert granted == {(table, ("authenticated",)) for table in READ_BY_PARTICIPANTS} | {
        (table, ("anon", "authenticated")) for table in READ_BY_ANYBODY
    }
    assert {row["cmd"] for row in rows} == {"SELECT"}


async def test_reading(world: World) -> None:
    """People read what they take part in, strangers and anonymous callers nothing, the service role everything."""
    for table in await world.tables():
        for role in ("anon", "authenticated"):
            listed = table in READ_BY_ANYBODY or (role == "authenticated" and table in READ_BY_PARTICIPANTS)
            columns = await world.columns(role, table)
            assert bool(columns) is listed, f"{role} reads {columns} of {table}"
            if not listed:
                assert not await world.may(f"select from public.{table}", role, world.participant), (table, role)
        assert await world.may(f"select * from public.{table}", "service_role"), table


@pytest.mark.parametrize("table", sorted(READ_BY_PARTICIPANTS))
async def test_rows_are_seen_by_their_participants(world: World, table: str) -> None:
    """Of a table that people read, a participant sees some rows and a stranger, or a token without a person, none."""
    columns = await world.columns("authenticated", table)
    assert await world.count(table, columns, "authenticated", world.participant) > 0
    assert await world.count(table, columns, "authenticated", world.stranger) == 0
    assert await world.count(table, columns, "authenticated") == 0


async def test_public_rows_are_seen_by_everybody(world: World) -> None:
    """What is in the catalogue is read by all alike, and what was retired by none."""
    sees = [("anon", None), ("authenticated", None), ("authenticated", world.stranger)]
    transaction = world.sql.transaction()
    await transaction.start()
    try:
        everything = await world.sql.fetchval("select count(*) from public.approach_challenges")
        assert everything > 0
        assert {await world.count("approach_challenges", ["id"], *who) for who in sees} == {everything}
        await world.sql.execute(
            "update public.approach_challenges set retired = true"
            " where id = (select min(id::text)::uuid from public.approach_challenges)"
        )
        assert {await world.count("approach_challenges", ["id"], *who) for who in sees} == {everything - 1}
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("change", CHANGES)
async def test_changing(world: World, change: str) -> None:
    """Nobody but the service role inserts, updates, deletes or truncates, not even their own rows."""
    for table in await world.tables():
        column = (await world.columns("service_role", table))[0]
        statement = change.format(f"public.{table}", column, column)
        for role, user_id in (("anon", None), ("authenticated", world.participant), ("authenticated", world.stranger)):
            assert not await world.may(statement, role, user_id), (statement, role)
        if not change.startswith("truncate"):
            assert await world.may(statement, "service_role"), statement


async def test_calling(world: World) -> None:
    """Every function is the service role's alone but for those listed."""
    functions = await world.sql.fetch(OWN_FUNCTIONS)
    assert functions
    for function in functions:
        expected = {"service_role"} | ({"anon"} if function["name"] in CALLED_BY_ANYBODY else set())
        assert set(function["callers"]) == expected, function["name"]


async def test_functions_resolve_names_in_fixed_places(world: World) -> None:
    """No function's names depend on its caller's search_path, and none borrows its owner's rights but those listed."""
    functions = await world.sql.fetch(OWN_FUNCTIONS)
    assert [each["name"] for each in functions if not each["fixed"]] == []
    assert {each["name"] for each in functions if each["definer"]} == SECURITY_DEFINERS


async def test_sequences(world: World) -> None:
    """No role of a browser's uses a sequence."""
    rows = await world.sql.fetch(
        """select s.relname, r.rolname from pg_class s cross join pg_roles r
        where s.relkind = 'S' and s.relnamespace = 'public'::regnamespace and r.rolname in ('anon', 'authenticated')
            and has_sequence_privilege(r.oid, s.oid, 'usage, select, update')"""
    )
    assert [tuple(row) for row in rows] == []


async def test_a_table_that_was_forgotten_is_noticed(world: World) -> None:
    """The tests above fail on a table and a function as somebody would carelessly add them."""
    transaction = world.sql.transaction()
    await transaction.start()
    try:
        await world.sql.execute("create table public.careless (id integer); grant all on public.careless to anon")
        await world.sql.execute("create function public.careless() returns integer language sql as 'select 1'")
        for check in (
            test_row_security_is_on_for_every_table,
            test_reading,
            test_calling,
            test_functions_resolve_names_in_fixed_places,
        ):
            with pytest.raises(AssertionError, match="careless"):
                await check(world)
    finally:
        await transaction.rollback()
