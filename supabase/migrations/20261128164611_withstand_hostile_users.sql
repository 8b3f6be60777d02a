-- oldest-server: 20261128120100
--
-- Everybody is matched, measured and ordered by a stand-in for their place, and far moves can be refused. Lists continue
-- at a position in their order, so that no item that moves or is deleted breaks a page. What writes about a person holds
-- the person's id, or is refused by the mark of an erasure; an erased id may return after 24 hours, with the blocks and
-- no-shows that were kept under keyed digests. An address gets only so many emails, and a digest says what waits beyond
-- that; changes of a meetup within two minutes are one email.
--
-- The next file brings the rows of match_pool to stand-ins. What waits to be sent is counted from its next claim on.

alter table public.user_locations add column counted_place point;

COMMENT ON TABLE public.user_locations IS 'The true place of each person, in degrees. Nothing but the person''s own export shows it; everything else reads the stand-in that is made of it.';

COMMENT ON COLUMN public.user_locations.counted_place IS 'The stand-in (longitude, latitude) from which the next far move is measured: where the person was when the last one was counted. Null until the place is stored a second time.';

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
        coalesce(nullif(nullif(p_profile ->> 'location_privacy', ''), 'APPROXIMATE'), 'PRECISE'),
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

-- Servers call nothing that is internal.
-- squawk-ignore ban-drop-function
drop function internal.store_location(uuid, jsonb);

create function internal.store_location(p_user_id uuid, p_location jsonb)
    returns boolean
    language plpgsql
    set search_path = ''
as $$
declare
    -- By stand-ins, as everything is measured, so that not even the person can use the limit to find a true place.
    counted point;
    place point;
begin
    if p_location is null or p_location = 'null' then
        perform internal.require(
            exists (select from public.user_locations l where l.user_id = p_user_id),
            'profile.location', 'a new profile needs a location');
        return false;
    end if;
    insert into public.user_locations as l (user_id, latitude, longitude)
    values (p_user_id, (p_location ->> 'latitude')::double precision, (p_location ->> 'longitude')::double precision)
    on conflict (user_id) do update set
        latitude = excluded.latitude,
        longitude = excluded.longitude,
        counted_place = coalesce(l.counted_place, internal.stand_in(l.user_id, l.latitude, l.longitude, false))
    returning l.counted_place, internal.stand_in(l.user_id, l.latitude, l.longitude, false) into counted, place;
    if counted is null or internal.distance_miles(counted[1], counted[0], place[1], place[0]) <= 25 then
        return false;
    end if;
    update public.user_locations l set counted_place = place where l.user_id = p_user_id;
    return true;
end
$$;

revoke all on function internal.store_location(p_user_id uuid, p_location jsonb) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.store_location(p_user_id uuid, p_location jsonb) TO service_role;

COMMENT ON FUNCTION internal.store_location(p_user_id uuid, p_location jsonb) IS 'Stores the true place; without one keeps the stored place, or raises WM400 if there is none. Returns whether that is a far move: more than 25 miles from where the last one was counted, however many steps it took. The first place is none.';

create function internal.raise_relocation_limited()
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_error('WM429', 'RATE_LIMITED', 'the place moves far, and far moves are limited',
        jsonb_build_object('policy', 'profile_relocation'))
$$;

revoke all on function internal.raise_relocation_limited() from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.raise_relocation_limited() TO service_role;

COMMENT ON FUNCTION internal.raise_relocation_limited() IS 'Raises WM429 RATE_LIMITED about profile_relocation.';

create function public.upsert_profile(
    p_profile jsonb,
    p_request_id uuid default null,
    p_may_relocate boolean default true,
    p_digests text[] default '{}'
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
    relocated boolean;
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
    relocated := internal.store_location(person, asked -> 'location');
    -- Last of all rules: what would be refused anyway is no far move to be counted.
    if relocated and not p_may_relocate then
        perform internal.raise_relocation_limited();
    end if;
    perform internal.enter_match_pool(person);
    perform internal.restore_kept(person, p_digests, held);
    answer := internal.remember_answer('upsert_profile', person, p_request_id, public.get_profile(person));
    return answer || jsonb_build_object('relocated', relocated);
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

revoke all on function public.upsert_profile(p_profile jsonb, p_request_id uuid, p_may_relocate boolean, p_digests text[]) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.upsert_profile(p_profile jsonb, p_request_id uuid, p_may_relocate boolean, p_digests text[]) TO service_role;

COMMENT ON FUNCTION public.upsert_profile(p_profile jsonb, p_request_id uuid, p_may_relocate boolean, p_digests text[]) IS 'Creates or replaces a profile and what matching knows of it, in one step; what was kept of the person''s erasure under one of p_digests, the keyed digests of the id, takes force again. Returns {"profile": ..., "relocated": whether this call moved the place far; not there in a remembered answer}, without location. Raises WM400 FIELD_INVALID, REQUEST_ID_REUSED; WM409 ERASED_RECENTLY; WM412 CONFLICT; and WM429 RATE_LIMITED, policy profile_relocation, for a far move without p_may_relocate.';

COMMENT ON TABLE public.match_pool IS 'What matching knows of each person. The place is the person''s stand-in, never the true one.';

COMMENT ON COLUMN public.match_pool.coarse IS 'Whether the stand-in is one of a cell of CITY_ONLY.';

create function internal.stand_in(
    p_user_id uuid, p_latitude double precision, p_longitude double precision, p_coarse boolean
)
    returns point
    language plpgsql
    immutable
    parallel safe
    set search_path = ''
as $$
declare
    -- Bands of a tenth of a degree (6.9 miles) or of a hundredth (0.69 miles), cut into cells that are about as
    -- wide as they are high, at every latitude.
    a_degree constant integer := case when p_coarse then 10 else 100 end;
    band constant integer := least(floor((p_latitude + 90) * a_degree), 180 * a_degree - 1);
    cells constant integer := greatest(1, floor(360 * a_degree * cosd((band + 0.5) / a_degree - 90)));
    cell constant integer := least(floor((p_longitude + 180) / 360 * cells), cells - 1);
    -- Nothing but the person and the cell goes in, so no set of distances can tell more than the cell.
    noise constant text := encode(sha256(convert_to(p_user_id || '/' || band || '/' || cell, 'UTF8')), 'hex');
    across constant double precision := ('x' || substr(noise, 1, 8))::bit(32)::bigint / 4294967296.0;
    up constant double precision := ('x' || substr(noise, 9, 8))::bit(32)::bigint / 4294967296.0;
begin
    return point((cell + across) * 360 / cells - 180, (band + up) / a_degree - 90);
end
$$;

revoke all on function internal.stand_in(p_user_id uuid, p_latitude double precision, p_longitude double precision, p_coarse boolean) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.stand_in(p_user_id uuid, p_latitude double precision, p_longitude double precision, p_coarse boolean) TO service_role;

COMMENT ON FUNCTION internal.stand_in(p_user_id uuid, p_latitude double precision, p_longitude double precision, p_coarse boolean) IS 'Returns the point (longitude, latitude) that stands for a person''s place wherever people are matched, measured or ordered: a point of the same cell of a grid that depends on the person and the cell alone. The stand-in of a stand-in is itself. Cells are about 0.7 by 0.7 miles, or 7 by 7 where p_coarse.';

create or replace function internal.enter_match_pool(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    insert into public.match_pool as m (user_id, latitude, longitude, coarse, level, max_travel_miles, active)
    select
        p.id,
        place.shown[1],
        place.shown[0],
        p.location_privacy = 'CITY_ONLY',
        array_position(array['BEGINNER', 'INTERMEDIATE', 'ADVANCED'], p.experience_level),
        p.max_travel_miles,
        p.active
    from public.user_profiles p
    join public.user_locations l on l.user_id = p.id
    cross join lateral (
        select internal.stand_in(p.id, l.latitude, l.longitude, p.location_privacy = 'CITY_ONLY') as shown
    ) place
    where p.id = p_user_id
    on conflict (user_id) do update set
        latitude = excluded.latitude,
        longitude = excluded.longitude,
        coarse = excluded.coarse,
        level = excluded.level,
        max_travel_miles = excluded.max_travel_miles,
        active = excluded.active
    where (m.latitude, m.longitude, m.coarse, m.level, m.max_travel_miles, m.active)
        is distinct from (excluded.latitude, excluded.longitude, excluded.coarse, excluded.level,
            excluded.max_travel_miles, excluded.active);
end
$$;

create or replace function internal.candidate_json(
    p_profile public.user_profiles, p_distance double precision, p_reputation integer, p_coarse boolean
)
    returns jsonb
    language sql
    stable
    parallel safe
    return jsonb_build_object(
        'user_id', p_profile.id,
        'first_name', p_profile.first_name,
        'bio', p_profile.bio,
        'photo_url', p_profile.photo_url,
        'experience_level', p_profile.experience_level,
        'confidence_archetype', p_profile.confidence_archetype,
        'distance_miles', case
            when p_coarse then greatest(5, ceil(p_distance / 5) * 5)
            else greatest(1, round(p_distance))
        end,
        'reputation', p_reputation
    );

COMMENT ON FUNCTION internal.candidate_json(p_profile public.user_profiles, p_distance double precision, p_reputation integer, p_coarse boolean) IS 'Returns what another person may see. Distances are whole miles, at least 1, or rounded up to steps of 5 miles if either shows only the city.';

create function internal.raise_page_token_invalid()
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_invalid('page_token', 'page_token does not continue this list', 'PAGE_TOKEN_INVALID')
$$;

revoke all on function internal.raise_page_token_invalid() from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.raise_page_token_invalid() TO service_role;

COMMENT ON FUNCTION internal.raise_page_token_invalid() IS 'Raises WM400 PAGE_TOKEN_INVALID.';

create or replace function internal.require_rank(p_seeker internal.seeker, p_user_id uuid)
    returns internal.candidate_rank
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    person public.match_pool;
begin
    select * into person from public.match_pool m where m.user_id = p_user_id and internal.is_compatible(p_seeker, m);
    if not found then
        perform internal.raise_page_token_invalid();
    end if;
    return internal.rank_of(p_seeker, person);
end
$$;

COMMENT ON FUNCTION internal.require_rank(p_seeker internal.seeker, p_user_id uuid) IS 'Returns the rank of a candidate. Raises WM400 PAGE_TOKEN_INVALID of anybody whom the seeker may not invite.';

create function internal.rank_at(p_position jsonb)
    returns internal.candidate_rank
    language plpgsql
    immutable
    set search_path = ''
as $$
declare
    -- Behind the person whether or not the person is coarse, which orders nobody.
    rank constant internal.candidate_rank := (
        p_position ->> 'distance', p_position ->> 'demerit', p_position ->> 'user_id', true);
begin
    if rank.distance is null or rank.demerit is null or rank.user_id is null then
        perform internal.raise_page_token_invalid();
    end if;
    return rank;
end
$$;

revoke all on function internal.rank_at(p_position jsonb) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.rank_at(p_position jsonb) TO service_role;

COMMENT ON FUNCTION internal.rank_at(p_position jsonb) IS 'Returns the rank that position_of described. Raises WM400 PAGE_TOKEN_INVALID if something of it is missing.';

create function internal.position_of(p_rank internal.candidate_rank)
    returns jsonb
    language sql
    immutable
    parallel safe
    return jsonb_build_object(
        'distance', p_rank.distance, 'demerit', p_rank.demerit, 'user_id', p_rank.user_id);

revoke all on function internal.position_of(p_rank internal.candidate_rank) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION internal.position_of(p_rank internal.candidate_rank) TO service_role;

COMMENT ON FUNCTION internal.position_of(p_rank internal.candidate_rank) IS 'Returns the values by which candidates are ordered, so that a list goes on behind them whatever has become of the person. The distance is that of two stand-ins; the server seals it all the same.';

create function public.list_candidates(
    p_user_id uuid,
    p_radius_miles double precision default 25,
    p_page_size integer default 10,
    -- How the version before continues a list.
    p_after uuid default null,
    p_position jsonb default null
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    page_size constant integer := internal.require_page_size(p_page_size, 10);
    seeker constant internal.seeker := internal.require_seeker(p_user_id, p_radius_miles);
    after internal.candidate_rank;
    ranks internal.candidate_rank[];
begin
    if p_position is not null then
        after := internal.rank_at(p_position);
    elsif p_after is not null then
        after := internal.require_rank(seeker, p_after);
    end if;
    -- One more than asked shows whether a page follows.
    ranks := array(select r from internal.nearest_candidates(seeker, page_size + 1, after) r);
    return jsonb_build_object(
        'candidates', internal.candidates_json(seeker, ranks[1:page_size]),
        'next_position', case when cardinality(ranks) > page_size then internal.position_of(ranks[page_size]) end,
        'next_after', case when cardinality(ranks) > page_size then ranks[page_size].user_id end);
end
$$;

revoke all on function public.list_candidates(p_user_id uuid, p_radius_miles double precision, p_page_size integer, p_after uuid, p_position jsonb) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.list_candidates(p_user_id uuid, p_radius_miles double precision, p_page_size integer, p_after uuid, p_position jsonb) TO service_role;

COMMENT ON FUNCTION public.list_candidates(p_user_id uuid, p_radius_miles double precision, p_page_size integer, p_after uuid, p_position jsonb) IS 'Returns {"candidates": [...], "next_position": object or null, "next_after": uuid or null}, nearest first; p_position is next_position of the page before. Raises WM404 PROFILE_NOT_FOUND, WM409 PROFILE_INACTIVE, WM400 FIELD_INVALID, WM400 PAGE_TOKEN_INVALID.';

create or replace function internal.require_available(p_seeker internal.seeker, p_candidate_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    -- One reason for all rules: which of them kept the two apart, or whether there is such a person, is not for the
    -- seeker to know.
    perform internal.raise_error('WM409', 'CANDIDATE_UNAVAILABLE', 'the person cannot be invited now',
        jsonb_build_object('candidate_user_id', p_candidate_user_id))
    where not exists (
        select from public.match_pool m
        where m.user_id = p_candidate_user_id and internal.is_compatible(p_seeker, m));
end
$$;

COMMENT ON FUNCTION internal.require_available(p_seeker internal.seeker, p_candidate_user_id uuid) IS 'Raises WM409 CANDIDATE_UNAVAILABLE if the seeker may not invite the person now, or there is no such person.';

create or replace function internal.invite_named(
    p_user_id uuid,
    p_candidate_user_id uuid,
    p_radius_miles double precision,
    p_venue_suggestion text,
    p_message text,
    p_max_daily_matches integer
)
    returns uuid
    language plpgsql
    set search_path = ''
as $$
declare
    seeker internal.seeker;
    match_id uuid;
begin
    perform internal.require(p_candidate_user_id <> p_user_id, 'candidate_user_id', 'nobody can invite themselves');
    perform internal.lock_people(array[p_user_id, p_candidate_user_id]);
    seeker := internal.require_seeker(p_user_id, p_radius_miles);
    match_id := internal.accept_invitation_by(p_candidate_user_id, p_user_id);
    if match_id is not null then
        return match_id;
    end if;
    perform internal.require_free(p_user_id);
    perform internal.require_daily_allowance(p_user_id, p_max_daily_matches);
    perform internal.require_available(seeker, p_candidate_user_id);
    return internal.create_match(p_user_id, p_candidate_user_id, p_venue_suggestion, p_message);
end
$$;

COMMENT ON FUNCTION public.request_match(p_user_id uuid, p_candidate_user_id uuid, p_radius_miles double precision, p_venue_suggestion text, p_message text, p_max_daily_matches integer, p_request_id uuid) IS 'Invites the nearest compatible person or the one named, with the email, or accepts the named person''s pending invitation. Returns {"match": ..., "candidate": ...}. Raises WM404 PROFILE_NOT_FOUND; WM409 PROFILE_INACTIVE, PENDING_MATCH_EXISTS, NO_CANDIDATE, CANDIDATE_UNAVAILABLE; WM429 DAILY_MATCH_LIMIT; WM400 FIELD_INVALID, REQUEST_ID_REUSED; WM412 CONFLICT.';

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

alter table public.meetups add column move_times timestamptz[] not null default '{}';

COMMENT ON COLUMN public.meetups.move_times IS 'When it was moved within the 24 hours before the last move.';

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
create index notifications_waiting_digests on public.notifications (lower(recipient_email))
    where kind = 'DIGEST' and state = 'PENDING';

-- No row belongs into it yet: it takes one look at each.
-- squawk-ignore require-concurrent-index-creation
create index notifications_of_digest on public.notifications (digest_id) where digest_id is not null;

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
    p_position jsonb default null,
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
            and (p_digests or t.kind <> 'DIGEST')
            and (p_states is null
                or case when p_digests then internal.exact_state(t) else internal.visible_state(t) end = any (p_states))
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

revoke all on function public.list_notifications(p_user_id uuid, p_states text[], p_kinds text[], p_match_id uuid, p_page_size integer, p_after uuid, p_position jsonb, p_digests boolean) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.list_notifications(p_user_id uuid, p_states text[], p_kinds text[], p_match_id uuid, p_page_size integer, p_after uuid, p_position jsonb, p_digests boolean) TO service_role;

COMMENT ON FUNCTION public.list_notifications(p_user_id uuid, p_states text[], p_kinds text[], p_match_id uuid, p_page_size integer, p_after uuid, p_position jsonb, p_digests boolean) IS 'Returns {"notifications": [...], "next_position": object or null}: emails, newest first, of one person or of all; p_position is next_position of the page before. With p_digests digests are among them, and p_states are exact states. p_after and next_after are those of earlier servers.';

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
    perform internal.hold_user_id(p_user_id);
    perform internal.set_notification_kinds(p_user_id, '{}', array[p_kind]);
    return 'true';
exception
    -- Nothing is sent to a person who was erased, and nothing is written about one.
    when sqlstate 'WM404' then
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

alter table public.erasures add column user_digest bytea;

COMMENT ON TABLE public.erasures IS 'Erasures whose clean-up outside the database is not done yet, or was done within the last 24 hours.';

COMMENT ON COLUMN public.erasures.user_digest IS 'The mark of the erasure: recognizes the id without naming it, for as long as the id may not return.';

-- The table holds the erasures of a day: nobody waits long for it.
-- squawk-ignore require-concurrent-index-creation
create index erasures_marks on public.erasures (user_digest);

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
        -- The API's word for what is stored as PRECISE.
        'location_privacy', case p.location_privacy when 'PRECISE' then 'APPROXIMATE' else p.location_privacy end,
        'reputation', m.reputation,
        'earlier_no_show_count', internal.earlier_no_shows(p.id))
    from public.user_profiles p
    join public.user_locations l on l.user_id = p.id
    join public.match_pool m on m.user_id = p.id
    where p.id = p_user_id;
end
$$;

create table public.kept_pairs (
    id uuid primary key default gen_random_uuid(),
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

create or replace function internal.remind_of_meetup(p_meetup public.meetups)
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

-- Servers call nothing that is internal.
-- squawk-ignore ban-drop-function
drop function internal.city_point(uuid, double precision, double precision);

-- Servers call nothing that is internal.
-- squawk-ignore ban-drop-function
drop function internal.lease_due_notifications(text, integer, double precision);

-- Servers call nothing that is internal.
-- squawk-ignore ban-drop-function
drop function internal.notify_of_meetup(public.meetups, text, jsonb);

-- Those for each statement have taken their place.
drop trigger record_match_change on public.matches;

drop trigger record_match_made on public.matches;

-- Servers call nothing that is internal.
-- squawk-ignore ban-drop-function
drop function internal.record_match_change();

-- Servers call nothing that is internal.
-- squawk-ignore ban-drop-function
drop function internal.record_match_event(public.matches, text, uuid);

-- Servers call nothing that is internal.
-- squawk-ignore ban-drop-function
drop function internal.require_candidate_exists(uuid);

-- Those that replace these take all that servers of the version before pass.
-- squawk-ignore ban-drop-function
drop function public.claim_notifications(text, integer, double precision);

-- squawk-ignore ban-drop-function
drop function public.delete_profile(uuid, uuid);

-- squawk-ignore ban-drop-function
drop function public.get_notification(uuid, uuid);

-- squawk-ignore ban-drop-function
drop function public.list_candidates(uuid, double precision, integer, uuid);

-- squawk-ignore ban-drop-function
drop function public.list_matches(uuid, text[], integer, uuid);

-- squawk-ignore ban-drop-function
drop function public.list_meetups(uuid, text[], uuid, integer, uuid);

-- squawk-ignore ban-drop-function
drop function public.list_notifications(uuid, text[], text[], uuid, integer, uuid);

-- squawk-ignore ban-drop-function
drop function public.list_user_challenges(uuid, text[], integer, uuid);

-- squawk-ignore ban-drop-function
drop function public.record_delivery_event(text, text, text, text, timestamp with time zone, uuid, text, text);

-- squawk-ignore ban-drop-function
drop function public.unblock_user(uuid, uuid, uuid);

-- squawk-ignore ban-drop-function
drop function public.upsert_profile(jsonb, uuid);
