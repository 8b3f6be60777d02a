-- Appointments of matched people, and what each of them said of how it went.
--
-- Whatever changes a meet-up holds its two people (lock_people), as whatever changes a match does; but for the sweep, which
-- waits for nothing.

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
    check ((requester_answer is null) = (requester_answer_time is null)),
    check ((invitee_answer is null) = (invitee_answer_time is null)),
    check ((state = 'COMPLETED') = coalesce(requester_answer = 'PRESENT' and invitee_answer = 'PRESENT', false)),
    check ((state = 'MISSED') = coalesce('MISSING' in (requester_answer, invitee_answer), false))
);

comment on table public.meetups is
    'One row an appointment. SCHEDULED a week past scheduled_time means EXPIRED, whether or not expire_meetups has been '
    'there.';
comment on column public.meetups.requester_id is 'As in the match; null once the person was erased.';
comment on column public.meetups.invitee_id is 'As in the match; null once the person was erased.';
comment on column public.meetups.venue_author_id is 'Who of the two wrote venue_name.';
comment on column public.meetups.requester_answer is 'What the requester said of the invitee.';
comment on column public.meetups.invitee_answer is 'What the invitee said of the requester.';
comment on column public.meetups.sequence is 'Raised by each change that both people are told of, as in their calendars.';

create unique index meetups_one_live_match on public.meetups (match_id) where state = 'SCHEDULED';
create index meetups_by_match on public.meetups (match_id);
create index meetups_by_requester on public.meetups (requester_id, scheduled_time desc, id desc);
create index meetups_by_invitee on public.meetups (invitee_id, scheduled_time desc, id desc);
create index meetups_expiring on public.meetups (scheduled_time) where state = 'SCHEDULED';

-- Apart from the meet-up, so that no grant on meet-ups can ever show them to the other person.
create table public.meetup_notes (
    meetup_id uuid not null references public.meetups on delete cascade,
    user_id uuid not null references public.user_profiles on delete cascade,
    notes text not null check (char_length(notes) between 1 and 4000),
    update_time timestamptz not null default now(),
    primary key (meetup_id, user_id)
);

comment on table public.meetup_notes is 'What a person noted on a meet-up, for nobody else.';

create index meetup_notes_of_user on public.meetup_notes (user_id);

alter table public.meetups enable row level security;
alter table public.meetup_notes enable row level security;
revoke all on table public.meetups, public.meetup_notes from anon, authenticated;
grant select, insert, update, delete on table public.meetups, public.meetup_notes to service_role;
grant select on table public.meetups, public.meetup_notes to authenticated;
create policy "People read meet-ups they take part in" on public.meetups
    for select to authenticated using ((select auth.uid()) in (requester_id, invitee_id));
create policy "People read their own notes" on public.meetup_notes
    for select to authenticated using (user_id = (select auth.uid()));

create function public.meetup_state_now(p_meetup public.meetups)
    returns text
    language sql
    stable
    return case
        when p_meetup.state = 'SCHEDULED' and p_meetup.scheduled_time <= now() - interval '168 hours' then 'EXPIRED'
        else p_meetup.state
    end;

comment on function public.meetup_state_now is 'Returns the state of the meet-up at this moment.';

create function public.meetup_json(p_meetup public.meetups, p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    requester constant uuid := coalesce(p_meetup.requester_id, public.nobody());
    invitee constant uuid := coalesce(p_meetup.invitee_id, public.nobody());
begin
    return jsonb_build_object(
        'id', p_meetup.id,
        'match_id', p_meetup.match_id,
        'requester_id', requester,
        'invitee_id', invitee,
        'state', public.meetup_state_now(p_meetup),
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

comment on function public.meetup_json is 'Returns a meet-up as one of its people sees it, under the field names of the API.';

create function public.require_meetup(p_meetup_id uuid, p_user_id uuid)
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
        perform public.raise_error('WM404', 'MEETUP_NOT_FOUND', 'no such meet-up exists for this person',
            jsonb_build_object('meetup_id', p_meetup_id));
    end if;
    return found_meetup;
end
$$;

comment on function public.require_meetup is
    'Returns the meet-up to one of its two people. Raises WM404 MEETUP_NOT_FOUND, to a stranger too.';

create function public.lock_meetup(p_meetup_id uuid, p_user_id uuid)
    returns public.meetups
    language plpgsql
    set search_path = ''
as $$
declare
    asked constant public.meetups := public.require_meetup(p_meetup_id, p_user_id);
begin
    perform public.lock_people(array[asked.requester_id, asked.invitee_id]);
    -- Whatever happened while this waited has happened: look again.
    return public.require_meetup(p_meetup_id, p_user_id);
end
$$;

comment on function public.lock_meetup is
    'Returns the meet-up to one of its two people, holding both. Raises WM404 MEETUP_NOT_FOUND.';

create function public.next_meetup(p_user_id uuid)
    returns public.meetups
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    soonest public.meetups;
begin
    select * into soonest from public.meetups m
    where (m.requester_id = p_user_id or m.invitee_id = p_user_id)
        and m.state = 'SCHEDULED' and m.scheduled_time > now()
    order by m.scheduled_time, m.id
    limit 1;
    return soonest;
end
$$;

comment on function public.next_meetup is 'Returns the person''s next meet-up that lies ahead; a row of nulls without one.';

revoke execute on function
    public.meetup_state_now, public.meetup_json, public.require_meetup, public.lock_meetup, public.next_meetup
    from public, anon, authenticated;
grant execute on function
    public.meetup_state_now, public.meetup_json, public.require_meetup, public.lock_meetup, public.next_meetup
    to service_role;
