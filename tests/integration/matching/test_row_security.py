"""What the roles of a browser may do: read their own, and nothing else."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from support.people import People

PRIVATE = ["user_locations", "match_pool", "avoidances", "request_keys"]
OWN = ["user_profiles", "matches"]
# What the anonymous key is for.
OPEN_TO_ALL = {"health", "list_challenges"}


@asynccontextmanager
async def acting_as(people: People, role: str, user_id: str | None = None) -> AsyncIterator[asyncpg.Connection]:
    """Act as a role of Supabase's, with a person's token if `user_id` is given, and undo everything."""
    transaction = people.sql.transaction()
    await transaction.start()
    try:
        claims = json.dumps({"sub": user_id} if user_id else {})
        await people.sql.execute("select set_config('request.jwt.claims', $1, true)", claims)
        await people.sql.execute(f"set local role {role}")
        yield people.sql
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("table", PRIVATE + OWN)
async def test_anonymous_reads_nothing(shared: People, table: str) -> None:
    """The anonymous role has no way into any table of matching."""
    async with acting_as(shared, "anon") as sql:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await sql.execute(f"select from {table}")


@pytest.mark.parametrize("table", PRIVATE)
async def test_signed_in_people_read_no_private_table(shared: People, table: str) -> None:
    """Places, pool, avoidances and request keys are the server's alone."""
    async with acting_as(shared, "authenticated", await shared.join()) as sql:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await sql.execute(f"select from {table}")


async def test_signed_in_people_read_their_own(shared: People) -> None:
    """A person reads the own profile and the matches they take part in, and no one else's."""
    ann, ben, cid, dora = await shared.join_many(4)
    match = await shared.invite(ann, ben)
    await shared.invite(cid, dora)
    for person in (ann, ben):
        async with acting_as(shared, "authenticated", person) as sql:
            assert [str(row["id"]) for row in await sql.fetch("select * from user_profiles")] == [person]
            assert [str(row["id"]) for row in await sql.fetch("select * from matches")] == [match.id]
    async with acting_as(shared, "authenticated") as sql:
        assert await sql.fetch("select * from matches") == []


@pytest.mark.parametrize("role", ["anon", "authenticated"])
@pytest.mark.parametrize("table", PRIVATE + OWN)
@pytest.mark.parametrize("change", ["insert into {} default values", "delete from {}", "truncate {}"])
async def test_nobody_writes(shared: People, role: str, table: str, change: str) -> None:
    """No role of a browser changes a row."""
    async with acting_as(shared, role, shared.new_id()) as sql:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await sql.execute(change.format(table))


async def test_functions_are_the_service_roles_alone(shared: People) -> None:
    """The service role may call every function, the roles of a browser none but those meant for all."""
    rows = await shared.sql.fetch(
        """select p.proname, has_function_privilege('service_role', p.oid, 'execute') as service,
            has_function_privilege('anon', p.oid, 'execute')
                or has_function_privilege('authenticated', p.oid, 'execute')
                or exists (select from aclexplode(p.proacl) a where a.grantee = 0) as browser
        from pg_proc p where p.pronamespace = 'public'::regnamespace"""
    )
    assert len(rows) > 40
    assert {row["proname"] for row in rows if row["browser"]} <= OPEN_TO_ALL
    assert all(row["service"] for row in rows)


async def test_functions_have_a_fixed_search_path(shared: People) -> None:
    """Every function fixes its search_path, or has a body whose names were resolved when it was created."""
    rows = await shared.sql.fetch(
        """select p.proname from pg_proc p
        where p.pronamespace = 'public'::regnamespace and p.prosqlbody is null
            and not coalesce(array_to_string(p.proconfig, ',') like '%search_path=%', false)"""
    )
    assert [row["proname"] for row in rows] == []


async def test_every_table_has_row_security(shared: People) -> None:
    """Row level security is on for every table."""
    rows = await shared.sql.fetch(
        """select relname from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relrowsecurity"""
    )
    assert [row["relname"] for row in rows] == []
