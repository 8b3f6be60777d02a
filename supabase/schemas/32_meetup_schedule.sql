-- Agreeing on a meetup, moving it, and cancelling it.

create function internal.require_venue(p_venue_name text)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.require(char_length(p_venue_name) between 1 and 200 and p_venue_name !~ '[[:cntrl:]]',
        'venue_name', 'venue_name must be one line of 1 to 200 characters');
end
$$;

comment on function internal.require_venue is 'Raises WM400 FIELD_INVALID about venue_name.';

create function internal.require_future_time(p_scheduled_time timestamptz)
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    perform internal.require(p_scheduled_time <= now() + interval '366 days',
        'scheduled_time', 'scheduled_time must be within a year');
    if p_scheduled_time <= now() then
        perform internal.raise_invalid('scheduled_time', 'scheduled_time must be in the future', 'MEETUP_TIME_PAST');
    end if;
end
$$;

comment on function internal.require_future_time is
    'Raises WM400 MEETUP_TIME_PAST or FIELD_INVALID about scheduled_time.';

create function internal.require_no_meetup(p_match_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    -- Not skipping what a sweep has locked: it waits for nothing, so it can be waited for.
    update public.meetups m set state = 'EXPIRED'
    where m.match_id = p_match_id and m.state = 'SCHEDULED' and m.scheduled_time <= now() - interval '168 hours';
    perform internal.raise_error('WM409', 'MEETUP_EXISTS', 'the match has a scheduled meet-up already',
        jsonb_build_object('meetup_id', m.id))
    from public.meetups m
    where m.match_id = p_match_id and m.state = 'SCHEDULED';
end
$$;

comment on function internal.require_no_meetup is
    'Raises WM409 MEETUP_EXISTS, having marked what is past its week. The caller has locked both people.';

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
    answer jsonb := internal.recall_answer('schedule_meetup', p_user_id, p_request_id, jsonb_build_array(
        p_match_id, p_venue_name, extract(epoch from p_scheduled_time), p_requester_challenge_id,
        p_invitee_challenge_id));
    agreed public.matches;
    scheduled public.meetups;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.require_venue(p_venue_name);
    agreed := internal.require_match(p_match_id, p_user_id);
    perform internal.lock_people(array[agreed.requester_id, agreed.invitee_id]);
    -- Whatever happened while this waited has happened: look again.
    agreed := internal.require_match(p_match_id, p_user_id);
    if agreed.state <> 'ACCEPTED' then
        perform internal.raise_match_not_accepted(agreed);
    end if;
    perform internal.require_future_time(p_scheduled_time);
    perform internal.require_challenge(p_requester_challenge_id);
    perform internal.require_challenge(p_invitee_challenge_id);
    perform internal.require_no_meetup(p_match_id);
    insert into public.meetups (
        match_id, requester_id, invitee_id, venue_name, venue_author_id, scheduled_time, requester_challenge_id,
        invitee_challenge_id)
    values (
        p_match_id, agreed.requester_id, agreed.invitee_id, p_venue_name, p_user_id, p_scheduled_time,
        p_requester_challenge_id, p_invitee_challenge_id)
    returning * into scheduled;
    perform internal.notify_of_meetup(scheduled, 'MEETUP_SCHEDULED');
    perform internal.remind_of_meetup(scheduled);
    return internal.remember_answer('schedule_meetup', p_user_id, p_request_id,
        jsonb_build_object('meetup', internal.meetup_json(scheduled, p_user_id)));
end
$$;

comment on function public.schedule_meetup is
    'Schedules a meetup of an accepted match, with the emails and the reminders. Returns {"meetup": ...}. Raises '
    'WM404 MATCH_NOT_FOUND, CHALLENGE_NOT_FOUND; WM409 MATCH_NOT_ACCEPTED, MEETUP_EXISTS; WM400 MEETUP_TIME_PAST, '
    'FIELD_INVALID, REQUEST_ID_REUSED.';

create function internal.recent_moves(p_meetup public.meetups)
    returns timestamptz[]
    language sql
    stable
    set search_path = ''
as $$
    select array(select t from unnest(p_meetup.move_times) t where t > now() - interval '24 hours' order by t)
$$;

comment on function internal.recent_moves is 'Returns when the meetup was moved within the last 24 hours, in order.';

create function internal.require_moves_left(p_meetup public.meetups)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    most constant integer := 5;
    recent constant timestamptz[] := internal.recent_moves(p_meetup);
begin
    if cardinality(recent) >= most then
        perform internal.raise_error('WM429', 'MEETUP_MOVED_TOO_OFTEN',
            'the meetup was moved too often within 24 hours',
            jsonb_build_object(
                'meetup_id', p_meetup.id,
                'limit', most::text,
                'retry_after_seconds',
                ceil(extract(epoch from recent[cardinality(recent) - most + 1] + interval '24 hours' - now()))::text));
    end if;
end
$$;

comment on function internal.require_moves_left is
    'Raises WM429 MEETUP_MOVED_TOO_OFTEN if the meetup, by whomever, was moved five times within 24 hours.';

create function internal.move_meetup(
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
        move_times = internal.recent_moves(m) || now(),
        sequence = m.sequence + 1,
        update_time = now()
    where m.id = p_meetup.id
    returning * into moved;
    perform internal.notify_of_meetup(
        moved, 'MEETUP_MOVED', internal.changes_unknown_to(moved, to_jsonb(p_meetup)),
        internal.drop_meetup_mails(moved));
    perform internal.remind_of_meetup(moved);
    return moved;
end
$$;

comment on function internal.move_meetup is
    'Gives a meetup another time or place, with the emails, and new reminders for the old. The caller has locked both '
    'people.';

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
    answer jsonb := internal.recall_answer('reschedule_meetup', p_user_id, p_request_id, jsonb_build_array(
        p_meetup_id, extract(epoch from p_scheduled_time), p_venue_name));
    asked public.meetups;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.require(p_scheduled_time is not null or p_venue_name is not null,
        'scheduled_time', 'scheduled_time or venue_name must be given');
    perform internal.require_venue(coalesce(p_venue_name, 'the same'));
    asked := internal.lock_meetup(p_meetup_id, p_user_id);
    perform internal.require_upcoming_meetup(asked);
    perform internal.require_future_time(coalesce(p_scheduled_time, asked.scheduled_time));
    -- A change to what is already so is no change to notify anybody of.
    if (asked.scheduled_time, asked.venue_name)
        <> (coalesce(p_scheduled_time, asked.scheduled_time), coalesce(p_venue_name, asked.venue_name)) then
        perform internal.require_moves_left(asked);
        asked := internal.move_meetup(
            asked, coalesce(p_scheduled_time, asked.scheduled_time), coalesce(p_venue_name, asked.venue_name),
            p_user_id);
    end if;
    return internal.remember_answer('reschedule_meetup', p_user_id, p_request_id,
        jsonb_build_object('meetup', internal.meetup_json(asked, p_user_id)));
end
$$;

comment on function public.reschedule_meetup is
    'Moves a meetup that lies ahead to another time, place or both; what is null stays. Returns {"meetup": ...}. '
    'Raises WM404 MEETUP_NOT_FOUND; WM409 MEETUP_NOT_SCHEDULED, MEETUP_STARTED; WM429 MEETUP_MOVED_TOO_OFTEN; WM400 '
    'MEETUP_TIME_PAST, FIELD_INVALID, REQUEST_ID_REUSED.';

create function internal.cancel_one_meetup(p_meetup public.meetups, p_details jsonb default '{}')
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
    perform internal.notify_of_meetup(
        cancelled, 'MEETUP_CANCELLED', p_details, internal.drop_meetup_mails(cancelled));
    return cancelled;
end
$$;

comment on function internal.cancel_one_meetup is
    'Cancels a meetup that lies ahead, with the emails, and drops its reminders. The caller has locked both people.';

create function internal.cancel_meetups_of_match(p_match_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    -- One that has begun stays: who was stood up can still say so, and who came is not robbed of it.
    perform internal.cancel_one_meetup(m, '{"match_ended": true}')
    from public.meetups m
    where m.match_id = p_match_id and internal.is_upcoming(m);
end
$$;

comment on function internal.cancel_meetups_of_match is
    'Cancels the match''s meetup that lies ahead, if there is one. The caller has locked both people.';

create function public.cancel_meetup(p_meetup_id uuid, p_user_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer('cancel_meetup', p_user_id, p_request_id, jsonb_build_array(p_meetup_id));
    asked public.meetups;
begin
    if answer is not null then
        return answer;
    end if;
    asked := internal.lock_meetup(p_meetup_id, p_user_id);
    perform internal.require_upcoming_meetup(asked);
    asked := internal.cancel_one_meetup(asked);
    return internal.remember_answer('cancel_meetup', p_user_id, p_request_id,
        jsonb_build_object('meetup', internal.meetup_json(asked, p_user_id)));
end
$$;

comment on function public.cancel_meetup is
    'Calls a meetup off that lies ahead. Returns {"meetup": ...}. Raises WM404 MEETUP_NOT_FOUND; WM409 '
    'MEETUP_NOT_SCHEDULED, MEETUP_STARTED; WM400 REQUEST_ID_REUSED.';

revoke execute on function
    public.schedule_meetup, public.reschedule_meetup, public.cancel_meetup
    from public, anon, authenticated;
grant execute on function public.schedule_meetup, public.reschedule_meetup, public.cancel_meetup to service_role;
