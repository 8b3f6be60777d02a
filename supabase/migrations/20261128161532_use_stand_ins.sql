-- oldest-server: 20261128120100
--
-- Nobody is matched, measured or ordered by the true place any more: match_pool holds a stand-in for everybody. Lists
-- of candidates go on behind a position instead of a person, a far move can be refused, and a candidate who cannot be
-- invited is not told apart from one who does not exist. The next file brings the rows of match_pool to stand-ins.

alter table public.user_locations add column counted_place point;

-- Servers call these by names of parameters, and what was added has a default; two of one name would be ambiguous.
-- squawk-ignore ban-drop-function
drop function public.list_candidates(uuid, double precision, integer, uuid);
-- squawk-ignore ban-drop-function
drop function public.upsert_profile(jsonb, uuid);

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
    p_profile jsonb, p_request_id uuid default null, p_may_relocate boolean default true
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    asked constant jsonb := p_profile - 'create_time' - 'update_time';
    person uuid;
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
    perform internal.lock_people(array[person]);
    perform internal.store_profile(person, asked);
    relocated := internal.store_location(person, asked -> 'location');
    -- Last of all rules: what would be refused anyway is no far move to be counted.
    if relocated and not p_may_relocate then
        perform internal.raise_relocation_limited();
    end if;
    perform internal.enter_match_pool(person);
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

revoke all on function public.upsert_profile(p_profile jsonb, p_request_id uuid, p_may_relocate boolean) from public, anon, authenticated, service_role;
GRANT ALL ON FUNCTION public.upsert_profile(p_profile jsonb, p_request_id uuid, p_may_relocate boolean) TO service_role;

COMMENT ON FUNCTION public.upsert_profile(p_profile jsonb, p_request_id uuid, p_may_relocate boolean) IS 'Creates or replaces a profile and what matching knows of it, in one step. Returns {"profile": ..., "relocated": whether this call moved the place far; not there in a remembered answer}, without location. Raises WM400 FIELD_INVALID, WM400 REQUEST_ID_REUSED, and WM429 RATE_LIMITED, policy profile_relocation, for a far move without p_may_relocate.';

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
        'reputation', m.reputation)
    from public.user_profiles p
    join public.user_locations l on l.user_id = p.id
    join public.match_pool m on m.user_id = p.id
    where p.id = p_user_id;
end
$$;

-- Servers call nothing that is internal.
-- squawk-ignore ban-drop-function
drop function internal.city_point(uuid, double precision, double precision);

-- Servers call nothing that is internal.
-- squawk-ignore ban-drop-function
drop function internal.require_candidate_exists(uuid);
