-- Which migrations this database has, and how old a server may be that works on it.

create function internal.oldest_server_of(p_migration jsonb)
    returns text
    language sql
    immutable
    set search_path = ''
as $$
    select substring(p_migration -> 'statements' ->> 0 from '^-- oldest-server: ([0-9]{14})\s')
$$;

comment on function internal.oldest_server_of is
    'Returns what the first line of an applied migration says: the newest migration that the oldest server knows which '
    'works after it; null if the history does not have that line.';

create function public.get_migrations()
    returns jsonb
    language plpgsql
    stable
    -- The history belongs to whoever migrates; servers may read this much of it.
    security definer
    set search_path = ''
as $$
declare
    migrations jsonb;
begin
    if to_regclass('supabase_migrations.schema_migrations') is null then
        return '[]';
    end if;
    -- By to_jsonb, because the first versions of Supabase's CLI made the table without the column of statements.
    select coalesce(jsonb_agg(jsonb_build_object(
            'version', m.version, 'oldest_server', internal.oldest_server_of(to_jsonb(m))) order by m.version), '[]')
        into migrations
    from supabase_migrations.schema_migrations m;
    return migrations;
end
$$;

comment on function public.get_migrations is
    'Returns [{"version", "oldest_server"}] of the applied migrations, oldest first; see internal.oldest_server_of.';

revoke execute on function public.get_migrations from public, anon, authenticated;
grant execute on function public.get_migrations to service_role;
