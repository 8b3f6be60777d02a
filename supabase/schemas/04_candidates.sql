-- Whom a person could invite: one rule, and an exact nearest-first search whose cost does not grow with the number of people.

create type internal.seeker as (
    user_id uuid,
    latitude double precision,
    longitude double precision,
    coarse boolean,
    radius_miles double precision,
    lowest_level smallint,
    highest_level smallint,
    excluded uuid[]
);

create type internal.candidate_rank as (distance double precision, demerit smallint, user_id uuid, coarse boolean);

create function internal.require_seeker(p_user_id uuid, p_radius_miles double precision)
    returns internal.seeker
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    person public.match_pool;
    excluded constant uuid[] := array(
        select a.other_id from public.avoidances a where a.user_id = p_user_id and a.until > now());
begin
    perform internal.require(p_radius_miles > 0 and p_radius_miles <= 500, 'radius_miles',
        'radius_miles must be above 0 and at most 500');
    select * into person from public.match_pool m where m.user_id = p_user_id;
    if not found then
        perform internal.raise_profile_not_found(p_user_id);
    elsif not person.active then
        perform internal.raise_error('WM409', 'PROFILE_INACTIVE', 'the profile is not active',
            jsonb_build_object('user_id', p_user_id));
    end if;
    return (
        p_user_id, person.latitude, person.longitude, person.coarse, least(p_radius_miles, person.max_travel_miles),
        person.level - 1, person.level + 1, excluded || p_user_id)::internal.seeker;
end
$$;

comment on function internal.require_seeker is
    'Returns the person as a seeker. Raises WM404 PROFILE_NOT_FOUND, WM409 PROFILE_INACTIVE, WM400 about the radius.';

create function internal.is_compatible(p_seeker internal.seeker, p_person public.match_pool)
    returns boolean
    language sql
    stable
    parallel safe
    -- The one statement of who is a candidate. Inlined into every query that asks, so that indexes serve it.
    return p_person.active
        and p_person.busy_until <= now()
        and p_person.level between p_seeker.lowest_level and p_seeker.highest_level
        and p_person.user_id <> all (p_seeker.excluded)
        and internal.distance_miles(p_seeker.latitude, p_seeker.longitude, p_person.latitude, p_person.longitude)
            <= least(p_seeker.radius_miles, p_person.max_travel_miles);

comment on function internal.is_compatible is 'Tells whether the seeker may invite the person now.';

create function internal.rank_of(p_seeker internal.seeker, p_person public.match_pool)
    returns internal.candidate_rank
    language sql
    immutable
    parallel safe
    return row(
        internal.distance_miles(p_seeker.latitude, p_seeker.longitude, p_person.latitude, p_person.longitude),
        -p_person.reputation,
        p_person.user_id,
        p_person.coarse
    )::internal.candidate_rank;

comment on function internal.rank_of is
    'Returns the person''s place in the order in which the seeker sees candidates.';

create function internal.search_areas(p_seeker internal.seeker, p_radius_miles double precision)
    returns box[]
    language plpgsql
    immutable
    set search_path = ''
as $$
declare
    -- A degree of latitude is 69.09 miles. Less, and a little more radius, keep every rounding on the wide side.
    degrees_around constant double precision := (p_radius_miles + 0.01) / 69.0;
    farthest constant double precision := abs(p_seeker.latitude) + degrees_around;
    centre point := internal.map_point(p_seeker.latitude, p_seeker.longitude);
    reach point;
    areas box[];
begin
    if farthest >= 84 then
        -- Towards a pole the plane has no end: everybody as near to the pole, at any longitude.
        return array[internal.polar_area(sign(p_seeker.latitude), abs(p_seeker.latitude) - degrees_around)];
    end if;
    -- The plane stretches by at most 1/cos of the farthest latitude, so this square holds the circle.
    reach := point(degrees_around / cosd(farthest), degrees_around / cosd(farthest));
    areas := array[box(centre - reach, centre + reach)];
    if abs(p_seeker.longitude) + reach[0] > 180 then
        -- The circle crosses the antimeridian, where the plane is cut: look from the other side too.
        centre := centre - point(360 * sign(p_seeker.longitude), 0);
        areas := areas || box(centre - reach, centre + reach);
    end if;
    return areas;
end
$$;

comment on function internal.search_areas is
    'Returns boxes of the plane that together hold every place within the radius.';

create function internal.polar_area(p_hemisphere double precision, p_lowest_latitude double precision)
    returns box
    language sql
    immutable
    set search_path = ''
as $$
    select box(
        point(-180, p_hemisphere * (internal.map_point(p_lowest_latitude, 0))[1]),
        -- Places beyond the 85th degree are all drawn on it, at 179.4.
        point(180, p_hemisphere * 180))
$$;

comment on function internal.polar_area is
    'Returns the box of the plane from a latitude to the pole of that hemisphere (1 or -1).';

create function internal.nearest_candidates(
    p_seeker internal.seeker, p_limit integer, p_after internal.candidate_rank default null
)
    returns setof internal.candidate_rank
    language plpgsql
    stable
    set search_path = ''
    -- The planner takes a box to hold a thousandth of all people and would rather sort them than walk the index by
    -- distance; planning anew costs more than the query; and the price of a disabled sort would set off the JIT.
    set enable_sort = off
    set enable_bitmapscan = off
    set enable_seqscan = off
    set plan_cache_mode = force_generic_plan
    set jit = off
as $$
declare
    bound double precision;
begin
    -- Nearest in the plane is nearly nearest on the globe: the p_limit found first bound the distance of the answer,
    -- and the walk along the index ends with them.
    select internal.distance_miles(p_seeker.latitude, p_seeker.longitude, near.latitude, near.longitude) into bound
    from unnest(internal.search_areas(p_seeker, p_seeker.radius_miles)) area
    cross join lateral (
        select m.latitude, m.longitude from public.match_pool m
        where m.map_point <@ area and internal.is_compatible(p_seeker, m)
            and (p_after is null or internal.rank_of(p_seeker, m) > p_after)
        order by m.map_point <-> @@ area
        limit p_limit
    ) near
    order by 1
    offset p_limit - 1
    limit 1;
    -- Everybody within that bound, in the exact order.
    return query
    select (internal.rank_of(p_seeker, m)).*
    from unnest(internal.search_areas(p_seeker, coalesce(bound, p_seeker.radius_miles))) area
    join public.match_pool m on m.map_point <@ area
    where internal.is_compatible(p_seeker, m) and (p_after is null or internal.rank_of(p_seeker, m) > p_after)
    order by 1, 2, 3
    limit p_limit;
end
$$;

comment on function internal.nearest_candidates is
    'Returns the first p_limit candidates behind p_after, exactly, in their order. Its cost hardly grows with the '
    'number of people.';

create function internal.candidate_json(
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

comment on function internal.candidate_json is
    'Returns what another person may see. Distances are whole miles, at least 1, or rounded up to steps of 5 miles '
    'if either shows only the city.';

create function internal.describe_candidate(p_user_id uuid, p_candidate_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (
        select internal.candidate_json(
            profile,
            internal.distance_miles(me.latitude, me.longitude, other.latitude, other.longitude),
            other.reputation,
            me.coarse or other.coarse)
        from public.match_pool me, public.match_pool other
        join public.user_profiles profile on profile.id = other.user_id
        where me.user_id = p_user_id and other.user_id = p_candidate_id
    );
end
$$;

comment on function internal.describe_candidate is 'Returns the candidate as the person sees them.';

create function internal.raise_page_token_invalid()
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_invalid('page_token', 'page_token does not continue this list', 'PAGE_TOKEN_INVALID')
$$;

comment on function internal.raise_page_token_invalid is 'Raises WM400 PAGE_TOKEN_INVALID.';

create function internal.require_rank(p_seeker internal.seeker, p_user_id uuid)
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

comment on function internal.require_rank is
    'Returns the rank of a candidate. Raises WM400 PAGE_TOKEN_INVALID of anybody whom the seeker may not invite.';

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

comment on function internal.rank_at is
    'Returns the rank that position_of described. Raises WM400 PAGE_TOKEN_INVALID if something of it is missing.';

create function internal.position_of(p_rank internal.candidate_rank)
    returns jsonb
    language sql
    immutable
    parallel safe
    return jsonb_build_object(
        'distance', p_rank.distance, 'demerit', p_rank.demerit, 'user_id', p_rank.user_id);

comment on function internal.position_of is
    'Returns the values by which candidates are ordered, so that a list goes on behind them whatever has become of '
    'the person. The distance is that of two stand-ins; the server seals it all the same.';

create function internal.candidates_json(p_seeker internal.seeker, p_ranks internal.candidate_rank[])
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return coalesce((
        select jsonb_agg(
            internal.candidate_json(p, r.distance, -r.demerit, p_seeker.coarse or r.coarse) order by r.position)
        from unnest(p_ranks) with ordinality r (distance, demerit, user_id, coarse, position)
        join public.user_profiles p on p.id = r.user_id
    ), '[]');
end
$$;

comment on function internal.candidates_json is
    'Returns the ranked people as the seeker sees them, in the same order.';

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

comment on function public.list_candidates is
    'Returns {"candidates": [...], "next_position": object or null, "next_after": uuid or null}, nearest first; '
    'p_position is next_position of the page before. Raises WM404 PROFILE_NOT_FOUND, WM409 PROFILE_INACTIVE, WM400 '
    'FIELD_INVALID, WM400 PAGE_TOKEN_INVALID.';

revoke execute on function public.list_candidates from public, anon, authenticated;
grant execute on function public.list_candidates to service_role;
