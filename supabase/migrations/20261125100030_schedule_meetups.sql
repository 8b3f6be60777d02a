-- Agreeing on a meet-up, moving it, and calling it off.

create function public.require_venue(p_venue_name text)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform public.require(char_length(p_venue_name) between 1 and 200 and p_venue_name !~ '[[:cntrl:]]',
        'venue_name', 'venue_name must be one line of 1 to 200 characters');
end
$$;

comment on function public.require_venue is 'Raises WM400 FIELD_INVALID about venue_name.';

create function public.require_time_ahead(p_scheduled_time timestamptz)
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    perform public.require(p_scheduled_time <= now() + interval '366 days',
        'scheduled_time', 'scheduled_time must be within a year');
    if p_scheduled_time <= now() then
        perform public.raise_invalid('scheduled_time', 'scheduled_time must be in the future', 'MEETUP_TIME_PAST');
    end if;
end
$$;

comment on function public.require_time_ahead is 'Raises WM400 MEETUP_TIME_PAST or FIELD_INVALID about scheduled_time.';

create function public.raise_match_not_accepted(p_match public.matches)
    returns void
    language sql
    set search_path = ''
as $$
    select public.raise_error('WM409', 'MATCH_NOT_ACCEPTED', 'the match is not accepted',
        jsonb_build_object('match_id', p_match.id, 'state', public.state_now(p_match)))
$$;

comment on function public.raise_match_not_accepted is 'Raises WM409 MATCH_NOT_ACCEPTED with the state of the match.';

create function public.raise_meetup_not_scheduled(p_meetup public.meetups)
    returns void
    language sql
    set search_path = ''
as $$
    select public.raise_error('WM409', 'MEETUP_NOT_SCHEDULED', 'the meet-up is no longer scheduled',
        jsonb_build_object('meetup_id', p_meetup.id, 'state', public.meetup_state_now(p_meetup)))
$$;

comment on function public.raise_meetup_not_scheduled is
    'Raises WM409 MEETUP_NOT_SCHEDULED with the state of the meet-up.';

create function public.lies_ahead(p_meetup public.meetups)
    returns boolean
    language sql
    stable
    -- An answer shows that the time has come, to a transaction that began before it as well.
    return p_meetup.state = 'SCHEDULED' and p_meetup.scheduled_time > now()
        and p_meetup.requester_answer is null and p_meetup.invitee_answer is null;

comment on function public.lies_ahead is 'Tells whether the meet-up is on and has not begun.';

create function public.require_meetup_ahead(p_meetup public.meetups)
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    if public.meetup_state_now(p_meetup) <> 'SCHEDULED' then
        perform public.raise_meetup_not_scheduled(p_meetup);
    elsif not public.lies_ahead(p_meetup) then
        perform public.raise_error('WM409', 'MEETUP_STARTED', 'the scheduled time has come',
            jsonb_build_object('meetup_id', p_meetup.id));
    end if;
end
$$;

comment on function public.require_meetup_ahead is 'Raises WM409 MEETUP_NOT_SCHEDULED or MEETUP_STARTED.';

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
    'Marks at most p_limit scheduled meet-ups EXPIRED that are past their week. Returns {"expired": n}. Any number may run '
    'at once.';

create function public.require_no_meetup(p_match_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    -- Not skipping what a sweep has locked: it waits for nothing, so it can be waited for.
    update public.meetups m set state = 'EXPIRED'
    where m.match_id = p_match_id and m.state = 'SCHEDULED' and m.scheduled_time <= now() - interval '168 hours';
    perform public.raise_error('WM409', 'MEETUP_EXISTS', 'the match has a scheduled meet-up already',
        jsonb_build_object('meetup_id', m.id))
    from public.meetups m
    where m.match_id = p_match_id and m.state = 'SCHEDULED';
end
$$;

comment on function public.require_no_meetup is
    'Raises WM409 MEETUP_EXISTS, having marked what is past its week. The caller holds both people.';

create function public.schedule_meetup(
    p_match_id uuid,
    p_user_id uuid,
    p_venue_name text,
    p_scheduled_time timestamptz,
    p_requester_challenge_id uuid default null,
    p_invitee_challenge_id uuid default null,
    p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := public.recall_answer('schedule_meetup', p_user_id, p_request_id, jsonb_build_array(
        p_match_id, p_venue_name, extract(epoch from p_scheduled_time), p_requester_challenge_id,
        p_invitee_challenge_id));
    agreed public.matches;
    scheduled public.meetups;
begin
    if answer is not null then
        return answer;
    end if;
    perform public.require_venue(p_venue_name);
    agreed := public.require_match(p_match_id, p_user_id);
    perform public.lock_people(array[agreed.requester_id, agreed.invitee_id]);
    -- Whatever happened while this waited has happened: look again.
    agreed := public.require_match(p_match_id, p_user_id);
    if agreed.state <> 'ACCEPTED' then
        perform public.raise_match_not_accepted(agreed);
    end if;
    perform public.require_time_ahead(p_scheduled_time);
    perform public.require_challenge(p_requester_challenge_id);
    perform public.require_challenge(p_invitee_challenge_id);
    perform public.require_no_meetup(p_match_id);
    insert into public.meetups (
        match_id, requester_id, invitee_id, venue_name, venue_author_id, scheduled_time, requester_challenge_id,
        invitee_challenge_id)
    values (
        p_match_id, agreed.requester_id, agreed.invitee_id, p_venue_name, p_user_id, p_scheduled_time,
        p_requester_challenge_id, p_invitee_challenge_id)
    returning * into scheduled;
    perform public.notify_of_meetup(scheduled, 'MEETUP_SCHEDULED');
    perform public.remind_of_meetup(scheduled);
    return public.remember_answer('schedule_meetup', p_user_id, p_request_id,
        jsonb_build_object('meetup', public.meetup_json(scheduled, p_user_id)));
end
$$;

comment on function public.schedule_meetup is
    'Schedules a meet-up of an accepted match, with the mails and the reminders. Returns {"meetup": ...}. Raises WM404 '
    'MATCH_NOT_FOUND, CHALLENGE_NOT_FOUND; WM409 MATCH_NOT_ACCEPTED, MEETUP_EXISTS; WM400 MEETUP_TIME_PAST, '
    'FIELD_INVALID, REQUEST_ID_REUSED.';

create function public.move_meetup(
    p_meetup public.meetups, p_scheduled_time timestamptz, p_venue_name text, p_author_id uuid
)
    returns public.meetups
    language plpgsql
    set search_path = ''
as $$
declare
    moved public.meetups;
begin
    update public.meetups m set
        scheduled_time = p_scheduled_time,
        venue_name = p_venue_name,
        venue_author_id = case m.venue_name when p_venue_name then m.venue_author_id else p_author_id end,
        sequence = m.sequence + 1,
        update_time = now()
    where m.id = p_meetup.id
    returning * into moved;
    perform public.drop_meetup_mails(moved);
    perform public.notify_of_meetup(moved, 'MEETUP_MOVED', jsonb_strip_nulls(jsonb_build_object(
        'previous_time', case when moved.scheduled_time <> p_meetup.scheduled_time then p_meetup.scheduled_time end,
        'previous_venue_name', case when moved.venue_name <> p_meetup.venue_name then p_meetup.venue_name end)));
    perform public.remind_of_meetup(moved);
    return moved;
end
$$;

comment on function public.move_meetup is
    'Gives a meet-up another time or place, with the mails, and new reminders for the old. The caller holds both people.';

create function public.reschedule_meetup(
    p_meetup_id uuid,
    p_user_id uuid,
    p_scheduled_time timestamptz default null,
    p_venue_name text default null,
    p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := public.recall_answer('reschedule_meetup', p_user_id, p_request_id, jsonb_build_array(
        p_meetup_id, extract(epoch from p_scheduled_time), p_venue_name));
    asked public.meetups;
begin
    if answer is not null then
        return answer;
    end if;
    perform public.require(p_scheduled_time is not null or p_venue_name is not null,
        'scheduled_time', 'scheduled_time or venue_name must be given');
    perform public.require_venue(coalesce(p_venue_name, 'the same'));
    asked := public.lock_meetup(p_meetup_id, p_user_id);
    perform public.require_meetup_ahead(asked);
    perform public.require_time_ahead(coalesce(p_scheduled_time, asked.scheduled_time));
    -- What is as it was asked for already is no change to tell anybody of.
    if (asked.scheduled_time, asked.venue_name)
        <> (coalesce(p_scheduled_time, asked.scheduled_time), coalesce(p_venue_name, asked.venue_name)) then
        asked := public.move_meetup(
            asked, coalesce(p_scheduled_time, asked.scheduled_time), coalesce(p_venue_name, asked.venue_name),
            p_user_id);
    end if;
    return public.remember_answer('reschedule_meetup', p_user_id, p_request_id,
        jsonb_build_object('meetup', public.meetup_json(asked, p_user_id)));
end
$$;

comment on function public.reschedule_meetup is
    'Moves a meet-up that lies ahead to another time, place or both; what is null stays. Returns {"meetup": ...}. Raises '
    'WM404 MEETUP_NOT_FOUND; WM409 MEETUP_NOT_SCHEDULED, MEETUP_STARTED; WM400 MEETUP_TIME_PAST, FIELD_INVALID, '
    'REQUEST_ID_REUSED.';

create function public.call_off_meetup(p_meetup public.meetups, p_details jsonb default '{}')
    returns public.meetups
    language plpgsql
    set search_path = ''
as $$
declare
    cancelled public.meetups;
begin
    update public.meetups m set state = 'CANCELLED', sequence = m.sequence + 1, update_time = now()
    where m.id = p_meetup.id
    returning * into cancelled;
    perform public.drop_meetup_mails(cancelled);
    perform public.notify_of_meetup(cancelled, 'MEETUP_CANCELLED', p_details);
    return cancelled;
end
$$;

comment on function public.call_off_meetup is
    'Cancels a meet-up that lies ahead, with the mails, and drops its reminders. The caller holds both people.';

create function public.cancel_meetup(p_meetup_id uuid, p_user_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := public.recall_answer('cancel_meetup', p_user_id, p_request_id, jsonb_build_array(p_meetup_id));
    asked public.meetups;
begin
    if answer is not null then
        return answer;
    end if;
    asked := public.lock_meetup(p_meetup_id, p_user_id);
    perform public.require_meetup_ahead(asked);
    asked := public.call_off_meetup(asked);
    return public.remember_answer('cancel_meetup', p_user_id, p_request_id,
        jsonb_build_object('meetup', public.meetup_json(asked, p_user_id)));
end
$$;

comment on function public.cancel_meetup is
    'Calls a meet-up off that lies ahead. Returns {"meetup": ...}. Raises WM404 MEETUP_NOT_FOUND; WM409 '
    'MEETUP_NOT_SCHEDULED, MEETUP_STARTED; WM400 REQUEST_ID_REUSED.';

revoke execute on function
    public.require_venue, public.require_time_ahead, public.raise_match_not_accepted,
    public.raise_meetup_not_scheduled, public.lies_ahead, public.require_meetup_ahead, public.expire_meetups,
    public.require_no_meetup, public.schedule_meetup, public.move_meetup, public.reschedule_meetup, public.call_off_meetup, public.cancel_meetup
    from public, anon, authenticated;
grant execute on function
    public.require_venue, public.require_time_ahead, public.raise_match_not_accepted,
    public.raise_meetup_not_scheduled, public.lies_ahead, public.require_meetup_ahead, public.expire_meetups,
    public.require_no_meetup, public.schedule_meetup, public.move_meetup, public.reschedule_meetup, public.call_off_meetup, public.cancel_meetup
    to service_role;
