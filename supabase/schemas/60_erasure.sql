-- Erasing a person: everything about them goes in one transaction, and other people's history keeps an empty place.
-- What lies outside the database is cleaned up after the commit, and remembered here until it is.
--
-- An erasure empties what is kept of the person in the histories of others, also of matches that ended long ago, and
-- deletes who is kept apart from the person. So it locks all of them: two of whom one knows the other can be erased at the
-- same time without a circular wait.

create table public.erasures (
    id uuid primary key default gen_random_uuid(),
    user_id uuid,
    request_digest bytea unique,
    next_attempt_time timestamptz not null,
    expire_time timestamptz not null default now() + interval '24 hours'
);

comment on table public.erasures is
    'Erasures of the last day, and those whose clean-up outside the database is not done yet.';
comment on column public.erasures.user_id is 'Who has to be cleaned up after; null once that is done.';
comment on column public.erasures.request_digest is 'Recognizes a repeated request without naming the person.';

create index erasures_pending on public.erasures (next_attempt_time) where user_id is not null;
create index erasures_expiring on public.erasures (expire_time) where user_id is null;

alter table public.erasures enable row level security;
revoke all on table public.erasures from public, anon, authenticated;
grant select, insert, update, delete on table public.erasures to service_role;

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
    update public.match_pool p set pending_match_id = null, busy_until = '-infinity'
    from public.matches m
    where p.pending_match_id = m.id and (m.requester_id = p_user_id or m.invitee_id = p_user_id)
        and p.user_id in (m.requester_id, m.invitee_id);
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

create function public.delete_profile(p_user_id uuid, p_request_id uuid default null)
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

comment on function public.delete_profile is
    'Erases a person. Returns {"erasure_id": ...}, what is to be passed to finish_erasure after the clean-up outside '
    'the database; null where a repeated request finds it done. Raises WM404 PROFILE_NOT_FOUND, WM412 CONFLICT.';

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
    'caller alone; forgets those done a day ago.';

create function public.finish_erasure(p_erasure_id uuid)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    update public.erasures e set user_id = null where e.id = p_erasure_id;
    return to_jsonb(found);
end
$$;

comment on function public.finish_erasure is 'Records that the clean-up is done, and forgets whose it was.';

revoke execute on function
    public.delete_profile, public.claim_erasures, public.finish_erasure
    from public, anon, authenticated;
grant execute on function public.delete_profile, public.claim_erasures, public.finish_erasure to service_role;
