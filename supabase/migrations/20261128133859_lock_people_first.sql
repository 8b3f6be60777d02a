-- oldest-server: 20261128120100
--
-- One order of locks for everything about a person: the user_id, the request key, the people in the order of their ids,
-- then all other rows. Before, making and erasing a profile at once deadlocked, as did what times out or delivers
-- something of a person with the erasure. Bodies of functions and their helpers only.

COMMENT ON FUNCTION internal.recall_answer(p_scope text, p_user_id uuid, p_request_id uuid, p_arguments jsonb) IS 'Returns the answer remembered for p_request_id, or null if the caller is to act and then call remember_answer. Call it before lock_people. Raises WM400 REQUEST_ID_REUSED if p_arguments are not those of the first call.';

create or replace function internal.remember_answer(p_scope text, p_user_id uuid, p_request_id uuid, p_answer jsonb)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    if p_request_id is not null then
        update public.request_keys k set answer = p_answer
        where k.scope = p_scope and k.user_id = p_user_id and k.request_id = p_request_id;
    end if;
    return p_answer;
end
$$;

create or replace function internal.store_profile(p_user_id uuid, p_profile jsonb)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    local_time timestamp;
begin
    insert into public.user_profiles (
        id, email, first_name, last_name, bio, photo_url, experience_level, confidence_archetype,
        city, location_privacy, max_travel_miles, time_zone, locale, active
    )
    values (
        p_user_id,
        coalesce(p_profile ->> 'email', ''),
        coalesce(p_profile ->> 'first_name', ''),
        coalesce(p_profile ->> 'last_name', ''),
        coalesce(p_profile ->> 'bio', ''),
        coalesce(p_profile ->> 'photo_url', ''),
        coalesce(p_profile ->> 'experience_level', ''),
        coalesce(p_profile ->> 'confidence_archetype', ''),
        coalesce(p_profile ->> 'city', ''),
        coalesce(nullif(p_profile ->> 'location_privacy', ''), 'PRECISE'),
        coalesce(nullif((p_profile ->> 'max_travel_miles')::smallint, 0), 20),
        coalesce(nullif(p_profile ->> 'time_zone', ''), 'UTC'),
        coalesce(nullif(p_profile ->> 'locale', ''), 'en'),
        coalesce((p_profile ->> 'active')::boolean, true)
    )
    on conflict (id) do update set
        email = excluded.email,
        first_name = excluded.first_name,
        last_name = excluded.last_name,
        bio = excluded.bio,
        photo_url = excluded.photo_url,
        experience_level = excluded.experience_level,
        confidence_archetype = excluded.confidence_archetype,
        city = excluded.city,
        location_privacy = excluded.location_privacy,
        max_travel_miles = excluded.max_travel_miles,
        time_zone = excluded.time_zone,
        locale = excluded.locale,
        active = excluded.active,
        update_time = now()
    -- Raises class 22 for a name that no clock knows.
    returning now() at time zone time_zone into local_time;
end
$$;

COMMENT ON FUNCTION internal.store_profile(p_user_id uuid, p_profile jsonb) IS 'Creates or replaces the row of user_profiles; fields left out take their defaults. Raises class 22 for an unknown time zone.';

create or replace function public.upsert_profile(p_profile jsonb, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    asked constant jsonb := p_profile - 'create_time' - 'update_time';
    person uuid;
    answer jsonb;
    broken_column text;
    broken_check text;
    broken_table text;
begin
    person := (p_profile ->> 'user_id')::uuid;
    perform internal.require(person is not null, 'profile.user_id', 'user_id is required');
    perform internal.lock_user_id(person);
    answer := internal.recall_answer('upsert_profile', person, p_request_id, asked);
    if answer is not null then
        return answer;
    end if;
    perform internal.lock_people(array[person]);
    perform internal.store_profile(person, asked);
    perform internal.store_location(person, asked -> 'location');
    perform internal.enter_match_pool(person);
    return internal.remember_answer('upsert_profile', person, p_request_id, public.get_profile(person));
exception
    when check_violation or not_null_violation then
        get stacked diagnostics
            broken_column = column_name, broken_check = constraint_name, broken_table = table_name;
        perform internal.raise_broken_rule(broken_table, broken_column, broken_check);
    when invalid_parameter_value then
        perform internal.raise_invalid('profile.time_zone', 'time_zone names no known time zone');
    when data_exception then
        perform internal.raise_invalid('profile', 'a field of the profile has a value of another type');
end
$$;

create function internal.lock_user_id(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('user_id/' || p_user_id, 0));
end
$$;

revoke all on function internal.lock_user_id(p_user_id uuid) from public, anon, authenticated;
GRANT ALL ON FUNCTION internal.lock_user_id(p_user_id uuid) TO service_role;

COMMENT ON FUNCTION internal.lock_user_id(p_user_id uuid) IS 'Locks a user_id, whether or not there is a profile, until the transaction ends. May wait; call it once, before any other lock. Only what makes or erases profiles needs it.';

create or replace function internal.lock_people(p_user_ids uuid[])
    returns void
    language plpgsql
    set search_path = ''
    -- To plan anew for each array costs more than to run.
    set plan_cache_mode = force_generic_plan
as $$
begin
    perform from public.match_pool m where m.user_id = any (p_user_ids) order by m.user_id for no key update;
end
$$;

COMMENT ON FUNCTION internal.lock_people(p_user_ids uuid[]) IS 'Locks these people''s rows of match_pool until the transaction ends. May wait; call it once, before any lock but those of lock_user_id and recall_answer.';

create or replace function internal.mark_expired(p_match_ids uuid[])
    returns integer
    language plpgsql
    set search_path = ''
as $$
declare
    expired uuid[];
begin
    with due as (
        select m.id from public.matches m
        where m.id = any (p_match_ids) and m.state = 'PENDING' and m.expire_time <= now()
        for update skip locked
    ), marked as (
        update public.matches m set state = 'EXPIRED' from due where m.id = due.id returning m.id
    )
    select array_agg(marked.id) into expired from marked;
    if expired is null then
        return 0;
    end if;
    -- An email passed over because it is locked expires with the match.
    update public.notifications n set state = 'CANCELLED'
    where n.id in (
        select w.id from public.notifications w
        where w.match_id = any (expired) and w.state = 'PENDING' and w.kind = 'MATCH_INVITATION'
        for update skip locked);
    return cardinality(expired);
end
$$;

COMMENT ON FUNCTION internal.mark_expired(p_match_ids uuid[]) IS 'Marks those of the matches EXPIRED that are pending and past their time, and returns how many; it skips what is locked, and waits only for the feeds of events as the transaction commits. Their people are free already: match_pool.busy_until has passed.';

create or replace function internal.drop_meetup_mails(p_meetup public.meetups)
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

create or replace function public.send_notification(
    p_kind text,
    p_payload jsonb,
    p_user_id uuid default null,
    p_recipient_email text default null,
    p_recipient_name text default null,
    p_locale text default null,
    p_time_zone text default null,
    p_send_time timestamptz default null,
    p_expire_time timestamptz default null,
    p_queue_limit integer default 10000,
    p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    nobody constant uuid := '00000000-0000-0000-0000-000000000000';
    answer jsonb := internal.recall_answer('send_notification', coalesce(p_user_id, nobody), p_request_id,
        jsonb_build_array(p_kind, p_payload, p_recipient_email, p_recipient_name, p_locale, p_time_zone,
            extract(epoch from p_send_time), extract(epoch from p_expire_time)));
    person public.user_profiles;
    due constant timestamptz := greatest(coalesce(p_send_time, now()), now());
    written public.notifications;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.require(p_kind = any (internal.notification_kinds()), 'content', 'content must be a kind of mail');
    -- So that no email is written to somebody who is just being erased.
    perform internal.lock_people(array[p_user_id]);
    select * into person from public.user_profiles p where p.id = p_user_id;
    if not found and p_recipient_email is null then
        perform internal.raise_error('WM404', 'PROFILE_NOT_FOUND', 'the person to notify has no profile',
            jsonb_build_object('user_id', p_user_id));
    end if;
    perform internal.require_room_in_queue(p_queue_limit);

    insert into public.notifications (
        kind, user_id, recipient_email, recipient_name, locale, payload, dedupe_key, send_time, next_attempt_time,
        expire_time, state)
    values (
        p_kind, p_user_id, coalesce(p_recipient_email, person.email),
        coalesce(p_recipient_name, person.first_name, ''), coalesce(p_locale, person.locale, 'en'),
        p_payload || jsonb_build_object('time_zone', coalesce(p_time_zone, person.time_zone, 'UTC')),
        'sent/' || gen_random_uuid(), due, due, p_expire_time,
        case when internal.is_opted_out(p_user_id, p_kind, coalesce(p_recipient_email, person.email))
            then 'SUPPRESSED' else 'PENDING' end)
    returning * into written;
    perform pg_notify('notifications', '');
    return internal.remember_answer('send_notification', coalesce(p_user_id, nobody), p_request_id,
        jsonb_build_object('notification', internal.notification_json(written)));
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
            select from jsonb_array_elements(p_kinds) k where k ->> 'kind' <> all (internal.notification_kinds())),
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

create or replace function public.release_notifications(p_owner text)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    released integer;
begin
    update public.notifications n set
        state = 'PENDING',
        -- Content of an earlier attempt counts as doubt too: too much of it costs a look, too little a second email.
        ambiguous = n.ambiguous or n.rendered is not null,
        epoch = n.epoch + 1,
        lease_owner = null,
        lease_expire_time = null
    where n.id in (
        -- What is locked is being ended by somebody else. As nothing here waits, there is no circular wait.
        select w.id from public.notifications w
        where w.state = 'SENDING' and w.lease_owner = p_owner
        for update skip locked);
    get diagnostics released = row_count;
    if released > 0 then
        perform pg_notify('notifications', '');
    end if;
    return to_jsonb(released);
end
$$;

COMMENT ON FUNCTION public.release_notifications(p_owner text) IS 'Give back what an owner has leased, for others to take at once, and return how many. What somebody else is just changing is left to them, or to the end of its lease.';

create or replace function public.purge_delivery_events(p_limit integer default 1000)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    purged integer;
begin
    delete from public.delivery_events e
    where e.event_id in (
        select o.event_id from public.delivery_events o
        where o.receive_time < now() - interval '30 days'
        order by o.receive_time
        limit p_limit
        for update skip locked);
    get diagnostics purged = row_count;
    return jsonb_build_object('purged', purged);
end
$$;

create or replace function internal.partners_of(p_user_id uuid)
    returns uuid[]
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return array(
        select m.invitee_id from public.matches m where m.requester_id = p_user_id and m.invitee_id is not null
        union
        select m.requester_id from public.matches m where m.invitee_id = p_user_id and m.requester_id is not null
        union
        -- Each of two who are kept apart has a row about the other.
        select a.other_id from public.avoidances a where a.user_id = p_user_id);
end
$$;

COMMENT ON FUNCTION internal.partners_of(p_user_id uuid) IS 'Returns the people with whom the person ever had a match, and from whom the person is kept apart.';

COMMENT ON FUNCTION internal.lock_person_and_partners(p_user_id uuid) IS 'Locks the person and all partners_of the person as lock_people does. Raises WM412 CONFLICT.';

create function internal.notifications_to(p_user_id uuid, p_address text)
    returns uuid[]
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return array(
        select n.id from public.notifications n where n.user_id = p_user_id
        union
        -- Also what was addressed by hand, unless it is the address of another person too.
        select n.id from public.notifications n
        where lower(n.recipient_email) = p_address and not exists (
            select from public.user_profiles p where p.id = n.user_id and lower(p.email) = p_address));
end
$$;

revoke all on function internal.notifications_to(p_user_id uuid, p_address text) from public, anon, authenticated;
GRANT ALL ON FUNCTION internal.notifications_to(p_user_id uuid, p_address text) TO service_role;

COMMENT ON FUNCTION internal.notifications_to(p_user_id uuid, p_address text) IS 'Returns the emails to the person, and those to the address, in lower case, that are to no other person.';

create function internal.notifications_about(p_user_id uuid)
    returns uuid[]
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return array(
        select n.id from public.notifications n where n.match_id in (
            select m.id from public.matches m where m.requester_id = p_user_id or m.invitee_id = p_user_id));
end
$$;

revoke all on function internal.notifications_about(p_user_id uuid) from public, anon, authenticated;
GRANT ALL ON FUNCTION internal.notifications_about(p_user_id uuid) TO service_role;

COMMENT ON FUNCTION internal.notifications_about(p_user_id uuid) IS 'Returns the emails about the person''s matches, to whomever.';

create or replace function internal.erase_from_notifications(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    address constant text := (select lower(p.email) from public.user_profiles p where p.id = p_user_id);
    addressed constant uuid[] := internal.notifications_to(p_user_id, address);
    about constant uuid[] := internal.notifications_about(p_user_id);
begin
    -- In the order of ids, since an erasure of somebody else with whom this one shares an address may want them too.
    perform from public.notifications n where n.id = any (addressed || about) order by n.id for update;
    with gone as (delete from public.notifications n where n.id = any (addressed) returning n.id)
    delete from public.delivery_events e using gone where e.notification_id = gone.id;
    delete from public.notification_preferences p where p.user_id = p_user_id;
    -- Others' emails speak of the person. One that is being sent finds its lease gone.
    update public.notifications n set
        state = case when n.state in ('PENDING', 'SENDING', 'DEAD', 'REVIEW') then 'CANCELLED' else n.state end,
        epoch = n.epoch + 1,
        lease_owner = null,
        lease_expire_time = null,
        payload = '{}',
        rendered = null
    where n.id = any (about);
end
$$;

create or replace function internal.erase_from_answers(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    -- A minute early, so that none expires meanwhile.
    expired_at constant timestamptz := clock_timestamp() + interval '1 minute';
    others constant uuid[] := internal.partners_of(p_user_id);
begin
    -- A call that replaces an expired answer has locked it, and may wait for the people that this erasure has locked. So
    -- it is passed over: the call overwrites it, or fails and leaves it to purge_request_keys.
    delete from public.request_keys k
    where (k.scope, k.user_id, k.request_id) in (
        select x.scope, x.user_id, x.request_id from public.request_keys x
        where x.expire_time <= expired_at and (
            x.user_id = p_user_id or x.user_id = any (others) and x.answer::text like '%' || p_user_id || '%')
        for update skip locked);
    delete from public.request_keys k where k.user_id = p_user_id and k.expire_time > expired_at;
    update public.request_keys k set answer = internal.without_person(k.answer, p_user_id)
    where k.user_id = any (others) and k.expire_time > expired_at and k.answer::text like '%' || p_user_id || '%';
end
$$;

create or replace function public.delete_profile(p_user_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    digest constant bytea := sha256(convert_to(p_user_id || '/' || p_request_id, 'UTF8'));
    erasure uuid;
begin
    perform internal.lock_user_id(p_user_id);
    perform internal.lock_person_and_partners(p_user_id);
    if not exists (select from public.user_profiles p where p.id = p_user_id) then
        if not exists (select from public.erasures e where e.request_digest = digest) then
            perform internal.raise_profile_not_found(p_user_id);
        end if;
        return jsonb_build_object('erasure_id', null);
    end if;
    perform internal.erase_person(p_user_id);
    perform pg_notify('match_events', p_user_id::text);
    -- The caller cleans up at once. Others try in a while, in case it cannot.
    insert into public.erasures (user_id, request_digest, next_attempt_time)
    values (p_user_id, digest, now() + interval '1 minute')
    on conflict (request_digest) do update
        set user_id = excluded.user_id, next_attempt_time = excluded.next_attempt_time,
            expire_time = excluded.expire_time
    returning id into erasure;
    return jsonb_build_object('erasure_id', erasure);
end
$$;

create or replace function public.claim_erasures(p_limit integer default 10)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    claimed jsonb;
begin
    delete from public.erasures e
    where e.id in (
        select o.id from public.erasures o where o.user_id is null and o.expire_time <= now() for update skip locked);
    with due as (
        select e.id from public.erasures e
        where e.user_id is not null and e.next_attempt_time <= now()
        order by e.next_attempt_time
        limit p_limit
        for update skip locked
    ), taken as (
        update public.erasures e set next_attempt_time = now() + interval '1 minute'
        from due where e.id = due.id
        returning e.id, e.user_id
    )
    select coalesce(jsonb_agg(jsonb_build_object('erasure_id', t.id, 'user_id', t.user_id)), '[]') into claimed
    from taken t;
    return jsonb_build_object('erasures', claimed);
end
$$;
