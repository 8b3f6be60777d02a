-- Two people in a situation, with rows of every table that names people. support/matrix.py runs it.

create schema lock_order;

create function lock_order.profile(p_user_id uuid, p_email text) returns void language sql as $$
    select public.upsert_profile(jsonb_build_object(
        'user_id', p_user_id, 'email', p_email, 'first_name', 'Ann', 'last_name', '', 'bio', '', 'photo_url', '',
        'experience_level', 'BEGINNER', 'confidence_archetype', 'GHOST', 'city', 'Vienna', 'max_travel_miles', 50,
        'time_zone', 'Europe/Vienna', 'locale', 'de',
        'location', jsonb_build_object('latitude', 48.2082, 'longitude', 16.3738)))
$$;

create function lock_order.clear() returns void language sql as $$
    delete from public.notifications;
    delete from public.notification_preferences;
    delete from public.suppressed_addresses;
    delete from public.delivery_events;
    delete from public.delivery_pauses;
    delete from public.request_keys;
    delete from public.erasures;
    delete from public.kept_pairs;
    delete from public.kept_no_shows;
    delete from public.matches;
    delete from public.match_events;
    delete from public.user_profiles;
$$;

create function lock_order.pair(a uuid, b uuid, situation text, out match_id uuid, out meetup_id uuid)
    language plpgsql as $$
begin
    match_id := gen_random_uuid();
    meetup_id := gen_random_uuid();
    if situation = 'blocked' then
        perform public.block_user(a, b), public.block_user(b, a);
        return;
    end if;
    match_id := public.request_match(a, b) #>> '{match,id}';
    if situation = 'lapsed' then
        update public.matches set expire_time = now();
        update public.match_pool set busy_until = now();
    elsif situation <> 'asked' then
        perform public.respond_to_match(match_id, b, 'ACCEPT');
        meetup_id := public.schedule_meetup(match_id, a, 'Prater', now() + interval '3 days') #>> '{meetup,id}';
        perform public.update_meetup_notes(meetup_id, a, 'Smile.'), public.update_meetup_notes(meetup_id, b, 'Smile.');
        update public.meetups m set scheduled_time = now() - case situation
            when 'begun' then interval '1 hour' when 'overdue' then interval '8 days' else interval '-3 days' end;
    end if;
end
$$;

create function lock_order.emails(a uuid, b uuid) returns void language plpgsql as $$
declare
    person uuid;
begin
    foreach person in array array[a, b] loop
        perform public.send_notification('MATCH_DECLINE', '{"decliner_name": "Ann"}', person),
            -- To the other's address, as an erasure of the other finds it too.
            public.send_notification('MATCH_DECLINE', '{"decliner_name": "Ann"}', person,
                case person when a then 'b@example.org' else 'a@example.org' end);
        perform public.update_notification_preferences(person, '[{"kind": "MATCH_DECLINE", "enabled": false}]');
    end loop;
    delete from public.address_charges;
    perform public.claim_notifications('worker', 3, 60);
    update public.notifications n set state = 'DEAD'
    where n.id = (select d.id from public.notifications d where d.state = 'PENDING' limit 1);
    insert into public.delivery_events (event_id, type, notification_id, receive_time)
    select 'old/' || n.id, 'email.sent', n.id, now() - interval '31 days' from public.notifications n;
end
$$;

create function lock_order.keys(a uuid, b uuid, request_id uuid) returns void language sql as $$
    insert into public.request_keys (scope, user_id, request_id, body_hash, answer, expire_time)
    select p.proname, seat.me, keys.request_id, '', jsonb_build_object('match', jsonb_build_object(
        'requester_id', seat.me, 'invitee_id', seat.other)), now()
    from pg_proc p, (values (a, b), (b, a)) seat (me, other)
    where p.pronamespace = 'public'::regnamespace and 'p_request_id' = any (p.proargnames)
$$;

create function lock_order.challenges(a uuid, b uuid) returns void language plpgsql as $$
declare
    person uuid;
    attempt uuid;
begin
    foreach person in array array[a, b] loop
        attempt := public.start_challenge(person, 'c1a11e9e-0001-4000-8000-000000000001') #>> '{user_challenge,id}';
        perform public.share_challenge(attempt, person, 3600), public.share_challenge(attempt, person, 3600);
    end loop;
    update public.share_links l set expire_time = now()
    where l.id in (select distinct on (each.user_id) each.id from public.share_links each);
end
$$;

create function lock_order.settle(a uuid, b uuid, situation text) returns jsonb language plpgsql as $$
declare
    request_id constant uuid := gen_random_uuid();
    pair record;
begin
    perform lock_order.clear();
    perform lock_order.profile(a, 'a@example.org'), lock_order.profile(b, 'b@example.org');
    select * into pair from lock_order.pair(a, b, situation);
    perform lock_order.challenges(a, b);
    perform lock_order.emails(a, b);
    perform lock_order.keys(a, b, request_id);
    insert into public.erasures (next_attempt_time, expire_time) select now(), now() from generate_series(1, 3);
    insert into public.erasures (user_id, next_attempt_time) values (gen_random_uuid(), now());
    -- As if both had been erased and had returned before, of a version that keeps nothing.
    insert into public.kept_pairs (erased_digest, other_id, cause, expire_time)
    select encode(sha256(convert_to(seat.me::text, 'UTF8')), 'hex'), seat.other, 'BLOCKED', 'infinity'
    from (values (a, b), (b, a)) seat (me, other);
    return jsonb_build_object(
        'request_id', request_id,
        'match_id', pair.match_id,
        'meetup_id', pair.meetup_id,
        'emails', '["a@example.org", "b@example.org"]'::jsonb,
        'challenges', (select jsonb_agg(c.id) from (select id from public.approach_challenges order by id limit 2) c),
        'attempts', (select jsonb_agg(jsonb_build_object('p_user_challenge_id', u.id, 'p_user_id', u.user_id))
            from public.user_challenges u),
        'links', (select jsonb_agg(jsonb_build_object(
            'p_share_link_id', l.id, 'p_user_id', l.user_id, 'p_subject', 'CHALLENGE')) from public.share_links l),
        'notifications', (select jsonb_agg(n.id) from public.notifications n),
        'leases', (select jsonb_agg(jsonb_build_object('id', n.id, 'epoch', n.epoch))
            from public.notifications n where n.state = 'SENDING'),
        'erasure_id', (select e.id from public.erasures e where e.user_id is not null));
end
$$;
