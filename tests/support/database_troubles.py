"""What holds up some callers of a database that is well: a transaction that hangs, a query that takes a minute."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

LOCK_ROW = "select from user_profiles where id = $1 for update"
# As a list would be that filters a million rows: it holds its connection for as long as it may.
SLOW_LIST = """
create or replace function public.list_matches(
    p_user_id uuid, p_states text[] default null, p_page_size integer default 20, p_after uuid default null
) returns jsonb language plpgsql stable set search_path = '' as $$
begin
    perform pg_catalog.pg_sleep(60);
    return '{"matches": [], "next_after": null}';
end $$
"""
AS_IT_IS = "select pg_get_functiondef('public.list_matches'::regproc)"


@asynccontextmanager
async def locked(dsn: str, user_id: str) -> AsyncIterator[None]:
    """Hold a person's row locked for the length of the context, as a transaction does that hangs."""
    sql = await asyncpg.connect(dsn)
    try:
        async with sql.transaction():
            await sql.execute(LOCK_ROW, user_id)
            yield
    finally:
        await sql.close()


@asynccontextmanager
async def slow_lists(dsn: str) -> AsyncIterator[None]:
    """Let ListMatches be slow for the length of the context."""
    sql = await asyncpg.connect(dsn)
    try:
        before = await sql.fetchval(AS_IT_IS)
        await sql.execute(SLOW_LIST)
        yield
        await sql.execute(before)
    finally:
        await sql.close()
