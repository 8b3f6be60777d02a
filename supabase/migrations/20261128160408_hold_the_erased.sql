-- oldest-server: 20261128120100
--
-- What writes about a person holds the person's id, or is refused by the mark of an erasure; an erased id may return
-- after 24 hours, with the blocks and the no-shows that were kept under keyed digests. An erasure's cost follows the
-- person's own rows. The functions that get a parameter are made anew: the version before calls them without it, and
-- keeps nothing.

create function public.upsert_profile(
    p_profile jsonb, p_request_id uuid default null, p_digests text[] default '{}'
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    asked constant jsonb := p_profile - 'create_time' - 'update_time';
    person uuid;
    held uuid[];
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
    perform internal.require_not_erased(person);
    held := internal.kept_partners(p_digests) || person;
    perform internal.lock_people(held);
    perform internal.store_profile(person, asked);
    perform internal.store_location(person, asked -> 'location');
    perform internal.enter_match_pool(person);
    perform internal.restore_kept(person, p_digests, held);
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

revoke all on function public.upsert_profile(p_profile jsonb, p_request_id uuid, p_digests text[]) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.upsert_profile(p_profile jsonb, p_request_id uuid, p_digests text[]) TO service_role;

COMMENT ON FUNCTION public.upsert_profile(p_profile jsonb, p_request_id uuid, p_digests text[]) IS 'Creates or replaces a profile and what matching knows of it, in one step; what was kept of the person''s erasure under one of p_digests, the keyed digests of the id, takes force again. Returns {"profile": ...} without location. Raises WM400 FIELD_INVALID, REQUEST_ID_REUSED; WM409 ERASED_RECENTLY; WM412 CONFLICT.';

create function public.unblock_user(
    p_user_id uuid, p_blocked_user_id uuid, p_request_id uuid default null, p_blocked_digests text[] default '{}'
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb;
begin
    perform internal.hold_user_id(p_user_id);
    answer := internal.recall_answer('unblock_user', p_user_id, p_request_id, jsonb_build_array(p_blocked_user_id));
    if answer is not null then
        return answer;
    end if;
    perform internal.lock_people(array[p_user_id, p_blocked_user_id]);
    delete from public.avoidances a
    where (a.user_id, a.other_id, a.cause) in (
        (p_user_id, p_blocked_user_id, 'BLOCKED'), (p_blocked_user_id, p_user_id, 'BLOCKED_BY'));
    perform internal.unblock_erased(p_user_id, p_blocked_digests);
    return internal.remember_answer('unblock_user', p_user_id, p_request_id, '{}');
end
$$;

revoke all on function public.unblock_user(p_user_id uuid, p_blocked_user_id uuid, p_request_id uuid, p_blocked_digests text[]) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.unblock_user(p_user_id uuid, p_blocked_user_id uuid, p_request_id uuid, p_blocked_digests text[]) TO service_role;

COMMENT ON FUNCTION public.unblock_user(p_user_id uuid, p_blocked_user_id uuid, p_request_id uuid, p_blocked_digests text[]) IS 'Takes the person''s own block back, also of somebody erased, by the digests of that id; the other''s stays. Repeating it changes nothing. Returns {}. Raises WM404 PROFILE_NOT_FOUND of a caller erased within the last 24 hours, WM400 REQUEST_ID_REUSED.';

create or replace function internal.reputation_json(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (
        select jsonb_build_object(
            'user_id', p_user_id,
            'score', score.value,
            'badge', case when score.value >= 10 then 'GOLD' when score.value >= 0 then 'GREEN' else 'RED' end,
            'completed_count', counted.completed,
            'no_show_count', counted.no_shows)
        from (
            select
                count(*) filter (where m.state = 'COMPLETED') as completed,
                count(*) filter (where 'MISSING' = case p_user_id
                    when m.requester_id then m.invitee_answer else m.requester_answer end)
                    + internal.earlier_no_shows(p_user_id) as no_shows
            from public.meetups m
            where m.requester_id = p_user_id or m.invitee_id = p_user_id
        ) counted
        cross join lateral (select internal.score_of(counted.completed, counted.no_shows) as value) score);
end
$$;

create function internal.record_match_events(p_events jsonb[])
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    if p_events <> '{}' then
        -- One line an event: text of jsonb has no line breaks, and to append needs no parsing of what is there.
        perform set_config(
            'wingmanmatch.match_events',
            concat_ws(
                e'\n',
                nullif(current_setting('wingmanmatch.match_events', true), ''),
                array_to_string(p_events, e'\n')),
            true);
    end if;
end
$$;

revoke all on function internal.record_match_events(p_events jsonb[]) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.record_match_events(p_events jsonb[]) TO service_role;

COMMENT ON FUNCTION internal.record_match_events(p_events jsonb[]) IS 'Records events (match_event) for the feeds of their matches'' people. Called by triggers of tables of which another trigger, deferred, calls publish_match_events.';

create function internal.match_event(p_match public.matches, p_kind text, p_meetup_id uuid default null)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object(
        'people', array_remove(array[p_match.requester_id, p_match.invitee_id], null),
        'kind', p_kind,
        'match_id', p_match.id,
        'match_state', p_match.state,
        'respond_time', p_match.respond_time,
        'meetup_id', p_meetup_id);
end
$$;

revoke all on function internal.match_event(p_match public.matches, p_kind text, p_meetup_id uuid) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.match_event(p_match public.matches, p_kind text, p_meetup_id uuid) TO service_role;

COMMENT ON FUNCTION internal.match_event(p_match public.matches, p_kind text, p_meetup_id uuid) IS 'Returns an event of a match as it is now.';

create function internal.record_matches_made()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.record_match_events(array(
        select internal.match_event(n, case n.state when 'PENDING' then 'REQUESTED' else n.state end)
        from new_matches n));
    return null;
end
$$;

revoke all on function internal.record_matches_made() from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.record_matches_made() TO service_role;

COMMENT ON FUNCTION internal.record_matches_made() IS 'Trigger: records that matches were made.';

create function internal.record_matches_changed()
    returns trigger
    language plpgsql
    set search_path = ''
    -- Nobody knows how large the two tables are before they are joined, and an erasure makes them large.
    set enable_hashjoin = on
    set enable_nestloop = off
as $$
begin
    perform internal.record_match_events(array(
        select internal.match_event(n, case n.state when 'PENDING' then 'REQUESTED' else n.state end)
        from new_matches n
        join old_matches o on o.id = n.id
        where o.state is distinct from n.state));
    return null;
end
$$;

revoke all on function internal.record_matches_changed() from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.record_matches_changed() TO service_role;

COMMENT ON FUNCTION internal.record_matches_changed() IS 'Trigger: records that matches changed their state.';

create trigger record_matches_made
    after insert on public.matches
    referencing new table as new_matches
    for each statement execute function internal.record_matches_made();

create trigger record_matches_changed
    after update on public.matches
    referencing old table as old_matches new table as new_matches
    for each statement execute function internal.record_matches_changed();

create or replace function internal.publish_match_events(p_also_lock uuid default null)
    returns void
    language plpgsql
    set search_path = ''
    -- To plan anew for each array costs more than to run.
    set plan_cache_mode = force_generic_plan
as $$
declare
    noted constant jsonb[] := array(
        select line::jsonb
        from string_to_table(nullif(current_setting('wingmanmatch.match_events', true), ''), e'\n') line);
    people constant uuid[] := array(
        select person::uuid from unnest(noted) event, jsonb_array_elements_text(event -> 'people') person);
begin
    perform set_config('wingmanmatch.match_events', '', true);
    perform from public.match_event_feeds f
    where f.user_id = any (people || p_also_lock)
    order by f.user_id
    for no key update;
    update public.match_event_feeds f set last_sequence = f.last_sequence + fresh.events
    from (select person, count(*) as events from unnest(people) person group by person) fresh
    where f.user_id = fresh.person;
    -- Somebody erased meanwhile has no feed, and gets no events. Each feed is found by its index, since an erasure may
    -- publish to thousands.
    insert into public.match_events (
        user_id, sequence, kind, event_time, match_id, match_state, respond_time, meetup_id)
    select
        f.user_id,
        f.last_sequence - count(*) over (partition by f.user_id)
            + row_number() over (partition by f.user_id order by each.position),
        each.event ->> 'kind',
        -- Read under the lock, so that numbers and times rise together.
        clock_timestamp(),
        (each.event ->> 'match_id')::uuid,
        each.event ->> 'match_state',
        (each.event ->> 'respond_time')::timestamptz,
        (each.event ->> 'meetup_id')::uuid
    from unnest(noted) with ordinality each (event, position)
    cross join jsonb_array_elements_text(each.event -> 'people') person
    join public.match_event_feeds f on f.user_id = person::uuid;
    perform pg_notify('match_events', f.user_id::text)
    from public.match_event_feeds f
    where f.user_id = any (people);
end
$$;

create or replace function internal.record_meetup_change()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
declare
    kind constant text := case tg_op when 'INSERT' then 'MEETUP_SCHEDULED' else internal.meetup_event_of(new.state) end;
begin
    if kind is not null then
        perform internal.record_match_events(array(
            select internal.match_event(m, kind, new.id) from public.matches m where m.id = new.match_id));
    end if;
    return null;
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
    answer jsonb;
    person public.user_profiles;
    due constant timestamptz := greatest(coalesce(p_send_time, now()), now());
    written public.notifications;
begin
    -- So that no email is written to somebody who is just being erased.
    perform internal.hold_user_id(p_user_id);
    answer := internal.recall_answer('send_notification', coalesce(p_user_id, nobody), p_request_id,
        jsonb_build_array(p_kind, p_payload, p_recipient_email, p_recipient_name, p_locale, p_time_zone,
            extract(epoch from p_send_time), extract(epoch from p_expire_time)));
    if answer is not null then
        return answer;
    end if;
    perform internal.require(p_kind = any (internal.notification_kinds()), 'content', 'content must be a kind of mail');
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

create or replace function public.unsubscribe(p_user_id uuid, p_kind text)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.require(p_kind = any (internal.notification_kinds()), 'kind', 'kind must be a kind of mail');
    perform internal.hold_user_id(p_user_id);
    perform internal.set_notification_kinds(p_user_id, '{}', array[p_kind]);
    return 'true';
exception
    -- Nothing is sent to a person who was erased, and nothing is written about one.
    when sqlstate 'WM404' then
        return 'true';
end
$$;

alter table public.erasures add column user_digest bytea;

COMMENT ON TABLE public.erasures IS 'Erasures whose clean-up outside the database is not done yet, or was done within the last 24 hours.';

COMMENT ON COLUMN public.erasures.user_digest IS 'The mark of the erasure: recognizes the id without naming it, for as long as the id may not return.';

-- The table holds the erasures of a day: nobody waits long for it.
-- squawk-ignore require-concurrent-index-creation
create index erasures_marks on public.erasures using btree (user_digest);

create function internal.erased_until(p_user_id uuid)
    returns timestamptz
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (
        select max(case when e.user_id is null then e.expire_time else now() + interval '24 hours' end)
        from public.erasures e
        where e.user_digest = internal.user_digest(p_user_id) and (e.user_id is not null or e.expire_time > now()));
end
$$;

revoke all on function internal.erased_until(p_user_id uuid) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.erased_until(p_user_id uuid) TO service_role;

COMMENT ON FUNCTION internal.erased_until(p_user_id uuid) IS 'Returns until when the id of an erased person may not return, at least 24 hours after everything was cleaned up; null where no erasure stands.';

create function internal.user_digest(p_user_id uuid)
    returns bytea
    language sql
    immutable
    return sha256(convert_to('erased/' || p_user_id, 'UTF8'));

revoke all on function internal.user_digest(p_user_id uuid) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.user_digest(p_user_id uuid) TO service_role;

COMMENT ON FUNCTION internal.user_digest(p_user_id uuid) IS 'Returns the mark that an erasure of this id leaves.';

create function internal.hold_user_id(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform pg_advisory_xact_lock_shared(hashtextextended('user_id/' || p_user_id, 0));
    if internal.erased_until(p_user_id) is not null then
        perform internal.raise_profile_not_found(p_user_id);
    end if;
end
$$;

revoke all on function internal.hold_user_id(p_user_id uuid) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.hold_user_id(p_user_id uuid) TO service_role;

COMMENT ON FUNCTION internal.hold_user_id(p_user_id uuid) IS 'Keeps the user_id, with or without a profile, from being erased until the transaction ends; others may hold it too. Null holds none. May wait; call it before any other lock. Raises WM404 PROFILE_NOT_FOUND of a person erased within the last 24 hours.';

create function internal.require_not_erased(p_user_id uuid)
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    free_time constant timestamptz := internal.erased_until(p_user_id);
begin
    if free_time is not null then
        perform internal.raise_error('WM409', 'ERASED_RECENTLY', 'the person was erased within the last 24 hours',
            jsonb_build_object(
                'user_id', p_user_id,
                'retry_after_seconds', ceil(extract(epoch from free_time - now()))::text));
    end if;
end
$$;

revoke all on function internal.require_not_erased(p_user_id uuid) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.require_not_erased(p_user_id uuid) TO service_role;

COMMENT ON FUNCTION internal.require_not_erased(p_user_id uuid) IS 'Raises WM409 ERASED_RECENTLY, with when the id may return, of a person erased within the last 24 hours.';

create function public.get_erasure(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object(
        'retry_after_seconds', extract(epoch from internal.erased_until(p_user_id) - now())::double precision);
end
$$;

revoke all on function public.get_erasure(p_user_id uuid) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.get_erasure(p_user_id uuid) TO service_role;

COMMENT ON FUNCTION public.get_erasure(p_user_id uuid) IS 'Returns {"retry_after_seconds": n}, after how long the id of an erased person may return; null where no erasure stands.';

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
    delete from public.notifications n where n.id = any (addressed);
    delete from public.delivery_events e where e.notification_id = any (addressed);
    -- Answers of calls about one email are remembered under the email's id.
    delete from public.request_keys k where k.user_id = any (addressed);
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

create or replace function internal.erase_from_matches(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    -- By the people of the pending matches: nothing leads from a match to the rows that it keeps busy.
    update public.match_pool p set pending_match_id = null, busy_until = '-infinity'
    from public.matches m
    where (m.requester_id = p_user_id or m.invitee_id = p_user_id) and m.state = 'PENDING'
        and p.user_id = any (array[m.requester_id, m.invitee_id]) and p.pending_match_id = m.id;
    update public.matches m
    set state = case internal.state_now(m) when 'PENDING' then 'CANCELLED' when 'ACCEPTED' then 'ENDED' else 'EXPIRED' end
    where (m.requester_id = p_user_id or m.invitee_id = p_user_id) and m.state in ('PENDING', 'ACCEPTED');
    update public.matches m set
        requester_id = nullif(m.requester_id, p_user_id),
        invitee_id = nullif(m.invitee_id, p_user_id),
        -- The requester's words.
        venue_suggestion = case m.requester_id when p_user_id then '' else m.venue_suggestion end,
        message = case m.requester_id when p_user_id then '' else m.message end
    where m.requester_id = p_user_id or m.invitee_id = p_user_id;
    -- Nobody's history.
    delete from public.matches m where m.requester_id is null and m.invitee_id is null;
end
$$;

create function public.delete_profile(p_user_id uuid, p_request_id uuid default null, p_digest text default null)
    returns jsonb
    language plpgsql
    set search_path = ''
    -- An erasure costs what the person left, not what everybody did: every table is entered by an index, row by row,
    -- also where a large share of it seems to be the person's.
    set enable_seqscan = off
    set enable_hashjoin = off
    set enable_mergejoin = off
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
    perform internal.keep_of_erased(p_user_id, p_digest);
    perform internal.erase_person(p_user_id);
    perform pg_notify('match_events', p_user_id::text);
    -- The caller cleans up at once. Others try in a while, in case it cannot.
    insert into public.erasures (user_id, user_digest, request_digest, next_attempt_time)
    values (p_user_id, internal.user_digest(p_user_id), digest, now() + interval '1 minute')
    on conflict (request_digest) do update
        set user_id = excluded.user_id, user_digest = excluded.user_digest,
            next_attempt_time = excluded.next_attempt_time, expire_time = excluded.expire_time
    returning id into erasure;
    return jsonb_build_object('erasure_id', erasure);
end
$$;

revoke all on function public.delete_profile(p_user_id uuid, p_request_id uuid, p_digest text) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.delete_profile(p_user_id uuid, p_request_id uuid, p_digest text) TO service_role;

COMMENT ON FUNCTION public.delete_profile(p_user_id uuid, p_request_id uuid, p_digest text) IS 'Erases a person. Returns {"erasure_id": ...}, what is to be passed to finish_erasure after the clean-up outside the database; null where a repeated request finds it done. With p_digest, a keyed digest of the person''s id, what has to outlive the erasure is kept under it (keep_of_erased); without one nothing is. Raises WM404 PROFILE_NOT_FOUND, WM412 CONFLICT.';

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
    perform internal.forget_kept();
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

COMMENT ON FUNCTION public.claim_erasures(p_limit integer) IS 'Returns {"erasures": [{"erasure_id", "user_id"}]}, at most p_limit whose clean-up is due, for a minute to this caller alone; forgets those done a day ago, and what was kept of erased people for long enough.';

create or replace function public.finish_erasure(p_erasure_id uuid)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    update public.erasures e set user_id = null, expire_time = now() + interval '24 hours' where e.id = p_erasure_id;
    return to_jsonb(found);
end
$$;

COMMENT ON FUNCTION public.finish_erasure(p_erasure_id uuid) IS 'Records that the clean-up is done, and forgets whose it was. The id may return 24 hours later.';

create or replace function internal.export_profile(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select p.create_time, p.id::text, internal.profile_json(p) || jsonb_build_object(
        'location', jsonb_build_object('latitude', l.latitude, 'longitude', l.longitude),
        'reputation', m.reputation,
        'earlier_no_show_count', internal.earlier_no_shows(p.id))
    from public.user_profiles p
    join public.user_locations l on l.user_id = p.id
    join public.match_pool m on m.user_id = p.id
    where p.id = p_user_id;
end
$$;

create table public.kept_pairs (
    id bigint generated always as identity primary key,
    erased_digest text not null check (erased_digest ~ '^[0-9a-f]{64}$'),
    other_id uuid,
    other_digest text check (other_digest ~ '^[0-9a-f]{64}$'),
    cause text not null check (cause in ('PAIRED', 'BLOCKED', 'BLOCKED_BY')),
    expire_time timestamptz not null,
    check (num_nonnulls(other_id, other_digest) = 1)
);

revoke all on table public.kept_pairs from public, anon, authenticated, service_role;
GRANT ALL ON TABLE public.kept_pairs TO service_role;

COMMENT ON TABLE public.kept_pairs IS 'Whom an erased person was kept apart from, one row a pair and cause. At least one of the two is erased.';

ALTER TABLE public.kept_pairs ENABLE ROW LEVEL SECURITY;

COMMENT ON COLUMN public.kept_pairs.cause IS 'Of the row of avoidances that the erased person had about the other.';

COMMENT ON COLUMN public.kept_pairs.other_digest IS 'The other person, once erased too.';

COMMENT ON COLUMN public.kept_pairs.other_id IS 'The other person, for as long as that person is not erased.';

create index kept_pairs_of_erased on public.kept_pairs (erased_digest);

create index kept_pairs_of_other on public.kept_pairs (other_id) where other_id is not null;

create index kept_pairs_of_erased_other on public.kept_pairs (other_digest) where other_digest is not null;

create index kept_pairs_expiring on public.kept_pairs (expire_time);

create table public.kept_no_shows (
    erased_digest text primary key check (erased_digest ~ '^[0-9a-f]{64}$'),
    no_show_count integer not null check (no_show_count > 0),
    expire_time timestamptz not null
);

revoke all on table public.kept_no_shows from public, anon, authenticated, service_role;
GRANT ALL ON TABLE public.kept_no_shows TO service_role;

COMMENT ON TABLE public.kept_no_shows IS 'How many meetups an erased person had missed, as others said.';

ALTER TABLE public.kept_no_shows ENABLE ROW LEVEL SECURITY;

create index kept_no_shows_expiring on public.kept_no_shows (expire_time);

create table public.earlier_no_shows (
    user_id uuid primary key references public.user_profiles on delete cascade,
    no_show_count integer not null check (no_show_count > 0)
);

revoke all on table public.earlier_no_shows from public, anon, authenticated, service_role;
GRANT ALL ON TABLE public.earlier_no_shows TO service_role;

COMMENT ON TABLE public.earlier_no_shows IS 'How many meetups a person who returned had missed before an erasure; no row means none.';

ALTER TABLE public.earlier_no_shows ENABLE ROW LEVEL SECURITY;

create function internal.earlier_no_shows(p_user_id uuid)
    returns integer
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return coalesce((select e.no_show_count from public.earlier_no_shows e where e.user_id = p_user_id), 0);
end
$$;

revoke all on function internal.earlier_no_shows(p_user_id uuid) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.earlier_no_shows(p_user_id uuid) TO service_role;

COMMENT ON FUNCTION internal.earlier_no_shows(p_user_id uuid) IS 'Returns how many meetups the person had missed before an erasure.';

create function internal.cause_of_other(p_cause text)
    returns text
    language sql
    immutable
    return case p_cause when 'BLOCKED' then 'BLOCKED_BY' when 'BLOCKED_BY' then 'BLOCKED' else p_cause end;

revoke all on function internal.cause_of_other(p_cause text) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.cause_of_other(p_cause text) TO service_role;

COMMENT ON FUNCTION internal.cause_of_other(p_cause text) IS 'Returns the cause as it stands in the other person''s row of avoidances.';

create function internal.keep_of_erased(p_user_id uuid, p_digest text)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    missed constant integer := (internal.reputation_json(p_user_id) ->> 'no_show_count')::integer;
begin
    -- What others' erasures left about the person.
    perform from public.kept_pairs k where k.other_id = p_user_id order by k.id for update;
    if p_digest is null then
        delete from public.kept_pairs k where k.other_id = p_user_id;
        return;
    end if;
    update public.kept_pairs k set
        other_id = null, other_digest = p_digest, expire_time = least(k.expire_time, now() + interval '5 years')
    where k.other_id = p_user_id;
    insert into public.kept_pairs (erased_digest, other_id, cause, expire_time)
    -- A live match ends with the erasure, and keeps the two apart as long as one that a person ends.
    select p_digest, a.other_id, a.cause,
        case a.cause when 'PAIRED' then least(a.until, now() + interval '7 days') else 'infinity' end
    from public.avoidances a
    where a.user_id = p_user_id and a.until > now();
    insert into public.kept_no_shows (erased_digest, no_show_count, expire_time)
    select p_digest, missed, now() + interval '2 years' where missed > 0
    on conflict (erased_digest) do update
        set no_show_count = excluded.no_show_count, expire_time = excluded.expire_time;
end
$$;

revoke all on function internal.keep_of_erased(p_user_id uuid, p_digest text) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.keep_of_erased(p_user_id uuid, p_digest text) TO service_role;

COMMENT ON FUNCTION internal.keep_of_erased(p_user_id uuid, p_digest text) IS 'Keeps under p_digest what has to outlive the erasure of a person, which comes next in this transaction; with null nothing, and nothing of others'' erasures about the person either. The caller has locked the person and all partners_of the person.';

create function internal.kept_partners(p_digests text[])
    returns uuid[]
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return array(
        select k.other_id from public.kept_pairs k where k.erased_digest = any (p_digests) and k.other_id is not null);
end
$$;

revoke all on function internal.kept_partners(p_digests text[]) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.kept_partners(p_digests text[]) TO service_role;

COMMENT ON FUNCTION internal.kept_partners(p_digests text[]) IS 'Returns the people whom restore_kept will keep apart from the person with one of these digests.';

create function internal.restore_pairs(p_user_id uuid, p_digests text[])
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    with mine as (
        delete from public.kept_pairs k
        where k.erased_digest = any (p_digests) and k.other_id is not null
        returning k.*
    ), live as (
        select m.other_id, m.cause, max(case m.cause when 'PAIRED' then m.expire_time else 'infinity' end) as until
        from mine m
        where m.expire_time > now()
        group by m.other_id, m.cause
    )
    insert into public.avoidances as a (user_id, other_id, cause, until)
    select p_user_id, l.other_id, l.cause, l.until from live l
    union all
    select l.other_id, p_user_id, internal.cause_of_other(l.cause), l.until from live l
    on conflict (user_id, other_id, cause) do update set until = greatest(a.until, excluded.until);
    -- Where the other is erased as well, the row waits for the other from now on.
    update public.kept_pairs k set
        erased_digest = k.other_digest, cause = internal.cause_of_other(k.cause),
        other_id = p_user_id, other_digest = null
    where k.erased_digest = any (p_digests);
    update public.kept_pairs k set other_id = p_user_id, other_digest = null
    where k.other_digest = any (p_digests);
    update public.kept_pairs k set expire_time = 'infinity'
    where k.other_id = p_user_id and k.cause <> 'PAIRED' and k.expire_time > now();
end
$$;

revoke all on function internal.restore_pairs(p_user_id uuid, p_digests text[]) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.restore_pairs(p_user_id uuid, p_digests text[]) TO service_role;

COMMENT ON FUNCTION internal.restore_pairs(p_user_id uuid, p_digests text[]) IS 'Keeps the person apart again from those from whom an erasure found the person kept apart. The caller has locked the rows of kept_pairs, the person and all kept_partners.';

create function internal.restore_kept(p_user_id uuid, p_digests text[], p_held uuid[])
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    missed integer;
begin
    -- In the order of ids, since the other of a pair may be returning too.
    perform from public.kept_pairs k
    where k.erased_digest = any (p_digests) or k.other_digest = any (p_digests)
    order by k.id
    for update;
    if found then
        if not internal.kept_partners(p_digests) <@ p_held then
            perform internal.raise_conflict();
        end if;
        perform internal.restore_pairs(p_user_id, p_digests);
    end if;
    with mine as (delete from public.kept_no_shows k where k.erased_digest = any (p_digests) returning k.*)
    select sum(m.no_show_count) into missed from mine m where m.expire_time > now();
    if missed > 0 then
        insert into public.earlier_no_shows as e (user_id, no_show_count) values (p_user_id, missed)
        on conflict (user_id) do update set no_show_count = e.no_show_count + excluded.no_show_count;
        update public.match_pool m set reputation = (internal.reputation_json(p_user_id) ->> 'score')::smallint
        where m.user_id = p_user_id;
    end if;
end
$$;

revoke all on function internal.restore_kept(p_user_id uuid, p_digests text[], p_held uuid[]) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.restore_kept(p_user_id uuid, p_digests text[], p_held uuid[]) TO service_role;

COMMENT ON FUNCTION internal.restore_kept(p_user_id uuid, p_digests text[], p_held uuid[]) IS 'Puts in force again what was kept of the person''s erasure under one of these digests. The caller has locked the user_id and the people p_held. Raises WM412 CONFLICT if one who is kept apart from the person is not among them.';

create function internal.unblock_erased(p_user_id uuid, p_digests text[])
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    delete from public.kept_pairs k
    where k.other_id = p_user_id and k.erased_digest = any (p_digests) and k.cause = 'BLOCKED_BY';
end
$$;

revoke all on function internal.unblock_erased(p_user_id uuid, p_digests text[]) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.unblock_erased(p_user_id uuid, p_digests text[]) TO service_role;

COMMENT ON FUNCTION internal.unblock_erased(p_user_id uuid, p_digests text[]) IS 'Takes the person''s block of somebody erased back, who has one of these digests. The caller has locked the person.';

create function internal.forget_kept()
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    delete from public.kept_pairs k
    where k.id in (select o.id from public.kept_pairs o where o.expire_time <= now() for update skip locked);
    delete from public.kept_no_shows k
    where k.erased_digest in (
        select o.erased_digest from public.kept_no_shows o where o.expire_time <= now() for update skip locked);
end
$$;

revoke all on function internal.forget_kept() from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.forget_kept() TO service_role;

COMMENT ON FUNCTION internal.forget_kept() IS 'Deletes what was kept of erased people and has run out; it waits for nothing.';

revoke all on sequence public.kept_pairs_id_seq from public, anon, authenticated, service_role;
GRANT ALL ON SEQUENCE public.kept_pairs_id_seq TO anon;
GRANT ALL ON SEQUENCE public.kept_pairs_id_seq TO authenticated;
GRANT ALL ON SEQUENCE public.kept_pairs_id_seq TO service_role;

-- Servers call nothing that is internal.
-- squawk-ignore ban-drop-function
drop function internal.record_match_event(public.matches, text, uuid);

-- Another with a default takes its place.
-- squawk-ignore ban-drop-function
drop function public.delete_profile(uuid, uuid);

-- Another with a default takes its place.
-- squawk-ignore ban-drop-function
drop function public.unblock_user(uuid, uuid, uuid);

-- Another with a default takes its place.
-- squawk-ignore ban-drop-function
drop function public.upsert_profile(jsonb, uuid);

drop trigger record_match_change on public.matches;

drop trigger record_match_made on public.matches;

-- Servers call nothing that is internal.
-- squawk-ignore ban-drop-function
drop function internal.record_match_change();
