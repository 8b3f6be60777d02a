-- The emails about a meetup and the reminders of it: rows of the transaction that schedules, moves or cancels.
--
-- Each carries the meetup's id and sequence in its payload. An email about a change waits two minutes for others: those
-- that wait are dropped with the next change, whose email takes their place and time, and speaks of all that the person
-- was not told yet. One that is just being sent goes out only if the meetup is still as it says.

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

create function internal.unsent_meetup_email(p_dropped public.notifications[], p_user_id uuid)
    returns public.notifications
    language sql
    immutable
    set search_path = ''
as $$
    select d from unnest(p_dropped) d
    where d.user_id = p_user_id and d.kind <> 'SESSION_REMINDER' and not d.ambiguous
    order by d.create_time desc limit 1
$$;

comment on function internal.unsent_meetup_email is
    'Returns the email about a change, of those dropped, that the person surely did not get; null where there is none.';

create function internal.changes_unknown_to(p_meetup public.meetups, p_known jsonb)
    returns jsonb
    language sql
    immutable
    set search_path = ''
as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'previous_time', case when (p_known ->> 'scheduled_time')::timestamptz <> p_meetup.scheduled_time
            then p_known -> 'scheduled_time' end,
        'previous_venue_name', case when p_known ->> 'venue_name' <> p_meetup.venue_name
            then p_known -> 'venue_name' end))
$$;

comment on function internal.changes_unknown_to is
    'Returns in what a meetup differs from what somebody knows of it, {"scheduled_time": ..., "venue_name": ...}.';

create function internal.meetup_email_time(p_meetup public.meetups, p_details jsonb, p_unsent public.notifications)
    returns timestamptz
    language sql
    stable
    set search_path = ''
as $$
    select case
        when least(p_meetup.scheduled_time, (p_details ->> 'previous_time')::timestamptz) <= now() + interval '30 minutes'
            then now()
        else greatest(now(), least(p_unsent.send_time, now() + interval '2 minutes'))
    end
$$;

comment on function internal.meetup_email_time is
    'Returns when an email about a change is due: two minutes after the first change that is not told yet; at once where '
    'the meetup begins, or would have begun, within half an hour.';

create function internal.notify_of_meetup(
    p_meetup public.meetups, p_kind text, p_details jsonb default '{}', p_dropped public.notifications[] default '{}'
)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    person internal.meetup_participant;
    unsent public.notifications;
    kind text;
    details jsonb;
begin
    for person in select * from internal.participants_of(p_meetup) loop
        unsent := internal.unsent_meetup_email(p_dropped, person.user_id);
        kind := case when unsent.kind = 'MEETUP_SCHEDULED' and p_kind = 'MEETUP_MOVED' then unsent.kind else p_kind end;
        details := case
            when kind = 'MEETUP_MOVED' and unsent.kind = 'MEETUP_MOVED' then internal.changes_unknown_to(
                p_meetup, jsonb_build_object(
                    'scheduled_time', coalesce(unsent.payload -> 'previous_time', unsent.payload -> 'scheduled_time'),
                    'venue_name', coalesce(unsent.payload -> 'previous_venue_name', unsent.payload -> 'venue_name')))
            when kind = 'MEETUP_SCHEDULED' then '{}'
            else p_details end;
        -- Nothing is said of what was called off before it was told of, nor of a move there and back.
        continue when unsent.kind = 'MEETUP_SCHEDULED' and kind = 'MEETUP_CANCELLED'
            or unsent.kind = 'MEETUP_MOVED' and kind = 'MEETUP_MOVED' and details = '{}';
        perform internal.enqueue_notification(
            p_kind => kind,
            p_user_id => person.user_id,
            p_payload => internal.meetup_payload(p_meetup, person) || details,
            p_dedupe_key => format('meetup/%s/%s/%s', p_meetup.id, p_meetup.sequence, person.user_id),
            p_match_id => p_meetup.match_id,
            p_send_time => internal.meetup_email_time(p_meetup, details, unsent),
            p_expire_time => p_meetup.scheduled_time);
    end loop;
end
$$;

comment on function internal.notify_of_meetup is
    'Writes the email of p_kind about the meetup''s last change to each of its people, in the place of those that were '
    'dropped for it.';

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
    -- Nor one that is due at once: what people change a moment before would be an email that they caused.
    where p_meetup.scheduled_time - make_interval(hours => ahead.hours) > now() + interval '30 minutes';
end
$$;

comment on function internal.remind_of_meetup is
    'Writes the reminders 24 hours and 2 hours before the meetup to each of its people, as far as they lie ahead.';

create function internal.drop_meetup_mails(p_meetup public.meetups)
    returns public.notifications[]
    language plpgsql
    set search_path = ''
as $$
declare
    dropped public.notifications[];
begin
    with gone as (
        update public.notifications n set state = 'CANCELLED'
        where n.id in (
            -- In the order of ids, as an erasure locks them that finds some by their address.
            select w.id from public.notifications w
            where w.match_id = p_meetup.match_id and w.state = 'PENDING'
                and w.payload ->> 'meetup_id' = p_meetup.id::text
            order by w.id
            for update)
        returning n
    )
    select array_agg(g.n) into dropped from gone g;
    return coalesce(dropped, '{}');
end
$$;

comment on function internal.drop_meetup_mails is 'Drops what waits to be sent about the meetup, and returns it.';
