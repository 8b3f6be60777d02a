-- oldest-server: 20261128120100
--
-- An address gets at most 3 emails in 10 minutes that others caused, 10 an hour and 30 a day; a digest says what waits
-- beyond that. Changes of a meetup within two minutes are one email, and a meetup is moved at most five times a day.
-- No row is filled: what waits now is counted from its next claim on. The functions that take a parameter more serve the
-- callers of those without it, which therefore go.

alter table public.meetups add column move_times timestamptz[] not null default '{}';

COMMENT ON COLUMN public.meetups.move_times IS 'When it was moved within the 24 hours before the last move.';

create function internal.recent_moves(p_meetup public.meetups)
    returns timestamptz[]
    language sql
    stable
    set search_path = ''
as $$
    select array(select t from unnest(p_meetup.move_times) t where t > now() - interval '24 hours' order by t)
$$;

revoke all on function internal.recent_moves(p_meetup public.meetups) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.recent_moves(p_meetup public.meetups) TO service_role;

COMMENT ON FUNCTION internal.recent_moves(p_meetup public.meetups) IS 'Returns when the meetup was moved within the last 24 hours, in order.';

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

revoke all on function internal.require_moves_left(p_meetup public.meetups) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.require_moves_left(p_meetup public.meetups) TO service_role;

COMMENT ON FUNCTION internal.require_moves_left(p_meetup public.meetups) IS 'Raises WM429 MEETUP_MOVED_TOO_OFTEN if the meetup, by whomever, was moved five times within 24 hours.';

create or replace function internal.move_meetup(
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

create or replace function public.reschedule_meetup(
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

COMMENT ON FUNCTION public.reschedule_meetup(p_meetup_id uuid, p_user_id uuid, p_scheduled_time timestamp with time zone, p_venue_name text, p_request_id uuid) IS 'Moves a meetup that lies ahead to another time, place or both; what is null stays. Returns {"meetup": ...}. Raises WM404 MEETUP_NOT_FOUND; WM409 MEETUP_NOT_SCHEDULED, MEETUP_STARTED; WM429 MEETUP_MOVED_TOO_OFTEN; WM400 MEETUP_TIME_PAST, FIELD_INVALID, REQUEST_ID_REUSED.';

create or replace function internal.cancel_one_meetup(p_meetup public.meetups, p_details jsonb default '{}')
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

alter table public.notifications add column digest_id uuid;
-- It gives way to one that allows more.
-- squawk-ignore ban-drop-constraint
alter table public.notifications drop constraint notifications_kind_check;
alter table public.notifications add constraint notifications_kind_check check (kind in (
    'MATCH_INVITATION', 'MATCH_ACCEPTANCE', 'MATCH_DECLINE', 'SESSION_REMINDER',
    'MEETUP_SCHEDULED', 'MEETUP_MOVED', 'MEETUP_CANCELLED', 'DIGEST')) not valid;
-- squawk-ignore constraint-missing-not-valid
alter table public.notifications validate constraint notifications_kind_check;
-- It gives way to one that allows more.
-- squawk-ignore ban-drop-constraint
alter table public.notifications drop constraint notifications_state_check;
alter table public.notifications add constraint notifications_state_check check (state in (
    'PENDING', 'SENDING', 'SENT', 'CANCELLED', 'EXPIRED', 'DEAD', 'REVIEW', 'SUPPRESSED',
    'DELIVERED', 'DELAYED', 'BOUNCED', 'COMPLAINED', 'DIGESTED')) not valid;
-- squawk-ignore constraint-missing-not-valid
alter table public.notifications validate constraint notifications_state_check;

COMMENT ON COLUMN public.notifications.digest_id IS 'The email of kind DIGEST that says, or said, that this one waits; null for an email sent by itself.';

-- No row belongs into it yet: it takes one look at each.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX notifications_waiting_digests ON public.notifications USING btree (lower(recipient_email)) WHERE ((kind = 'DIGEST'::text) AND (state = 'PENDING'::text));

-- No row belongs into it yet: it takes one look at each.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX notifications_of_digest ON public.notifications USING btree (digest_id) WHERE (digest_id IS NOT NULL);

COMMENT ON FUNCTION internal.notification_kinds() IS 'Every kind of email but DIGEST, in the order in which callers see them.';

create or replace function internal.visible_state(n public.notifications)
    returns text
    language sql
    stable
    return case
        when n.state = 'DIGESTED' then 'CANCELLED'
        when n.state = 'PENDING' and n.send_time > now() then 'SCHEDULED'
        else n.state
    end;

COMMENT ON FUNCTION internal.visible_state(n public.notifications) IS 'The state of an email in the terms of servers that know no digests: what is not due yet is SCHEDULED, and what a digest stands for is CANCELLED.';

create function internal.exact_state(n public.notifications)
    returns text
    language sql
    stable
    return case
        when n.state = 'DIGESTED' then 'DIGESTED'
        when n.state = 'PENDING' and n.digest_id is not null then 'HELD'
        else internal.visible_state(n)
    end;

revoke all on function internal.exact_state(n public.notifications) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.exact_state(n public.notifications) TO service_role;

COMMENT ON FUNCTION internal.exact_state(n public.notifications) IS 'The state of an email as callers see it, HELD and DIGESTED included.';

create or replace function internal.notification_json(n public.notifications)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select jsonb_build_object(
        'id', n.id,
        'kind', n.kind,
        'state', internal.visible_state(n),
        'exact_state', internal.exact_state(n),
        'digest_id', n.digest_id,
        'user_id', n.user_id,
        'match_id', n.match_id,
        'send_time', n.send_time,
        'expire_time', n.expire_time,
        'create_time', n.create_time,
        'sent_time', n.sent_time,
        'attempt_count', n.attempt_count,
        'provider_message_id', n.provider_message_id,
        'last_error', n.last_error)
$$;

create function public.check_send(
    p_user_id uuid default null,
    p_recipient_email text default null,
    p_queue_limit integer default 10000,
    p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    answered constant boolean := public.get_send_answered(p_user_id, p_request_id)::boolean;
    address constant text := coalesce(
        p_recipient_email, (select p.email from public.user_profiles p where p.id = p_user_id));
begin
    if not answered then
        if address is null then
            perform internal.raise_error('WM404', 'PROFILE_NOT_FOUND', 'the person to notify has no profile',
                jsonb_build_object('user_id', p_user_id));
        end if;
        perform internal.require_room_in_queue(p_queue_limit);
    end if;
    return jsonb_build_object(
        'answered', answered, 'address_hash', internal.hash_address(coalesce(address, '')));
end
$$;

revoke all on function public.check_send(p_user_id uuid, p_recipient_email text, p_queue_limit integer, p_request_id uuid) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.check_send(p_user_id uuid, p_recipient_email text, p_queue_limit integer, p_request_id uuid) TO service_role;

COMMENT ON FUNCTION public.check_send(p_user_id uuid, p_recipient_email text, p_queue_limit integer, p_request_id uuid) IS 'Returns {"answered": whether send_notification has an answer to the request, "address_hash": ...}, and charges nothing. Raises, unless it has, WM404 PROFILE_NOT_FOUND and WM429 NOTIFICATION_QUEUE_FULL as send_notification would.';

create function public.get_notification(
    p_notification_id uuid, p_user_id uuid default null, p_digests boolean default false
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    found_one jsonb;
begin
    select internal.notification_json(n) into found_one from public.notifications n
    where n.id = p_notification_id and (p_user_id is null or n.user_id = p_user_id)
        and (p_digests or n.kind <> 'DIGEST');
    if found_one is null then
        perform internal.raise_error('WM404', 'NOTIFICATION_NOT_FOUND', 'no such notification',
            jsonb_build_object('notification_id', p_notification_id));
    end if;
    return jsonb_build_object('notification', found_one);
end
$$;

revoke all on function public.get_notification(p_notification_id uuid, p_user_id uuid, p_digests boolean) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.get_notification(p_notification_id uuid, p_user_id uuid, p_digests boolean) TO service_role;

COMMENT ON FUNCTION public.get_notification(p_notification_id uuid, p_user_id uuid, p_digests boolean) IS 'Return {"notification": ...}; with p_user_id only an email to that person, without p_digests no digest. Raises WM404 NOTIFICATION_NOT_FOUND.';

create function public.list_notifications(
    p_user_id uuid default null,
    p_states text[] default null,
    p_kinds text[] default null,
    p_match_id uuid default null,
    p_page_size integer default 0,
    p_after uuid default null,
    p_digests boolean default false
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
    -- Which index is best depends on what is asked for.
    set plan_cache_mode = force_custom_plan
as $$
declare
    page_size constant integer := internal.require_page_size(p_page_size, 20);
    cursor_time timestamptz;
    page jsonb;
begin
    if p_after is not null then
        select n.create_time into cursor_time from public.notifications n
        where n.id = p_after and (p_user_id is null or n.user_id = p_user_id);
        if cursor_time is null then
            perform internal.raise_invalid('page_token', 'page_token is of another list', 'PAGE_TOKEN_INVALID');
        end if;
    end if;

    select coalesce(jsonb_agg(internal.notification_json(n) order by n.create_time desc, n.id desc), '[]') into page
    from (
        select * from public.notifications t
        where (p_user_id is null or t.user_id = p_user_id)
            and (p_match_id is null or t.match_id = p_match_id)
            and (p_kinds is null or t.kind = any (p_kinds))
            and (p_digests or t.kind <> 'DIGEST')
            and (p_states is null
                or case when p_digests then internal.exact_state(t) else internal.visible_state(t) end = any (p_states))
            and (p_after is null or (t.create_time, t.id) < (cursor_time, p_after))
        order by t.create_time desc, t.id desc limit page_size
    ) n;
    return jsonb_build_object(
        'notifications', page,
        'next_after', case when jsonb_array_length(page) = page_size then page -> -1 -> 'id' end);
end
$$;

revoke all on function public.list_notifications(p_user_id uuid, p_states text[], p_kinds text[], p_match_id uuid, p_page_size integer, p_after uuid, p_digests boolean) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.list_notifications(p_user_id uuid, p_states text[], p_kinds text[], p_match_id uuid, p_page_size integer, p_after uuid, p_digests boolean) TO service_role;

COMMENT ON FUNCTION public.list_notifications(p_user_id uuid, p_states text[], p_kinds text[], p_match_id uuid, p_page_size integer, p_after uuid, p_digests boolean) IS 'Emails, newest first, of one person or of all; next_after continues the list and is null where a page is not full. With p_digests digests are among them, and p_states are exact states.';

create or replace function public.cancel_notification(p_notification_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer('cancel_notification', p_notification_id, p_request_id, '[]');
    asked public.notifications;
begin
    if answer is not null then
        return answer;
    end if;
    asked := internal.require_notification(p_notification_id);
    if asked.state = 'SENDING' or (asked.state = 'PENDING' and asked.ambiguous) then
        -- It may be out already, or be at this very moment: that it will not be sent cannot be promised.
        perform internal.raise_notification_state(asked, 'NOTIFICATION_IN_FLIGHT', 'the mail may be on its way');
    elsif asked.state = 'PENDING' then
        update public.notifications n set state = 'CANCELLED' where n.id = p_notification_id returning * into asked;
        perform internal.cancel_held(asked) where asked.kind = 'DIGEST';
    elsif asked.state <> 'CANCELLED' then
        perform internal.raise_notification_state(
            asked, 'NOTIFICATION_STATE_INVALID', 'only a mail that waits can be cancelled');
    end if;
    return internal.remember_answer('cancel_notification', p_notification_id, p_request_id,
        jsonb_build_object('notification', internal.notification_json(asked)));
end
$$;

create or replace function internal.preferences_json(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    address text;
    chosen public.notification_preferences;
    suppressed public.suppressed_addresses;
begin
    select p.email into address from public.user_profiles p where p.id = p_user_id;
    if not found then
        perform internal.raise_error('WM404', 'PROFILE_NOT_FOUND', 'no such profile',
            jsonb_build_object('user_id', p_user_id));
    end if;
    select * into chosen from public.notification_preferences p where p.user_id = p_user_id;
    select * into suppressed from public.suppressed_addresses s
    where s.address_hash = internal.hash_address(address);
    return jsonb_build_object(
        'user_id', p_user_id,
        'kinds', (
            select jsonb_agg(
                jsonb_build_object('kind', k.kind, 'enabled', not k.kind = any (coalesce(chosen.disabled_kinds, '{}')))
                order by k.place)
            from unnest(internal.notification_kinds()) with ordinality k (kind, place)),
        'digest_enabled', not 'DIGEST' = any (coalesce(chosen.disabled_kinds, '{}')),
        'suppression', case when suppressed.cause is not null then
            jsonb_build_object('cause', suppressed.cause, 'create_time', suppressed.create_time) end,
        'update_time', chosen.update_time);
end
$$;

create or replace function public.update_notification_preferences(p_user_id uuid, p_kinds jsonb, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer(
        'update_notification_preferences', p_user_id, p_request_id, jsonb_build_array(p_kinds));
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.require(
        not exists (
            select from jsonb_array_elements(p_kinds) k
            where k ->> 'kind' <> all (internal.notification_kinds() || 'DIGEST'::text)),
        'kinds', 'kinds must be kinds of mail');
    perform internal.lock_people(array[p_user_id]);
    perform internal.preferences_json(p_user_id);
    perform internal.set_notification_kinds(
        p_user_id,
        array(select k ->> 'kind' from jsonb_array_elements(p_kinds) k where (k ->> 'enabled')::boolean),
        array(select k ->> 'kind' from jsonb_array_elements(p_kinds) k where not (k ->> 'enabled')::boolean));
    return internal.remember_answer('update_notification_preferences', p_user_id, p_request_id,
        jsonb_build_object('preferences', internal.preferences_json(p_user_id)));
end
$$;

create or replace function public.unsubscribe(p_user_id uuid, p_kind text)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.require(
        p_kind = any (internal.notification_kinds() || 'DIGEST'::text), 'kind', 'kind must be a kind of mail');
    perform internal.set_notification_kinds(p_user_id, '{}', array[p_kind]);
    return 'true';
end
$$;

create function internal.lease_due_notifications(
    p_owner text, p_limit integer, p_lease_seconds double precision, p_digests boolean
)
    returns jsonb
    language plpgsql
    set search_path = ''
    -- Without knowing the limit the planner reads and sorts every waiting email.
    set plan_cache_mode = force_custom_plan
as $$
declare
    taken uuid[];
    claimed jsonb;
    held jsonb;
    next_due timestamptz;
begin
    -- Materialized, so that each scan runs once and its limit holds while other claimers skip the rows it locked.
    with abandoned as materialized (
        select n.id, n.lease_expire_time as due_time, false as waits
        from public.notifications n
        where n.state = 'SENDING' and n.lease_expire_time <= now()
        order by n.lease_expire_time limit p_limit for update skip locked
    ), due as materialized (
        select n.id, n.next_attempt_time as due_time, true as waits
        from public.notifications n
        where n.state = 'PENDING' and n.next_attempt_time <= now() and (p_digests or n.kind <> 'DIGEST')
        order by n.next_attempt_time, n.id limit p_limit for update skip locked
    )
    select coalesce(array_agg(c.id order by c.waits, c.due_time, c.id), '{}') into taken
    from (select * from abandoned union all select * from due limit p_limit) c;

    perform internal.lock_addresses(taken);
    for place in 1 .. cardinality(taken) loop
        perform internal.take_notification(n, p_owner, p_lease_seconds, p_digests)
        from public.notifications n where n.id = taken[place];
    end loop;

    select coalesce(jsonb_agg(to_jsonb(c) order by c.send_time, c.id), '[]') into claimed
    from (
        select t.id, t.kind, t.epoch, t.user_id, t.recipient_email, t.recipient_name, t.locale, t.payload, t.match_id,
            t.send_time, t.create_time, t.rendered
        from public.notifications t where t.id = any (taken) and t.state = 'SENDING'
    ) c;
    select coalesce(jsonb_agg(n.kind), '[]') into held
    from public.notifications n where n.id = any (taken) and n.state = 'PENDING' and n.digest_id is not null;

    select min(d.due_time) into next_due from (
        (select n.next_attempt_time as due_time from public.notifications n
          where n.state = 'PENDING' and n.next_attempt_time < 'infinity' and (p_digests or n.kind <> 'DIGEST')
          order by n.next_attempt_time limit 1)
        union all
        (select n.lease_expire_time from public.notifications n
          where n.state = 'SENDING' order by n.lease_expire_time limit 1)
    ) d;
    return jsonb_build_object(
        'notifications', claimed,
        'held_kinds', held,
        'next_due_seconds',
        case when next_due is not null then extract(epoch from greatest(next_due - now(), interval '0')) end);
end
$$;

revoke all on function internal.lease_due_notifications(p_owner text, p_limit integer, p_lease_seconds double precision, p_digests boolean) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.lease_due_notifications(p_owner text, p_limit integer, p_lease_seconds double precision, p_digests boolean) TO service_role;

COMMENT ON FUNCTION internal.lease_due_notifications(p_owner text, p_limit integer, p_lease_seconds double precision, p_digests boolean) IS 'Lease up to p_limit due emails, abandoned ones first, as far as their addresses may get more; the others are held or wait. Return them, the kinds of those held, and in how many seconds the next one is due.';

create function public.claim_notifications(
    p_owner text, p_limit integer, p_lease_seconds double precision, p_digests boolean default false
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    pause constant double precision := internal.delivery_pause_seconds();
begin
    if pause is not null then
        return jsonb_build_object('notifications', '[]'::jsonb, 'next_due_seconds', pause, 'paused', true);
    end if;
    return internal.lease_due_notifications(p_owner, p_limit, p_lease_seconds, p_digests)
        || jsonb_build_object('paused', false);
end
$$;

revoke all on function public.claim_notifications(p_owner text, p_limit integer, p_lease_seconds double precision, p_digests boolean) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.claim_notifications(p_owner text, p_limit integer, p_lease_seconds double precision, p_digests boolean) TO service_role;

COMMENT ON FUNCTION public.claim_notifications(p_owner text, p_limit integer, p_lease_seconds double precision, p_digests boolean) IS 'Lease due emails as lease_due_notifications does; none, and due when the pause ends, while deliveries are paused. Digests are left to callers who can render them, as p_digests says.';

create function public.record_delivery_event(
    p_event_id text,
    p_type text,
    p_state text default null,
    p_suppression text default null,
    p_event_time timestamptz default null,
    p_notification_id uuid default null,
    p_provider_message_id text default null,
    p_address text default null,
    p_digests boolean default false
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    told public.notifications;
begin
    insert into public.delivery_events (event_id, type, event_time, notification_id)
    values (p_event_id, p_type, p_event_time, p_notification_id)
    on conflict do nothing;
    if found then
        perform internal.suppress_address(p_address, p_suppression)
        where p_suppression is not null and p_address is not null;
        update public.notifications n set
            state = p_state,
            sent_time = coalesce(n.sent_time, p_event_time, now()),
            provider_message_id = coalesce(n.provider_message_id, p_provider_message_id),
            -- Whoever has it on lease learns that it is out.
            epoch = n.epoch + 1,
            lease_owner = null,
            lease_expire_time = null
        where n.id = internal.notification_of_event(p_notification_id, p_provider_message_id)
            and p_state is not null and internal.rank_before_event(n) < internal.delivery_rank(p_state);
    end if;
    select * into told from public.notifications n
    where n.id = internal.notification_of_event(p_notification_id, p_provider_message_id);
    return jsonb_build_object('notification', case
        when told.id is not null and (p_digests or told.kind <> 'DIGEST') then internal.notification_json(told) end);
end
$$;

revoke all on function public.record_delivery_event(p_event_id text, p_type text, p_state text, p_suppression text, p_event_time timestamp with time zone, p_notification_id uuid, p_provider_message_id text, p_address text, p_digests boolean) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.record_delivery_event(p_event_id text, p_type text, p_state text, p_suppression text, p_event_time timestamp with time zone, p_notification_id uuid, p_provider_message_id text, p_address text, p_digests boolean) TO service_role;

COMMENT ON FUNCTION public.record_delivery_event(p_event_id text, p_type text, p_state text, p_suppression text, p_event_time timestamp with time zone, p_notification_id uuid, p_provider_message_id text, p_address text, p_digests boolean) IS 'Take an event in, once: raise the state of its email, suppress its address. Return {"notification": ... or null}; null for a digest without p_digests.';

create table public.address_charges (
    notification_id uuid primary key,
    address_hash text not null,
    charge_time timestamptz not null,
    by_others boolean not null
);

revoke all on table public.address_charges from public, anon, authenticated, service_role;
GRANT ALL ON TABLE public.address_charges TO service_role;

COMMENT ON TABLE public.address_charges IS 'Emails of the last day that an address got, or may have got, or is getting at this moment.';

ALTER TABLE public.address_charges ENABLE ROW LEVEL SECURITY;

COMMENT ON COLUMN public.address_charges.by_others IS 'Whether somebody else than the recipient caused the email.';

COMMENT ON COLUMN public.address_charges.charge_time IS 'When the email was claimed; once it was sent, when it was sent.';

create index address_charges_of_address on public.address_charges (address_hash, charge_time desc);

create index address_charges_by_time on public.address_charges (charge_time);

create type internal.kind_traits as (by_others boolean, limited boolean);

create function internal.traits_of_kind(p_kind text)
    returns internal.kind_traits
    language sql
    immutable
    return case p_kind
        -- The clock causes it, not the person one will meet.
        when 'SESSION_REMINDER' then row(false, true)::internal.kind_traits
        else row(true, true)::internal.kind_traits
    end;

revoke all on function internal.traits_of_kind(p_kind text) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.traits_of_kind(p_kind text) TO service_role;

COMMENT ON FUNCTION internal.traits_of_kind(p_kind text) IS 'Whether emails of a kind are caused by others than the recipient, and whether they count and are held at all. What is about the security of the recipient''s own account must not be limited; there is no such kind yet.';

create function internal.is_by_others(p_notification public.notifications)
    returns boolean
    language sql
    immutable
    -- What a backend sends by send_notification is of no match, and it decides about the content.
    return (internal.traits_of_kind(p_notification.kind)).by_others or p_notification.match_id is null;

revoke all on function internal.is_by_others(p_notification public.notifications) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.is_by_others(p_notification public.notifications) TO service_role;

COMMENT ON FUNCTION internal.is_by_others(p_notification public.notifications) IS 'Whether somebody else than the recipient caused an email.';

create function internal.address_free_time(p_address_hash text, p_by_others boolean, p_notification_id uuid)
    returns timestamptz
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (
        select max(full_until.free_time)
        from (values (interval '10 minutes', 3, true), (interval '1 hour', 10, false), (interval '24 hours', 30, false))
            allowed (span, emails, of_others)
        cross join lateral (
            select c.charge_time + allowed.span as free_time
            from public.address_charges c
            where c.address_hash = p_address_hash and c.notification_id <> p_notification_id
                and (c.by_others or not allowed.of_others)
            order by c.charge_time desc
            offset allowed.emails - 1 limit 1
        ) full_until
        where p_by_others or not allowed.of_others
    );
end
$$;

revoke all on function internal.address_free_time(p_address_hash text, p_by_others boolean, p_notification_id uuid) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.address_free_time(p_address_hash text, p_by_others boolean, p_notification_id uuid) TO service_role;

COMMENT ON FUNCTION internal.address_free_time(p_address_hash text, p_by_others boolean, p_notification_id uuid) IS 'From when an address may get an email: 3 in 10 minutes that others caused, 10 an hour and 30 a day of all. Null, or a time that has passed, where it may now. The email itself does not count.';

create function internal.lock_addresses(p_notification_ids uuid[])
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform pg_advisory_xact_lock(a.key)
    from (
        select distinct hashtextextended('address/' || internal.hash_address(n.recipient_email), 0) as key
        from public.notifications n where n.id = any (p_notification_ids)
        order by key
    ) a;
end
$$;

revoke all on function internal.lock_addresses(p_notification_ids uuid[]) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.lock_addresses(p_notification_ids uuid[]) TO service_role;

COMMENT ON FUNCTION internal.lock_addresses(p_notification_ids uuid[]) IS 'Wait until nobody else claims emails to the addresses of these, and keep it so until the transaction ends.';

create function internal.waiting_digest(p_notification public.notifications)
    returns uuid
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (
        select d.id from public.notifications d
        where d.kind = 'DIGEST' and d.state = 'PENDING' and d.rendered is null
            and lower(d.recipient_email) = lower(p_notification.recipient_email)
        order by d.send_time limit 1
    );
end
$$;

revoke all on function internal.waiting_digest(p_notification public.notifications) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.waiting_digest(p_notification public.notifications) TO service_role;

COMMENT ON FUNCTION internal.waiting_digest(p_notification public.notifications) IS 'The digest to the same address to which more can be added; null where there is none.';

create function internal.hold_notification(p_notification public.notifications, p_free_time timestamptz)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    digest uuid := internal.waiting_digest(p_notification);
begin
    if digest is null then
        insert into public.notifications (
            kind, user_id, recipient_email, recipient_name, locale, payload, dedupe_key, send_time, next_attempt_time)
        values (
            'DIGEST', p_notification.user_id, p_notification.recipient_email, p_notification.recipient_name,
            p_notification.locale, '{}', 'digest/' || gen_random_uuid(), p_free_time, p_free_time)
        returning id into digest;
    end if;
    update public.notifications n set
        state = 'PENDING',
        digest_id = digest,
        next_attempt_time = 'infinity',
        rendered = null,
        epoch = n.epoch + 1,
        lease_owner = null,
        lease_expire_time = null
    where n.id = p_notification.id;
end
$$;

revoke all on function internal.hold_notification(p_notification public.notifications, p_free_time timestamp with time zone) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.hold_notification(p_notification public.notifications, p_free_time timestamp with time zone) TO service_role;

COMMENT ON FUNCTION internal.hold_notification(p_notification public.notifications, p_free_time timestamp with time zone) IS 'Let an email wait for the digest to its address, which is due at p_free_time if this is its first.';

create function internal.digest_topic(p_kind text)
    returns text
    language sql
    immutable
    return case
        when p_kind = 'MATCH_INVITATION' then 'invitations'
        when p_kind in ('MATCH_ACCEPTANCE', 'MATCH_DECLINE') then 'answers'
        when p_kind = 'SESSION_REMINDER' then 'reminders'
        else 'meetup_changes'
    end;

revoke all on function internal.digest_topic(p_kind text) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.digest_topic(p_kind text) TO service_role;

COMMENT ON FUNCTION internal.digest_topic(p_kind text) IS 'Under what a digest counts an email of a kind.';

create function internal.fill_digest(p_digest public.notifications)
    returns boolean
    language plpgsql
    set search_path = ''
as $$
declare
    unwanted constant text := internal.reason_not_to_send(p_digest);
begin
    -- The digest, or this, has followed a person to another address.
    update public.notifications n set digest_id = null, next_attempt_time = now()
    where n.id in (
        select h.id from public.notifications h
        where h.digest_id = p_digest.id and h.state = 'PENDING'
            and lower(h.recipient_email) <> lower(p_digest.recipient_email) for update skip locked);
    update public.notifications n set state = coalesce(internal.reason_not_to_send(n), unwanted, 'DIGESTED')
    where n.id in (
        -- What is locked is being changed by somebody who may want one of the rows that this claim has locked.
        select h.id from public.notifications h
        where h.digest_id = p_digest.id and h.state = 'PENDING' for update skip locked);
    update public.notifications d set payload = counted.topics
    from (
        select coalesce(jsonb_object_agg(t.topic, t.emails), '{}') as topics
        from (
            select internal.digest_topic(n.kind) as topic, count(*) as emails from public.notifications n
            where n.digest_id = p_digest.id and n.state = 'DIGESTED' group by topic
        ) t
    ) counted
    where d.id = p_digest.id;
    return not exists (select from public.notifications n where n.digest_id = p_digest.id and n.state = 'PENDING');
end
$$;

revoke all on function internal.fill_digest(p_digest public.notifications) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.fill_digest(p_digest public.notifications) TO service_role;

COMMENT ON FUNCTION internal.fill_digest(p_digest public.notifications) IS 'Count into a digest''s payload, {topic: emails}, what it stands for, and let that be DIGESTED; what is not true or wanted any more ends as it would have without it. Return false if some of it is locked at present.';

create function internal.release_held(p_digest public.notifications)
    returns void
    language sql
    set search_path = ''
as $$
    update public.notifications n set digest_id = null, next_attempt_time = now()
    where n.id in (
        select h.id from public.notifications h
        where h.digest_id = p_digest.id and h.state = 'PENDING' order by h.id for update)
$$;

revoke all on function internal.release_held(p_digest public.notifications) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.release_held(p_digest public.notifications) TO service_role;

COMMENT ON FUNCTION internal.release_held(p_digest public.notifications) IS 'Let what waits for a digest be due by itself again.';

create function internal.release_held_of_deleted()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.release_held(old);
    return null;
end
$$;

revoke all on function internal.release_held_of_deleted() from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.release_held_of_deleted() TO service_role;

COMMENT ON FUNCTION internal.release_held_of_deleted() IS 'Releases what waits for a digest that is deleted with a person whose address others share.';

create trigger release_held
    after delete on public.notifications
    for each row
    when (old.kind = 'DIGEST')
    execute function internal.release_held_of_deleted();

create function internal.cancel_held(p_digest public.notifications)
    returns void
    language sql
    set search_path = ''
as $$
    update public.notifications n set state = 'CANCELLED'
    where n.id in (
        select h.id from public.notifications h
        where h.digest_id = p_digest.id and h.state = 'PENDING' order by h.id for update)
$$;

revoke all on function internal.cancel_held(p_digest public.notifications) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.cancel_held(p_digest public.notifications) TO service_role;

COMMENT ON FUNCTION internal.cancel_held(p_digest public.notifications) IS 'Cancel what waits for a digest that will not be sent.';

create function internal.lease_notification(
    p_notification public.notifications, p_owner text, p_lease_seconds double precision
)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    insert into public.address_charges as c (notification_id, address_hash, charge_time, by_others)
    select p_notification.id, internal.hash_address(p_notification.recipient_email), now(),
        internal.is_by_others(p_notification)
    where (internal.traits_of_kind(p_notification.kind)).limited
    on conflict (notification_id) do update set
        address_hash = excluded.address_hash, charge_time = excluded.charge_time;
    update public.notifications n set
        state = 'SENDING',
        -- A worker vanished with an email it may have begun to send: whether it went out is unknown.
        ambiguous = n.ambiguous or n.state = 'SENDING' and n.rendered is not null,
        digest_id = null,
        epoch = n.epoch + 1,
        lease_owner = p_owner,
        lease_expire_time = now() + make_interval(secs => p_lease_seconds)
    where n.id = p_notification.id;
end
$$;

revoke all on function internal.lease_notification(p_notification public.notifications, p_owner text, p_lease_seconds double precision) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.lease_notification(p_notification public.notifications, p_owner text, p_lease_seconds double precision) TO service_role;

COMMENT ON FUNCTION internal.lease_notification(p_notification public.notifications, p_owner text, p_lease_seconds double precision) IS 'Lease an email to p_owner and charge its address.';

create function internal.set_aside(
    p_notification public.notifications, p_state text, p_due_time timestamptz default null
)
    returns void
    language sql
    set search_path = ''
as $$
    update public.notifications n set
        state = p_state,
        ambiguous = n.ambiguous or n.state = 'SENDING' and n.rendered is not null,
        next_attempt_time = coalesce(p_due_time, n.next_attempt_time),
        epoch = n.epoch + 1,
        lease_owner = null,
        lease_expire_time = null
    where n.id = p_notification.id
$$;

revoke all on function internal.set_aside(p_notification public.notifications, p_state text, p_due_time timestamp with time zone) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.set_aside(p_notification public.notifications, p_state text, p_due_time timestamp with time zone) TO service_role;

COMMENT ON FUNCTION internal.set_aside(p_notification public.notifications, p_state text, p_due_time timestamp with time zone) IS 'Give a due or abandoned email another state than SENDING; with p_due_time, for then.';

create function internal.take_notification(
    p_notification public.notifications, p_owner text, p_lease_seconds double precision, p_digests boolean
)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    doubtful constant boolean := p_notification.ambiguous
        or p_notification.state = 'SENDING' and p_notification.rendered is not null;
    by_others constant boolean := internal.is_by_others(p_notification);
    free_time constant timestamptz := case when (internal.traits_of_kind(p_notification.kind)).limited
        then internal.address_free_time(
            internal.hash_address(p_notification.recipient_email), by_others, p_notification.id) end;
begin
    if p_notification.expire_time <= now() then
        perform internal.set_aside(p_notification, 'EXPIRED');
    elsif doubtful and internal.past_safe_retry(p_notification.first_attempt_time) then
        perform internal.set_aside(p_notification, 'REVIEW');
    elsif free_time > now() and (doubtful or p_notification.kind = 'DIGEST') then
        -- The one may be out, and the other stands for what is held: both wait for their turn.
        perform internal.set_aside(p_notification, 'PENDING', free_time);
    elsif p_notification.kind = 'DIGEST' then
        perform internal.take_digest(p_notification, p_owner, p_lease_seconds);
    -- While a digest waits it comes first, and more of the kind that made it necessary goes into it.
    elsif free_time > now() or (
        p_digests and by_others and not doubtful and internal.waiting_digest(p_notification) is not null) then
        perform internal.hold_notification(p_notification, free_time);
    else
        perform internal.lease_notification(p_notification, p_owner, p_lease_seconds);
    end if;
end
$$;

revoke all on function internal.take_notification(p_notification public.notifications, p_owner text, p_lease_seconds double precision, p_digests boolean) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.take_notification(p_notification public.notifications, p_owner text, p_lease_seconds double precision, p_digests boolean) TO service_role;

COMMENT ON FUNCTION internal.take_notification(p_notification public.notifications, p_owner text, p_lease_seconds double precision, p_digests boolean) IS 'Decide what becomes of a due or abandoned email, whose row and address the caller has locked: lease it, hold it, or end it. Where p_digests is false nobody may be there who sends digests, and only the limits hold emails.';

create function internal.take_digest(
    p_digest public.notifications, p_owner text, p_lease_seconds double precision
)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    filled public.notifications;
begin
    -- What a digest says is fixed once it was rendered.
    if p_digest.rendered is null and not internal.fill_digest(p_digest) then
        perform internal.set_aside(p_digest, 'PENDING', now() + interval '1 second');
        return;
    end if;
    select * into strict filled from public.notifications n where n.id = p_digest.id;
    if filled.payload = '{}' then
        perform internal.set_aside(filled, coalesce(internal.reason_not_to_send(filled), 'CANCELLED'));
    else
        perform internal.lease_notification(filled, p_owner, p_lease_seconds);
    end if;
end
$$;

revoke all on function internal.take_digest(p_digest public.notifications, p_owner text, p_lease_seconds double precision) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.take_digest(p_digest public.notifications, p_owner text, p_lease_seconds double precision) TO service_role;

COMMENT ON FUNCTION internal.take_digest(p_digest public.notifications, p_owner text, p_lease_seconds double precision) IS 'Lease a digest of what waits for it; if nothing does any more, end it. It is due again in a second if a part of that is locked.';

create function internal.settle_charge()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    if new.sent_time is not null then
        update public.address_charges c set charge_time = now() where c.notification_id = new.id;
    elsif not new.ambiguous and new.state <> 'REVIEW' then
        delete from public.address_charges c where c.notification_id = new.id;
    end if;
    return null;
end
$$;

revoke all on function internal.settle_charge() from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.settle_charge() TO service_role;

COMMENT ON FUNCTION internal.settle_charge() IS 'Keeps what is charged for an email that is out or may be, and gives back what is charged for one that surely is not.';

create trigger settle_charge
    after update of state on public.notifications
    for each row
    when (old.state = 'SENDING' and new.state <> 'SENDING')
    execute function internal.settle_charge();

create function public.purge_address_charges(p_limit integer default 1000)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    purged integer;
begin
    delete from public.address_charges c
    where c.notification_id in (
        select o.notification_id from public.address_charges o
        where o.charge_time < now() - interval '24 hours'
        order by o.charge_time
        limit p_limit
        for update skip locked);
    get diagnostics purged = row_count;
    return jsonb_build_object('purged', purged);
end
$$;

revoke all on function public.purge_address_charges(p_limit integer) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.purge_address_charges(p_limit integer) TO service_role;

COMMENT ON FUNCTION public.purge_address_charges(p_limit integer) IS 'Delete at most p_limit charges of more than a day ago, which no limit counts any more. Return {"purged": n}.';

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

revoke all on function internal.unsent_meetup_email(p_dropped public.notifications[], p_user_id uuid) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.unsent_meetup_email(p_dropped public.notifications[], p_user_id uuid) TO service_role;

COMMENT ON FUNCTION internal.unsent_meetup_email(p_dropped public.notifications[], p_user_id uuid) IS 'Returns the email about a change, of those dropped, that the person surely did not get; null where there is none.';

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

revoke all on function internal.changes_unknown_to(p_meetup public.meetups, p_known jsonb) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.changes_unknown_to(p_meetup public.meetups, p_known jsonb) TO service_role;

COMMENT ON FUNCTION internal.changes_unknown_to(p_meetup public.meetups, p_known jsonb) IS 'Returns in what a meetup differs from what somebody knows of it, {"scheduled_time": ..., "venue_name": ...}.';

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

revoke all on function internal.meetup_email_time(p_meetup public.meetups, p_details jsonb, p_unsent public.notifications) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.meetup_email_time(p_meetup public.meetups, p_details jsonb, p_unsent public.notifications) TO service_role;

COMMENT ON FUNCTION internal.meetup_email_time(p_meetup public.meetups, p_details jsonb, p_unsent public.notifications) IS 'Returns when an email about a change is due: two minutes after the first change that is not told yet; at once where the meetup begins, or would have begun, within half an hour.';

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

revoke all on function internal.notify_of_meetup(p_meetup public.meetups, p_kind text, p_details jsonb, p_dropped public.notifications[]) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.notify_of_meetup(p_meetup public.meetups, p_kind text, p_details jsonb, p_dropped public.notifications[]) TO service_role;

COMMENT ON FUNCTION internal.notify_of_meetup(p_meetup public.meetups, p_kind text, p_details jsonb, p_dropped public.notifications[]) IS 'Writes the email of p_kind about the meetup''s last change to each of its people, in the place of those that were dropped for it.';

-- Servers call nothing that is internal.
-- squawk-ignore ban-drop-function
drop function internal.drop_meetup_mails(public.meetups);

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

revoke all on function internal.drop_meetup_mails(p_meetup public.meetups) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.drop_meetup_mails(p_meetup public.meetups) TO service_role;

COMMENT ON FUNCTION internal.drop_meetup_mails(p_meetup public.meetups) IS 'Drops what waits to be sent about the meetup, and returns it.';

-- Servers call nothing that is internal.
-- squawk-ignore ban-drop-function
drop function internal.lease_due_notifications(text, integer, double precision);

-- Servers call nothing that is internal.
-- squawk-ignore ban-drop-function
drop function internal.notify_of_meetup(public.meetups, text, jsonb);

-- squawk-ignore ban-drop-function
drop function public.claim_notifications(text, integer, double precision);

-- squawk-ignore ban-drop-function
drop function public.get_notification(uuid, uuid);

-- squawk-ignore ban-drop-function
drop function public.list_notifications(uuid, text[], text[], uuid, integer, uuid);

-- squawk-ignore ban-drop-function
drop function public.record_delivery_event(text, text, text, text, timestamp with time zone, uuid, text, text);
