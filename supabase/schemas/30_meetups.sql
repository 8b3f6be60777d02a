-- Appointments of matched people.
--
-- Whatever changes a meetup locks its two people (lock_people), as whatever changes a match does; but for the sweep of
-- expired ones, which waits for nothing.

create table public.meetups (
    id uuid primary key default gen_random_uuid(),
    match_id uuid not null references public.matches on delete cascade,
    requester_id uuid references public.user_profiles,
    invitee_id uuid references public.user_profiles,
    state text not null default 'SCHEDULED'
        check (state in ('SCHEDULED', 'COMPLETED', 'CANCELLED', 'MISSED', 'EXPIRED')),
    venue_name text not null check (char_length(venue_name) <= 200 and venue_name !~ '[[:cntrl:]]'),
    venue_author_id uuid,
    scheduled_time timestamptz not null,
    requester_challenge_id uuid,
    invitee_challenge_id uuid,
    requester_answer text check (requester_answer in ('PRESENT', 'MISSING')),
    requester_answer_time timestamptz,
    invitee_answer text check (invitee_answer in ('PRESENT', 'MISSING')),
    invitee_answer_time timestamptz,
    sequence integer not null default 0,
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now(),
    move_times timestamptz[] not null default '{}',
    check ((requester_answer is null) = (requester_answer_time is null)),
    check ((invitee_answer is null) = (invitee_answer_time is null)),
    check ((state = 'COMPLETED') = coalesce(requester_answer = 'PRESENT' and invitee_answer = 'PRESENT', false)),
    check ((state = 'MISSED') = coalesce('MISSING' in (requester_answer, invitee_answer), false))
);

comment on table public.meetups is
    'One row an appointment. SCHEDULED a week past scheduled_time means EXPIRED, whether or not expire_meetups has '
    'been there.';
comment on column public.meetups.requester_id is 'As in the match; null once the person was erased.';
comment on column public.meetups.invitee_id is 'As in the match; null once the person was erased.';
comment on column public.meetups.venue_author_id is 'Who of the two wrote venue_name.';
comment on column public.meetups.requester_answer is 'What the requester said of the invitee.';
comment on column public.meetups.invitee_answer is 'What the invitee said of the requester.';
comment on column public.meetups.sequence is
    'Incremented by each change that both people are notified of, as in their calendars.';
comment on column public.meetups.move_times is 'When it was moved within the 24 hours before the last move.';

create unique index meetups_one_live_match on public.meetups (match_id) where state = 'SCHEDULED';
create index meetups_by_match on public.meetups (match_id);
create index meetups_by_requester on public.meetups (requester_id, scheduled_time desc, id desc);
create index meetups_by_invitee on public.meetups (invitee_id, scheduled_time desc, id desc);
create index meetups_expiring on public.meetups (scheduled_time) where state = 'SCHEDULED';

alter table public.meetups enable row level security;
revoke all on table public.meetups from public, anon, authenticated;
grant select, insert, update, delete on table public.meetups to service_role;
grant select on table public.meetups to authenticated;
create policy "People read meet-ups they take part in" on public.meetups
    for select to authenticated using ((select auth.uid()) in (requester_id, invitee_id));

create table public.meetup_notes (
    meetup_id uuid not null references public.meetups on delete cascade,
    user_id uuid not null references public.user_profiles on delete cascade,
    notes text not null check (char_length(notes) between 1 and 4000),
    update_time timestamptz not null default now(),
    primary key (meetup_id, user_id)
);

comment on table public.meetup_notes is 'What a person noted on a meetup, visible to that person alone.';

create index meetup_notes_of_user on public.meetup_notes (user_id);

alter table public.meetup_notes enable row level security;
revoke all on table public.meetup_notes from public, anon, authenticated;
grant select, insert, update, delete on table public.meetup_notes to service_role;
grant select on table public.meetup_notes to authenticated;
create policy "People read their own notes" on public.meetup_notes
    for select to authenticated using (user_id = (select auth.uid()));

create function internal.meetup_state_now(p_meetup public.meetups)
    returns text
    language sql
    stable
    return case
        when p_meetup.state = 'SCHEDULED' and p_meetup.scheduled_time <= now() - interval '168 hours' then 'EXPIRED'
        else p_meetup.state
    end;

comment on function internal.meetup_state_now is 'Returns the state of the meetup at this moment.';

create function internal.meetup_json(p_meetup public.meetups, p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    requester constant uuid := coalesce(p_meetup.requester_id, internal.erased_user_id());
    invitee constant uuid := coalesce(p_meetup.invitee_id, internal.erased_user_id());
begin
    return jsonb_build_object(
        'id', p_meetup.id,
        'match_id', p_meetup.match_id,
        'requester_id', requester,
        'invitee_id', invitee,
        'state', internal.meetup_state_now(p_meetup),
        'venue_name', p_meetup.venue_name,
        'scheduled_time', p_meetup.scheduled_time,
        'requester_challenge_id', p_meetup.requester_challenge_id,
        'invitee_challenge_id', p_meetup.invitee_challenge_id,
        'requester_confirm_time', case p_meetup.requester_answer when 'PRESENT' then p_meetup.requester_answer_time end,
        'invitee_confirm_time', case p_meetup.invitee_answer when 'PRESENT' then p_meetup.invitee_answer_time end,
        'no_show_user_ids', array_remove(array[
            case p_meetup.invitee_answer when 'MISSING' then requester end,
            case p_meetup.requester_answer when 'MISSING' then invitee end], null),
        'notes', coalesce((
            select n.notes from public.meetup_notes n where n.meetup_id = p_meetup.id and n.user_id = p_user_id), ''),
        'create_time', p_meetup.create_time,
        'update_time', p_meetup.update_time,
        'expire_time', p_meetup.scheduled_time + interval '168 hours');
end
$$;

comment on function internal.meetup_json is
    'Returns a meetup as one of its people sees it, under the field names of the API.';

create function internal.require_meetup(p_meetup_id uuid, p_user_id uuid)
    returns public.meetups
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    found_meetup public.meetups;
begin
    select * into found_meetup from public.meetups m
    where m.id = p_meetup_id and p_user_id in (m.requester_id, m.invitee_id);
    if not found then
        perform internal.raise_error('WM404', 'MEETUP_NOT_FOUND', 'no such meet-up exists for this person',
            jsonb_build_object('meetup_id', p_meetup_id));
    end if;
    return found_meetup;
end
$$;

comment on function internal.require_meetup is
    'Returns the meetup to one of its two people. Raises WM404 MEETUP_NOT_FOUND, to a stranger too.';

create function internal.lock_meetup(p_meetup_id uuid, p_user_id uuid)
    returns public.meetups
    language plpgsql
    set search_path = ''
as $$
declare
    asked constant public.meetups := internal.require_meetup(p_meetup_id, p_user_id);
begin
    perform internal.lock_people(array[asked.requester_id, asked.invitee_id]);
    -- Whatever happened while this waited has happened: look again.
    return internal.require_meetup(p_meetup_id, p_user_id);
end
$$;

comment on function internal.lock_meetup is
    'Returns the meetup to one of its two people, holding both. Raises WM404 MEETUP_NOT_FOUND.';

create function internal.raise_match_not_accepted(p_match public.matches)
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_error('WM409', 'MATCH_NOT_ACCEPTED', 'the match is not accepted',
        jsonb_build_object('match_id', p_match.id, 'state', internal.state_now(p_match)))
$$;

comment on function internal.raise_match_not_accepted is
    'Raises WM409 MATCH_NOT_ACCEPTED with the state of the match.';

create function internal.raise_meetup_not_scheduled(p_meetup public.meetups)
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_error('WM409', 'MEETUP_NOT_SCHEDULED', 'the meet-up is no longer scheduled',
        jsonb_build_object('meetup_id', p_meetup.id, 'state', internal.meetup_state_now(p_meetup)))
$$;

comment on function internal.raise_meetup_not_scheduled is
    'Raises WM409 MEETUP_NOT_SCHEDULED with the state of the meetup.';

create function internal.is_upcoming(p_meetup public.meetups)
    returns boolean
    language sql
    stable
    -- An answer shows that the time has come, to a transaction that began before it as well.
    return p_meetup.state = 'SCHEDULED' and p_meetup.scheduled_time > now()
        and p_meetup.requester_answer is null and p_meetup.invitee_answer is null;

comment on function internal.is_upcoming is 'Tells whether the meetup is on and has not begun.';

create function internal.require_upcoming_meetup(p_meetup public.meetups)
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    if internal.meetup_state_now(p_meetup) <> 'SCHEDULED' then
        perform internal.raise_meetup_not_scheduled(p_meetup);
    elsif not internal.is_upcoming(p_meetup) then
        perform internal.raise_error('WM409', 'MEETUP_STARTED', 'the scheduled time has come',
            jsonb_build_object('meetup_id', p_meetup.id));
    end if;
end
$$;

comment on function internal.require_upcoming_meetup is 'Raises WM409 MEETUP_NOT_SCHEDULED or MEETUP_STARTED.';

create function public.expire_meetups(p_limit integer default 100)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    expired integer;
begin
    with due as (
        select m.id from public.meetups m
        where m.state = 'SCHEDULED' and m.scheduled_time <= now() - interval '168 hours'
        order by m.scheduled_time
        limit p_limit
        for update skip locked
    )
    update public.meetups m set state = 'EXPIRED' from due where m.id = due.id;
    get diagnostics expired = row_count;
    return jsonb_build_object('expired', expired);
end
$$;

comment on function public.expire_meetups is
    'Marks at most p_limit scheduled meetups EXPIRED that are past their week. Returns {"expired": n}. Any number '
    'may run at once.';

create function public.get_meetup(p_meetup_id uuid, p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object(
        'meetup', internal.meetup_json(internal.require_meetup(p_meetup_id, p_user_id), p_user_id));
end
$$;

comment on function public.get_meetup is
    'Returns {"meetup": ...} to one of its people. Raises WM404 MEETUP_NOT_FOUND.';

create function internal.meetups_of(
    p_user_id uuid, p_states text[], p_match_id uuid, p_after_time timestamptz, p_after_id uuid, p_limit integer
)
    returns setof public.meetups
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    -- Each half walks its own index and stops after p_limit.
    return query
    (
        select * from public.meetups m
        where m.requester_id = p_user_id
            and (m.scheduled_time, m.id) < (p_after_time, p_after_id)
            and (p_match_id is null or m.match_id = p_match_id)
            and (p_states is null or internal.meetup_state_now(m) = any (p_states))
        order by m.scheduled_time desc, m.id desc
        limit p_limit
    )
    union all
    (
        select * from public.meetups m
        where m.invitee_id = p_user_id
            and (m.scheduled_time, m.id) < (p_after_time, p_after_id)
            and (p_match_id is null or m.match_id = p_match_id)
            and (p_states is null or internal.meetup_state_now(m) = any (p_states))
        order by m.scheduled_time desc, m.id desc
        limit p_limit
    )
    order by scheduled_time desc, id desc
    limit p_limit;
end
$$;

comment on function internal.meetups_of is
    'Returns the person''s first p_limit meetups in these states and of this match, behind (time, id), the latest '
    'first; null means all.';

create function public.list_meetups(
    p_user_id uuid,
    p_states text[] default null,
    p_match_id uuid default null,
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
    after_time timestamptz := coalesce((p_position ->> 'scheduled_time')::timestamptz, 'infinity');
    after_id uuid := coalesce((p_position ->> 'id')::uuid, p_user_id);
    found_meetups public.meetups[];
    last public.meetups;
begin
    perform internal.require(
        p_states is null or p_states <@ array['SCHEDULED', 'COMPLETED', 'CANCELLED', 'MISSED', 'EXPIRED'],
        'states', 'states must be states of a meet-up');
    if p_after is not null then
        select m.scheduled_time into after_time from public.meetups m
        where m.id = p_after and p_user_id in (m.requester_id, m.invitee_id);
        if not found then
            perform internal.raise_invalid('page_token', 'the page before this one is gone', 'PAGE_TOKEN_INVALID');
        end if;
        after_id := p_after;
    end if;
    found_meetups := array(
        select m from internal.meetups_of(
            p_user_id, nullif(p_states, '{}'), p_match_id, after_time, after_id, page_size + 1) m);
    last := found_meetups[page_size];
    return jsonb_build_object(
        'meetups', (
            select coalesce(
                jsonb_agg(internal.meetup_json(m, p_user_id) order by m.scheduled_time desc, m.id desc), '[]')
            from unnest(found_meetups[1:page_size]) m),
        'next_after', case when cardinality(found_meetups) > page_size then last.id end,
        'next_position', case when cardinality(found_meetups) > page_size then
            jsonb_build_object('scheduled_time', last.scheduled_time, 'id', last.id) end);
end
$$;

comment on function public.list_meetups is
    'Returns {"meetups": [...], "next_position": object or null}, the latest scheduled time first; p_position is '
    'next_position of the page before. No or empty p_states means all. p_after and next_after are those of earlier '
    'servers. Raises WM400 FIELD_INVALID, WM400 PAGE_TOKEN_INVALID.';

revoke execute on function
    public.expire_meetups, public.get_meetup, public.list_meetups
    from public, anon, authenticated;
grant execute on function public.expire_meetups, public.get_meetup, public.list_meetups to service_role;
