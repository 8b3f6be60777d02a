-- The catalogue of challenges. It is public: anybody may read what is in it, and nobody but the service role changes it.

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
    'One row a challenge. What somebody took on or planned cannot be deleted; it is retired, and leaves the catalogue.';

alter table public.approach_challenges enable row level security;
revoke all on table public.approach_challenges from anon, authenticated;
grant select, insert, update, delete on table public.approach_challenges to service_role;
grant select on table public.approach_challenges to anon, authenticated;
create policy "Everybody reads the catalogue" on public.approach_challenges
    for select to anon, authenticated using (not retired);

create function public.challenge_json(p_challenge public.approach_challenges)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return to_jsonb(p_challenge) - 'retired' - 'create_time';
end
$$;

comment on function public.challenge_json is 'Returns a challenge under the field names of the API.';

create function public.list_challenges(p_known_version text default null)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    catalogue constant jsonb := (
        select coalesce(jsonb_agg(public.challenge_json(c) order by
            array_position(array['BEGINNER', 'INTERMEDIATE', 'ADVANCED'], c.difficulty), c.points, c.title), '[]')
        from public.approach_challenges c
        -- Said again for callers whom row level security does not stop.
        where not c.retired);
    version constant text := encode(sha256(convert_to(catalogue::text, 'UTF8')), 'hex');
begin
    return jsonb_build_object('version', version) || case
        when version is distinct from p_known_version then jsonb_build_object('challenges', catalogue)
        else '{}' end;
end
$$;

comment on function public.list_challenges is
    'Returns {"version": ..., "challenges": [...]}, the whole catalogue, the easiest first, of equally hard ones those with '
    'fewer points first; without "challenges" if its version is p_known_version. Equal versions mean equal catalogues.';

create function public.tell_of_challenges()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    notify challenges;
    return null;
end
$$;

comment on function public.tell_of_challenges is 'Tells those who listen that the catalogue may have changed.';

create trigger approach_challenges_changed
    after insert or update or delete or truncate on public.approach_challenges
    for each statement execute function public.tell_of_challenges();

revoke execute on function public.challenge_json, public.list_challenges, public.tell_of_challenges
    from public, anon, authenticated;
grant execute on function public.challenge_json, public.list_challenges, public.tell_of_challenges to service_role;
grant execute on function public.challenge_json, public.list_challenges to anon;
