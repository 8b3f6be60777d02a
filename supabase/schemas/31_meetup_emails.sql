-- The emails about a meetup and the reminders of it: rows of the transaction that schedules, moves or cancels.
--
-- Each carries the meetup's id and sequence in its payload. Those that wait are dropped with the next change, and one
-- that is just being sent goes out only if the meetup is still as it says.

create type internal.meetup_participant as (
    user_id uuid, time_zone text, challenge_id uuid, partner_name text
);

create function internal.participants_of(p_meetup public.meetups)
    returns setof internal.meetup_participant
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select me.id, me.time_zone, seat.challenge_id, coalesce(partner.first_name, '')
    from (values
        (p_meetup.requester_id, p_meetup.invitee_id, p_meetup.requester_challenge_id),
        (p_meetup.invitee_id, p_meetup.requester_id, p_meetup.invitee_challenge_id)
    ) seat (user_id, partner_id, challenge_id)
    join public.user_profiles me on me.id = seat.user_id
    left join public.user_profiles partner on partner.id = seat.partner_id;
end
$$;

comment on function internal.participants_of is
    'Returns the people of a meetup who still have a profile, with what their emails need.';

create function internal.meetup_payload(p_meetup public.meetups, p_participant internal.meetup_participant)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object(
        'partner_name', p_participant.partner_name,
        'venue_name', p_meetup.venue_name,
        'scheduled_time', p_meetup.scheduled_time,
        'time_zone', p_participant.time_zone,
        'challenge_title', case when p_participant.challenge_id is not null then (
            select c.title from public.approach_challenges c where c.id = p_participant.challenge_id) end,
        'meetup_id', p_meetup.id,
        'sequence', p_meetup.sequence,
        'change_time', p_meetup.update_time);
end
$$;

comment on function internal.meetup_payload is 'Returns the content of an email about the meetup for one of its people.';

create function internal.notify_of_meetup(p_meetup public.meetups, p_kind text, p_details jsonb default '{}')
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.enqueue_notification(
        p_kind => p_kind,
        p_user_id => p.user_id,
        p_payload => internal.meetup_payload(p_meetup, p) || p_details,
        p_dedupe_key => format('meetup/%s/%s/%s', p_meetup.id, p_meetup.sequence, p.user_id),
        p_match_id => p_meetup.match_id,
        p_expire_time => p_meetup.scheduled_time)
    from internal.participants_of(p_meetup) p;
end
$$;

comment on function internal.notify_of_meetup is
    'Writes the email of p_kind about the meetup''s last change to each of its people.';

create function internal.remind_of_meetup(p_meetup public.meetups)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    -- A reminder whose time has passed is not written, and one that is late gives way to the next, or to the meeting.
    perform internal.enqueue_notification(
        p_kind => 'SESSION_REMINDER',
        p_user_id => p.user_id,
        p_payload => internal.meetup_payload(p_meetup, p),
        p_dedupe_key => format('meetup/%s/%s/%s/reminder-%s', p_meetup.id, p_meetup.sequence, p.user_id, ahead.hours),
        p_match_id => p_meetup.match_id,
        p_send_time => p_meetup.scheduled_time - make_interval(hours => ahead.hours),
        p_expire_time => p_meetup.scheduled_time - make_interval(hours => ahead.hours_of_next))
    from internal.participants_of(p_meetup) p
    cross join (values (24, 2), (2, 0)) ahead (hours, hours_of_next)
    where p_meetup.scheduled_time - make_interval(hours => ahead.hours) > now();
end
$$;

comment on function internal.remind_of_meetup is
    'Writes the reminders 24 hours and 2 hours before the meetup to each of its people, as far as they lie ahead.';

create function internal.drop_meetup_mails(p_meetup public.meetups)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    update public.notifications n set state = 'CANCELLED'
    where n.id in (
        -- In the order of ids, as an erasure locks them that finds some by their address.
        select w.id from public.notifications w
        where w.match_id = p_meetup.match_id and w.state = 'PENDING' and w.payload ->> 'meetup_id' = p_meetup.id::text
        order by w.id
        for update);
end
$$;

comment on function internal.drop_meetup_mails is 'Drops what waits to be sent about the meetup.';
