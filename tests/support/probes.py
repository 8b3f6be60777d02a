"""Functions that only tests have, to see what becomes of a call on its way."""

import asyncio

import asyncpg

from support.databases import execute

PROBES = """
create function public.probe_raise(p_sqlstate text, p_message text, p_detail text default '', p_hint text default '')
    returns jsonb language plpgsql as $$
begin
    raise exception using errcode = p_sqlstate, message = p_message, detail = p_detail, hint = p_hint;
end $$;

create function public.probe_echo(p_value jsonb default '"left out"') returns jsonb language sql
    as $$ select jsonb_build_object('value', p_value) $$;

create function public.probe_types(p_id uuid, p_at timestamptz, p_count integer, p_ratio double precision,
    p_on boolean, p_names text[]) returns jsonb language sql
    as $$ select jsonb_build_array(p_id, extract(epoch from p_at), p_count, p_ratio, p_on, p_names) $$;

create function public.probe_role() returns jsonb language sql as $$ select to_jsonb(current_user) $$;

create function public.probe_sleep(p_seconds double precision) returns jsonb language sql
    as $$ select to_jsonb(pg_sleep(p_seconds)::text) $$;

create function public.probe_nothing() returns void language sql as $$ $$;

create table public.probes (name text primary key check (name <> 'forbidden'));
alter table public.probes enable row level security;
revoke all on table public.probes from anon, authenticated;
grant select, insert on public.probes to service_role;

create function public.probe_write(p_name text, p_fail boolean default false) returns jsonb language plpgsql as $$
begin
    insert into public.probes values (p_name);
    if p_fail then
        raise exception using errcode = 'WM409', message = 'no', detail = 'CONFLICT', hint = '{}';
    end if;
    return '{}';
end $$;

create function public.probe_count() returns jsonb language sql stable
    as $$ select to_jsonb(count(*)) from public.probes $$;

revoke execute on function public.probe_write, public.probe_count from public, anon, authenticated;
grant execute on function public.probe_write, public.probe_count to service_role;
"""


SLEEPING = """
select count(*) from pg_stat_activity
where datname = current_database() and state = 'active' and query like '%probe_sleep%' and pid <> pg_backend_pid()
"""


async def sleeping(dsn: str, *, at_least: int = 0, at_most: int = 1000) -> None:
    """Wait until so many calls of `probe_sleep` run in the database of `dsn`."""
    sql = await asyncpg.connect(dsn)
    try:
        while not at_least <= await sql.fetchval(SLEEPING) <= at_most:
            await asyncio.sleep(0.01)
    finally:
        await sql.close()


async def add_probes(dsn: str) -> None:
    """Create them in the database of `dsn`."""
    await execute(dsn, PROBES)
