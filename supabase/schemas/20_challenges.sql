-- The catalogue of challenges. It is public: anybody may read what is in it, and only the service role changes it.

create table public.approach_challenges (
    id uuid primary key default gen_random_uuid(),
    title text not null unique check (char_length(title) between 1 and 80 and title !~ '[[:cntrl:]]'),
    description text not null check (char_length(description) between 1 and 1000),
    difficulty text not null check (difficulty in ('BEGINNER', 'INTERMEDIATE', 'ADVANCED')),
    points smallint not null check (points between 1 and 1000),
    retired boolean not null default false,
    create_time timestamptz not null default now()
);

comment on table public.approach_challenges is
    'One row a challenge. What somebody took on or planned cannot be deleted; it is retired, and leaves the '
    'catalogue.';

alter table public.approach_challenges enable row level security;
revoke all on table public.approach_challenges from public, anon, authenticated;
grant select, insert, update, delete on table public.approach_challenges to service_role;
grant select on table public.approach_challenges to anon, authenticated;
create policy "Everybody reads the catalogue" on public.approach_challenges
    for select to anon, authenticated using (not retired);

create function internal.challenge_json(p_challenge public.approach_challenges)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return to_jsonb(p_challenge) - 'retired' - 'create_time';
end
$$;

comment on function internal.challenge_json is 'Returns a challenge under the field names of the API.';

create function public.list_challenges(p_known_version text default null)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    catalogue constant jsonb := (
        select coalesce(jsonb_agg(internal.challenge_json(c) order by
            array_position(array['BEGINNER', 'INTERMEDIATE', 'ADVANCED'], c.difficulty), c.points,
            -- In every database alike: page tokens hold a place in this order.
            c.title collate "C"), '[]')
        from public.approach_challenges c
        -- Repeated for callers whom row level security does not stop.
        where not c.retired);
    version constant text := encode(sha256(convert_to(catalogue::text, 'UTF8')), 'hex');
begin
    return jsonb_build_object('version', version) || case
        when version is distinct from p_known_version then jsonb_build_object('challenges', catalogue)
        else '{}' end;
end
$$;

comment on function public.list_challenges is
    'Returns {"version": ..., "challenges": [...]}, the whole catalogue, the easiest first, of equally hard ones '
    'those with fewer points first; without "challenges" if its version is p_known_version. Equal versions mean '
    'equal catalogues.';

create function internal.require_challenge(p_challenge_id uuid)
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    if p_challenge_id is not null and not exists (
        select from public.approach_challenges c where c.id = p_challenge_id and not c.retired
    ) then
        perform internal.raise_error('WM404', 'CHALLENGE_NOT_FOUND', 'no such challenge exists',
            jsonb_build_object('challenge_id', p_challenge_id));
    end if;
end
$$;

comment on function internal.require_challenge is
    'Raises WM404 CHALLENGE_NOT_FOUND unless the challenge is in the catalogue; null passes.';

create function internal.notify_challenges_changed()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    notify challenges;
    return null;
end
$$;

comment on function internal.notify_challenges_changed is
    'Tells those who listen that the catalogue may have changed.';

create trigger approach_challenges_changed
    after insert or update or delete or truncate on public.approach_challenges
    for each statement execute function internal.notify_challenges_changed();

revoke execute on function public.list_challenges from public, anon, authenticated;
grant execute on function public.list_challenges to service_role;
grant execute on function public.list_challenges to anon;
