-- Challenges that people took on, and what became of them.
--
-- Whatever changes those of a person locks the person first, so that two changes at once come one after the other and
-- none comes after an erasure.

create table public.user_challenges (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.user_profiles on delete cascade,
    challenge_id uuid not null references public.approach_challenges,
    state text not null default 'STARTED' check (state in ('STARTED', 'SUBMITTED', 'EXPIRED')),
    notes text not null default '' check (char_length(notes) <= 4000),
    earned_points smallint not null default 0 check (earned_points >= 0),
    create_time timestamptz not null default now(),
    submit_time timestamptz,
    expire_time timestamptz not null,
    check ((state = 'SUBMITTED') = (submit_time is not null)),
    check (state = 'SUBMITTED' or earned_points = 0)
);

comment on table public.user_challenges is
    'One row an attempt of a person at a challenge. STARTED past expire_time means EXPIRED, whether or not that is '
    'written.';

create unique index user_challenges_one_under_way
    on public.user_challenges (user_id, challenge_id) where state = 'STARTED';
create index user_challenges_of_user on public.user_challenges (user_id, create_time desc, id desc);
create index user_challenges_of_challenge on public.user_challenges (challenge_id);

alter table public.user_challenges enable row level security;
revoke all on table public.user_challenges from public, anon, authenticated;
grant select, insert, update, delete on table public.user_challenges to service_role;
grant select on table public.user_challenges to authenticated;
create policy "People read the challenges they took on" on public.user_challenges
    for select to authenticated using (user_id = (select auth.uid()));

create function internal.user_challenge_state(p_attempt public.user_challenges)
    returns text
    language sql
    stable
    return case when p_attempt.state = 'STARTED' and p_attempt.expire_time <= now() then 'EXPIRED'
        else p_attempt.state end;

comment on function internal.user_challenge_state is 'Returns the state of the attempt at this moment.';

create function internal.user_challenge_json(p_attempt public.user_challenges)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return to_jsonb(p_attempt) - 'challenge_id' || jsonb_build_object(
        'state', internal.user_challenge_state(p_attempt),
        'challenge', (
            select internal.challenge_json(c) from public.approach_challenges c where c.id = p_attempt.challenge_id));
end
$$;

comment on function internal.user_challenge_json is 'Returns an attempt under the field names of the API.';

create function internal.total_points(p_user_id uuid)
    returns integer
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (select coalesce(sum(u.earned_points), 0) from public.user_challenges u where u.user_id = p_user_id);
end
$$;

comment on function internal.total_points is 'Returns all the points that the person ever earned.';

create function internal.require_user_challenge(p_user_challenge_id uuid, p_user_id uuid)
    returns public.user_challenges
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    attempt public.user_challenges;
begin
    select * into attempt from public.user_challenges u where u.id = p_user_challenge_id and u.user_id = p_user_id;
    if not found then
        perform internal.raise_error('WM404', 'USER_CHALLENGE_NOT_FOUND', 'the person has no such started challenge',
            jsonb_build_object('user_challenge_id', p_user_challenge_id));
    end if;
    return attempt;
end
$$;

comment on function internal.require_user_challenge is
    'Returns the attempt to the person whose it is. Raises WM404 USER_CHALLENGE_NOT_FOUND, to a stranger too.';

create function internal.require_not_under_way(p_user_id uuid, p_challenge_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    under_way uuid;
begin
    update public.user_challenges u set state = 'EXPIRED'
    where u.user_id = p_user_id and u.challenge_id = p_challenge_id
        and u.state = 'STARTED' and u.expire_time <= now();
    select u.id into under_way from public.user_challenges u
    where u.user_id = p_user_id and u.challenge_id = p_challenge_id and u.state = 'STARTED';
    if found then
        perform internal.raise_error('WM409', 'CHALLENGE_IN_PROGRESS', 'the person has this challenge under way',
            jsonb_build_object('user_challenge_id', under_way));
    end if;
end
$$;

comment on function internal.require_not_under_way is
    'Records that attempts at the challenge have expired. The caller has locked the person. Raises WM409 '
    'CHALLENGE_IN_PROGRESS if one has not.';

create function public.start_challenge(
    p_user_id uuid, p_challenge_id uuid, p_duration_days integer default 7, p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer(
        'start_challenge', p_user_id, p_request_id, jsonb_build_array(p_challenge_id));
    started public.user_challenges;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.lock_person(p_user_id);
    perform internal.require_challenge(p_challenge_id);
    perform internal.require_not_under_way(p_user_id, p_challenge_id);
    insert into public.user_challenges (user_id, challenge_id, expire_time)
    values (p_user_id, p_challenge_id, now() + p_duration_days * interval '24 hours')
    returning * into started;
    return internal.remember_answer('start_challenge', p_user_id, p_request_id,
        jsonb_build_object('user_challenge', internal.user_challenge_json(started)));
end
$$;

comment on function public.start_challenge is
    'Lets the person take a challenge of the catalogue on. Returns {"user_challenge": ...}. Raises WM404 '
    'PROFILE_NOT_FOUND, CHALLENGE_NOT_FOUND; WM409 CHALLENGE_IN_PROGRESS; WM400 REQUEST_ID_REUSED.';

create function public.submit_challenge(
    p_user_challenge_id uuid, p_user_id uuid, p_notes text default '', p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer(
        'submit_challenge', p_user_id, p_request_id, jsonb_build_array(p_user_challenge_id, p_notes));
    attempt public.user_challenges;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.require(char_length(p_notes) <= 4000, 'notes', 'notes must have at most 4000 characters');
    perform internal.lock_people(array[p_user_id]);
    attempt := internal.require_user_challenge(p_user_challenge_id, p_user_id);
    if internal.user_challenge_state(attempt) <> 'STARTED' then
        perform internal.raise_error('WM409', 'CHALLENGE_' || internal.user_challenge_state(attempt),
            'the challenge is no longer under way', jsonb_build_object('user_challenge_id', attempt.id));
    end if;
    update public.user_challenges u
    set state = 'SUBMITTED', submit_time = now(), notes = p_notes, earned_points = c.points
    from public.approach_challenges c
    where u.id = attempt.id and u.state = 'STARTED' and c.id = u.challenge_id
    returning u.* into attempt;
    return internal.remember_answer('submit_challenge', p_user_id, p_request_id, jsonb_build_object(
        'user_challenge', internal.user_challenge_json(attempt), 'total_points', internal.total_points(p_user_id)));
end
$$;

comment on function public.submit_challenge is
    'Submits an attempt that is under way and credits its points. Returns {"user_challenge": ..., "total_points": '
    'n}. Raises WM404 USER_CHALLENGE_NOT_FOUND; WM409 CHALLENGE_SUBMITTED, CHALLENGE_EXPIRED; WM400 FIELD_INVALID, '
    'REQUEST_ID_REUSED.';

create function public.list_user_challenges(
    p_user_id uuid,
    p_states text[] default null,
    p_page_size integer default 20,
    p_after uuid default null,
    p_position jsonb default null
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    page_size constant integer := internal.require_page_size(p_page_size, 20);
    states constant text[] := nullif(p_states, '{}');
    after_time timestamptz := coalesce((p_position ->> 'create_time')::timestamptz, 'infinity');
    after_id uuid := coalesce((p_position ->> 'id')::uuid, p_user_id);
    attempts public.user_challenges[];
    last public.user_challenges;
begin
    perform internal.require(states is null or states <@ array['STARTED', 'SUBMITTED', 'EXPIRED'],
        'states', 'states must be states of a started challenge');
    if p_after is not null then
        after_time := internal.require_time_of_user_challenge(p_after, p_user_id);
        after_id := p_after;
    end if;
    attempts := array(
        select u from public.user_challenges u
        where u.user_id = p_user_id
            and (u.create_time, u.id) < (after_time, after_id)
            and (states is null or internal.user_challenge_state(u) = any (states))
        order by u.create_time desc, u.id desc
        limit page_size + 1);
    last := attempts[page_size];
    return jsonb_build_object(
        'user_challenges', (
            select coalesce(jsonb_agg(internal.user_challenge_json(u) order by u.create_time desc, u.id desc), '[]')
            from unnest(attempts[1:page_size]) u),
        'next_after', case when cardinality(attempts) > page_size then last.id end,
        'next_position', case when cardinality(attempts) > page_size then
            jsonb_build_object('create_time', last.create_time, 'id', last.id) end,
        'total_points', internal.total_points(p_user_id));
end
$$;

comment on function public.list_user_challenges is
    'Returns {"user_challenges": [...], "next_position": object or null, "total_points": n}, newest first; p_position '
    'is next_position of the page before. No or empty p_states means all. p_after and next_after are those of earlier '
    'servers. Raises WM400 FIELD_INVALID, PAGE_TOKEN_INVALID.';

create function internal.require_time_of_user_challenge(p_user_challenge_id uuid, p_user_id uuid)
    returns timestamptz
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    created timestamptz;
begin
    select u.create_time into created from public.user_challenges u
    where u.id = p_user_challenge_id and u.user_id = p_user_id;
    if not found then
        perform internal.raise_invalid('page_token', 'the page before this one is gone', 'PAGE_TOKEN_INVALID');
    end if;
    return created;
end
$$;

comment on function internal.require_time_of_user_challenge is
    'Returns when an attempt of the person was made. Raises WM400 PAGE_TOKEN_INVALID if there is no such attempt.';

revoke execute on function
    public.start_challenge, public.submit_challenge, public.list_user_challenges
    from public, anon, authenticated;
grant execute on function
    public.start_challenge, public.submit_challenge, public.list_user_challenges
    to service_role;
