-- oldest-server: 20261128120100
--
-- Lists continue at a position in their order, so that no item that moves or is deleted breaks a page.

create function public.list_matches(
    p_user_id uuid,
    p_states text[] default null,
    p_page_size integer default 20,
    p_after uuid default null,
    p_position jsonb default null
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    page_size constant integer := internal.require_page_size(p_page_size, 20);
    after_time timestamptz := coalesce((p_position ->> 'create_time')::timestamptz, 'infinity');
    after_id uuid := coalesce((p_position ->> 'id')::uuid, p_user_id);
    found_matches public.matches[];
    last public.matches;
begin
    perform internal.require(
        p_states is null or p_states <@ array['PENDING', 'ACCEPTED', 'DECLINED', 'CANCELLED', 'EXPIRED', 'ENDED'],
        'states', 'states must be states of a match');
    if p_after is not null then
        after_time := internal.require_time_of_match(p_after, p_user_id);
        after_id := p_after;
    end if;
    found_matches := array(
        select m from internal.matches_of(
            p_user_id, nullif(p_states, '{}'), after_time, after_id, page_size + 1) m);
    last := found_matches[page_size];
    return jsonb_build_object(
        'matches', (
            select coalesce(jsonb_agg(internal.match_json(m) order by m.create_time desc, m.id desc), '[]')
            from unnest(found_matches[1:page_size]) m),
        'next_after', case when cardinality(found_matches) > page_size then last.id end,
        'next_position', case when cardinality(found_matches) > page_size then
            jsonb_build_object('create_time', last.create_time, 'id', last.id) end);
end
$$;

revoke all on function public.list_matches(p_user_id uuid, p_states text[], p_page_size integer, p_after uuid, p_position jsonb) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.list_matches(p_user_id uuid, p_states text[], p_page_size integer, p_after uuid, p_position jsonb) TO service_role;

COMMENT ON FUNCTION public.list_matches(p_user_id uuid, p_states text[], p_page_size integer, p_after uuid, p_position jsonb) IS 'Returns {"matches": [...], "next_position": object or null}, newest first; p_position is next_position of the page before, and no match of it need be left. No or empty p_states means all. p_after and next_after are those of earlier servers. Raises WM400 FIELD_INVALID, WM400 PAGE_TOKEN_INVALID.';

create or replace function public.list_challenges(p_known_version text default null)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    catalogue constant jsonb := (
        select coalesce(jsonb_agg(internal.challenge_json(c) order by
            array_position(array['BEGINNER', 'INTERMEDIATE', 'ADVANCED'], c.difficulty), c.points,
            -- In every database alike: page tokens hold a place in this order.
            c.title collate "C"), '[]')
        from public.approach_challenges c
        -- Repeated for callers whom row level security does not stop.
        where not c.retired);
    version constant text := encode(sha256(convert_to(catalogue::text, 'UTF8')), 'hex');
begin
    return jsonb_build_object('version', version) || case
        when version is distinct from p_known_version then jsonb_build_object('challenges', catalogue)
        else '{}' end;
end
$$;

create function public.list_user_challenges(
    p_user_id uuid,
    p_states text[] default null,
    p_page_size integer default 20,
    p_after uuid default null,
    p_position jsonb default null
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    page_size constant integer := internal.require_page_size(p_page_size, 20);
    states constant text[] := nullif(p_states, '{}');
    after_time timestamptz := coalesce((p_position ->> 'create_time')::timestamptz, 'infinity');
    after_id uuid := coalesce((p_position ->> 'id')::uuid, p_user_id);
    attempts public.user_challenges[];
    last public.user_challenges;
begin
    perform internal.require(states is null or states <@ array['STARTED', 'SUBMITTED', 'EXPIRED'],
        'states', 'states must be states of a started challenge');
    if p_after is not null then
        after_time := internal.require_time_of_user_challenge(p_after, p_user_id);
        after_id := p_after;
    end if;
    attempts := array(
        select u from public.user_challenges u
        where u.user_id = p_user_id
            and (u.create_time, u.id) < (after_time, after_id)
            and (states is null or internal.user_challenge_state(u) = any (states))
        order by u.create_time desc, u.id desc
        limit page_size + 1);
    last := attempts[page_size];
    return jsonb_build_object(
        'user_challenges', (
            select coalesce(jsonb_agg(internal.user_challenge_json(u) order by u.create_time desc, u.id desc), '[]')
            from unnest(attempts[1:page_size]) u),
        'next_after', case when cardinality(attempts) > page_size then last.id end,
        'next_position', case when cardinality(attempts) > page_size then
            jsonb_build_object('create_time', last.create_time, 'id', last.id) end,
        'total_points', internal.total_points(p_user_id));
end
$$;

revoke all on function public.list_user_challenges(p_user_id uuid, p_states text[], p_page_size integer, p_after uuid, p_position jsonb) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.list_user_challenges(p_user_id uuid, p_states text[], p_page_size integer, p_after uuid, p_position jsonb) TO service_role;

COMMENT ON FUNCTION public.list_user_challenges(p_user_id uuid, p_states text[], p_page_size integer, p_after uuid, p_position jsonb) IS 'Returns {"user_challenges": [...], "next_position": object or null, "total_points": n}, newest first; p_position is next_position of the page before. No or empty p_states means all. p_after and next_after are those of earlier servers. Raises WM400 FIELD_INVALID, PAGE_TOKEN_INVALID.';

create function public.list_meetups(
    p_user_id uuid,
    p_states text[] default null,
    p_match_id uuid default null,
    p_page_size integer default 20,
    p_after uuid default null,
    p_position jsonb default null
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    page_size constant integer := internal.require_page_size(p_page_size, 20);
    after_time timestamptz := coalesce((p_position ->> 'scheduled_time')::timestamptz, 'infinity');
    after_id uuid := coalesce((p_position ->> 'id')::uuid, p_user_id);
    found_meetups public.meetups[];
    last public.meetups;
begin
    perform internal.require(
        p_states is null or p_states <@ array['SCHEDULED', 'COMPLETED', 'CANCELLED', 'MISSED', 'EXPIRED'],
        'states', 'states must be states of a meet-up');
    if p_after is not null then
        select m.scheduled_time into after_time from public.meetups m
        where m.id = p_after and p_user_id in (m.requester_id, m.invitee_id);
        if not found then
            perform internal.raise_invalid('page_token', 'the page before this one is gone', 'PAGE_TOKEN_INVALID');
        end if;
        after_id := p_after;
    end if;
    found_meetups := array(
        select m from internal.meetups_of(
            p_user_id, nullif(p_states, '{}'), p_match_id, after_time, after_id, page_size + 1) m);
    last := found_meetups[page_size];
    return jsonb_build_object(
        'meetups', (
            select coalesce(
                jsonb_agg(internal.meetup_json(m, p_user_id) order by m.scheduled_time desc, m.id desc), '[]')
            from unnest(found_meetups[1:page_size]) m),
        'next_after', case when cardinality(found_meetups) > page_size then last.id end,
        'next_position', case when cardinality(found_meetups) > page_size then
            jsonb_build_object('scheduled_time', last.scheduled_time, 'id', last.id) end);
end
$$;

revoke all on function public.list_meetups(p_user_id uuid, p_states text[], p_match_id uuid, p_page_size integer, p_after uuid, p_position jsonb) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.list_meetups(p_user_id uuid, p_states text[], p_match_id uuid, p_page_size integer, p_after uuid, p_position jsonb) TO service_role;

COMMENT ON FUNCTION public.list_meetups(p_user_id uuid, p_states text[], p_match_id uuid, p_page_size integer, p_after uuid, p_position jsonb) IS 'Returns {"meetups": [...], "next_position": object or null}, the latest scheduled time first; p_position is next_position of the page before. No or empty p_states means all. p_after and next_after are those of earlier servers. Raises WM400 FIELD_INVALID, WM400 PAGE_TOKEN_INVALID.';

create function public.list_notifications(
    p_user_id uuid default null,
    p_states text[] default null,
    p_kinds text[] default null,
    p_match_id uuid default null,
    p_page_size integer default 0,
    p_after uuid default null,
    p_position jsonb default null
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
    after_time timestamptz := (p_position ->> 'create_time')::timestamptz;
    after_id uuid := (p_position ->> 'id')::uuid;
    found_ones public.notifications[];
    last public.notifications;
begin
    if p_after is not null then
        select n.create_time, n.id into after_time, after_id from public.notifications n
        where n.id = p_after and (p_user_id is null or n.user_id = p_user_id);
        if after_time is null then
            perform internal.raise_invalid('page_token', 'page_token is of another list', 'PAGE_TOKEN_INVALID');
        end if;
    end if;
    found_ones := array(
        select t from public.notifications t
        where (p_user_id is null or t.user_id = p_user_id)
            and (p_match_id is null or t.match_id = p_match_id)
            and (p_kinds is null or t.kind = any (p_kinds))
            and (p_states is null or internal.visible_state(t) = any (p_states))
            and (after_id is null or (t.create_time, t.id) < (after_time, after_id))
        order by t.create_time desc, t.id desc
        limit page_size + 1);
    last := found_ones[page_size];
    return jsonb_build_object(
        'notifications', (
            select coalesce(jsonb_agg(internal.notification_json(n) order by n.create_time desc, n.id desc), '[]')
            from unnest(found_ones[1:page_size]) n),
        'next_after', case when cardinality(found_ones) > page_size then last.id end,
        'next_position', case when cardinality(found_ones) > page_size then
            jsonb_build_object('create_time', last.create_time, 'id', last.id) end);
end
$$;

revoke all on function public.list_notifications(p_user_id uuid, p_states text[], p_kinds text[], p_match_id uuid, p_page_size integer, p_after uuid, p_position jsonb) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.list_notifications(p_user_id uuid, p_states text[], p_kinds text[], p_match_id uuid, p_page_size integer, p_after uuid, p_position jsonb) TO service_role;

COMMENT ON FUNCTION public.list_notifications(p_user_id uuid, p_states text[], p_kinds text[], p_match_id uuid, p_page_size integer, p_after uuid, p_position jsonb) IS 'Returns {"notifications": [...], "next_position": object or null}: emails, newest first, of one person or of all; p_position is next_position of the page before. p_after and next_after are those of earlier servers.';

-- What replaces these takes all that servers of the version before pass.
-- squawk-ignore ban-drop-function
drop function public.list_matches(uuid, text[], integer, uuid);

-- squawk-ignore ban-drop-function
drop function public.list_meetups(uuid, text[], uuid, integer, uuid);

-- squawk-ignore ban-drop-function
drop function public.list_notifications(uuid, text[], text[], uuid, integer, uuid);

-- squawk-ignore ban-drop-function
drop function public.list_user_challenges(uuid, text[], integer, uuid);
