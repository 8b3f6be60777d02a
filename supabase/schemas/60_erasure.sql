-- Erasing a person: everything about them goes in one transaction, and other people's history keeps an empty place.
-- What lies outside the database is cleaned up after the commit, and remembered here until it is.
--
-- An erasure empties what is kept of the person in the histories of others, also of matches that ended long ago, and
-- deletes who is kept apart from the person. So it locks all of them: two of whom one knows the other can be erased at the
-- same time without a circular wait.
--
-- Whatever writes about a person who need not have a profile holds the user_id in share mode and looks for the mark of
-- an erasure (hold_user_id), which the erasure leaves under the exclusive lock: what began before it is erased with the
-- rest, and what comes after it is refused.

create table public.erasures (
    id uuid primary key default gen_random_uuid(),
    user_id uuid,
    request_digest bytea unique,
    next_attempt_time timestamptz not null,
    expire_time timestamptz not null default now() + interval '24 hours',
    user_digest bytea
);

comment on table public.erasures is
    'Erasures whose clean-up outside the database is not done yet, or was done within the last 24 hours.';
comment on column public.erasures.user_id is 'Who has to be cleaned up after; null once that is done.';
comment on column public.erasures.user_digest is
    'The mark of the erasure: recognizes the id without naming it, for as long as the id may not return.';
comment on column public.erasures.request_digest is 'Recognizes a repeated request without naming the person.';

create index erasures_pending on public.erasures (next_attempt_time) where user_id is not null;
create index erasures_expiring on public.erasures (expire_time) where user_id is null;
create index erasures_marks on public.erasures (user_digest);

alter table public.erasures enable row level security;
revoke all on table public.erasures from public, anon, authenticated;
grant select, insert, update, delete on table public.erasures to service_role;

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

comment on function internal.erased_until is
    'Returns until when the id of an erased person may not return, at least 24 hours after everything was cleaned up; '
    'null where no erasure stands.';

create function internal.user_digest(p_user_id uuid)
    returns bytea
    language sql
    immutable
    return sha256(convert_to('erased/' || p_user_id, 'UTF8'));

comment on function internal.user_digest is 'Returns the mark that an erasure of this id leaves.';

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

comment on function internal.hold_user_id is
    'Keeps the user_id, with or without a profile, from being erased until the transaction ends; others may hold it too. '
    'Null holds none. May wait; call it before any other lock. Raises WM404 PROFILE_NOT_FOUND of a person erased within '
    'the last 24 hours.';

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

comment on function internal.require_not_erased is
    'Raises WM409 ERASED_RECENTLY, with when the id may return, of a person erased within the last 24 hours.';

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

comment on function public.get_erasure is
    'Returns {"retry_after_seconds": n}, after how long the id of an erased person may return; null where no erasure '
    'stands.';

create function internal.partners_of(p_user_id uuid)
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

comment on function internal.partners_of is
    'Returns the people with whom the person ever had a match, and from whom the person is kept apart.';

create function internal.lock_person_and_partners(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    partners uuid[];
begin
    for attempt in 1..5 loop
        partners := internal.partners_of(p_user_id);
        begin
            perform internal.lock_people(partners || p_user_id);
            if internal.partners_of(p_user_id) <@ partners then
                return;
            end if;
            -- Somebody came in between. Undoing this block gives the locks back, so that they are taken in order again.
            perform internal.raise_conflict();
        exception
            when sqlstate 'WM412' then
                null;
        end;
    end loop;
    perform internal.raise_conflict();
end
$$;

comment on function internal.lock_person_and_partners is
    'Locks the person and all partners_of the person as lock_people does. Raises WM412 CONFLICT.';

create function internal.without_person(p_answer jsonb, p_user_id uuid)
    returns jsonb
    language plpgsql
    immutable
    set search_path = ''
as $$
declare
    answer jsonb := replace(p_answer::text, p_user_id::text, internal.erased_user_id()::text);
    part record;
begin
    for part in select key, value from jsonb_each(answer) where jsonb_typeof(value) = 'object' loop
        if part.key in ('candidate', 'next_candidate') and part.value ->> 'user_id' = internal.erased_user_id()::text then
            answer := answer || jsonb_build_object(part.key, internal.erased_candidate());
        elsif part.key = 'meetup' then
            -- Who of the two chose the place an answer does not tell.
            answer := answer || jsonb_build_object(part.key, part.value || jsonb_build_object(
                'venue_name', '', 'requester_challenge_id', null, 'invitee_challenge_id', null));
        elsif part.value ->> 'requester_id' = internal.erased_user_id()::text then
            answer := answer || jsonb_build_object(
                part.key, part.value || jsonb_build_object('venue_suggestion', '', 'message', ''));
        end if;
    end loop;
    return answer;
end
$$;

comment on function internal.without_person is 'Returns a remembered answer with the erased person''s placeholder.';

create function internal.erased_candidate()
    returns jsonb
    language plpgsql
    immutable
    set search_path = ''
as $$
begin
    return jsonb_build_object(
        'user_id', internal.erased_user_id(), 'first_name', '', 'bio', '', 'photo_url', '', 'experience_level', 'UNSPECIFIED',
        'confidence_archetype', 'UNSPECIFIED', 'distance_miles', 0, 'reputation', 0);
end
$$;

comment on function internal.erased_candidate is 'Returns what is left of an erased person, as a candidate.';

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

comment on function internal.notifications_to is
    'Returns the emails to the person, and those to the address, in lower case, that are to no other person.';

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

comment on function internal.notifications_about is 'Returns the emails about the person''s matches, to whomever.';

create function internal.erase_from_notifications(p_user_id uuid)
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

comment on function internal.erase_from_notifications is
    'Deletes the person''s emails and preferences, and stops and empties the emails about the person.';

create function internal.erase_from_answers(p_user_id uuid)
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

comment on function internal.erase_from_answers is
    'Deletes the person''s remembered answers, and takes the person out of others''.';

create function internal.erase_from_matches(p_user_id uuid)
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

comment on function internal.erase_from_matches is
    'Ends the person''s live matches and leaves an empty place. The caller has locked the person and all '
    'live partners.';

create function internal.erase_from_meetups(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    called_off uuid[];
begin
    with ahead as (
        update public.meetups m set state = 'CANCELLED', sequence = m.sequence + 1, update_time = now()
        where (m.requester_id = p_user_id or m.invitee_id = p_user_id) and internal.is_upcoming(m)
        returning m.id
    )
    select array_agg(a.id) into called_off from ahead a;
    update public.meetups m set
        requester_id = nullif(m.requester_id, p_user_id),
        invitee_id = nullif(m.invitee_id, p_user_id),
        requester_challenge_id = case m.requester_id when p_user_id then null else m.requester_challenge_id end,
        invitee_challenge_id = case m.invitee_id when p_user_id then null else m.invitee_challenge_id end,
        venue_name = case m.venue_author_id when p_user_id then '' else m.venue_name end,
        venue_author_id = nullif(m.venue_author_id, p_user_id)
    where m.requester_id = p_user_id or m.invitee_id = p_user_id;
    -- So that the other person does not wait in vain: an email without a name notifies them.
    perform internal.notify_of_meetup(m, 'MEETUP_CANCELLED', '{"match_ended": true}')
    from public.meetups m
    where m.id = any (called_off);
end
$$;

comment on function internal.erase_from_meetups is
    'Cancels what lies ahead of the person, and leaves an empty place. What the person said of '
    'others stays. The caller has locked the person and all live partners, and has stopped the emails about the person.';

create function internal.erase_person(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.erase_from_notifications(p_user_id);
    perform internal.erase_from_answers(p_user_id);
    perform internal.erase_from_meetups(p_user_id);
    perform internal.erase_from_matches(p_user_id);
    -- The partners get their events now, in the order in which feeds are locked, and with the own feed held nobody can
    -- add to it any more.
    perform internal.publish_match_events(p_user_id);
    delete from public.match_events e where e.user_id = p_user_id;
    -- Takes place, pool, avoidances, notes and feed along.
    delete from public.user_profiles p where p.id = p_user_id;
end
$$;

comment on function internal.erase_person is
    'Erases the person from every table. The caller has locked the person and all live partners.';

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

comment on function public.delete_profile is
    'Erases a person. Returns {"erasure_id": ...}, what is to be passed to finish_erasure after the clean-up outside '
    'the database; null where a repeated request finds it done. With p_digest, a keyed digest of the person''s id, what '
    'has to outlive the erasure is kept under it (keep_of_erased); without one nothing is. Raises WM404 '
    'PROFILE_NOT_FOUND, WM412 CONFLICT.';

create function public.claim_erasures(p_limit integer default 10)
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

comment on function public.claim_erasures is
    'Returns {"erasures": [{"erasure_id", "user_id"}]}, at most p_limit whose clean-up is due, for a minute to this '
    'caller alone; forgets those done a day ago, and what was kept of erased people for long enough.';

create function public.finish_erasure(p_erasure_id uuid)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    update public.erasures e set user_id = null, expire_time = now() + interval '24 hours' where e.id = p_erasure_id;
    return to_jsonb(found);
end
$$;

comment on function public.finish_erasure is
    'Records that the clean-up is done, and forgets whose it was. The id may return 24 hours later.';

revoke execute on function
    public.get_erasure, public.delete_profile, public.claim_erasures, public.finish_erasure
    from public, anon, authenticated;
grant execute on function
    public.get_erasure, public.delete_profile, public.claim_erasures, public.finish_erasure
    to service_role;
