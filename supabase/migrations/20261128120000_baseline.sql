-- oldest-server: 20261128120000
--
-- The schema of the first release: what supabase/schemas/ was then. It is never edited; changes are later files.

-- Errors that functions raise, safe repetition of mutations by request_id, paging, and the health check.
--
-- What the server calls stands in the schema public, which PostgREST exposes. What only other functions call stands in
-- the schema internal, which it does not.
--
-- What runs often is written in plpgsql even where it is one statement: plpgsql caches plans for the session, while
-- language sql plans at each call, and planning costs more than running. The exceptions are bodies of one expression
-- (`return ...`), which the planner inlines; those may not set a search_path, and need none, since their names were
-- resolved when they were created.

create schema internal;

comment on schema internal is 'What only the functions of public call; PostgREST does not expose it.';

grant usage on schema internal to anon, service_role;

create table public.request_keys (
    scope text not null,
    user_id uuid not null,
    request_id uuid not null,
    body_hash bytea not null,
    answer jsonb,
    expire_time timestamptz not null,
    primary key (scope, user_id, request_id)
);

comment on table public.request_keys is
    'One row a (function, person, request_id): what was asked, as a hash, and what was answered.';

create index request_keys_expiring on public.request_keys (expire_time);
create index request_keys_of_user on public.request_keys (user_id);

alter table public.request_keys enable row level security;
revoke all on table public.request_keys from public, anon, authenticated;
grant select, insert, update, delete on table public.request_keys to service_role;

create function internal.raise_error(p_sqlstate text, p_reason text, p_message text, p_metadata jsonb default '{}')
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    raise exception using
        errcode = p_sqlstate,
        message = p_message,
        detail = p_reason,
        hint = p_metadata::text;
end
$$;

comment on function internal.raise_error is
    'Raises SQLSTATE WM4xx with a reason of ErrorReason in DETAIL and an object of strings in HINT. Ids only: '
    'callers see it.';

create function internal.raise_invalid(p_field text, p_message text, p_reason text default 'FIELD_INVALID')
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_error('WM400', p_reason, p_message, jsonb_build_object('field', p_field))
$$;

comment on function internal.raise_invalid is 'Raises WM400 about one field of the request.';

create function internal.raise_conflict()
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_error('WM412', 'CONFLICT', 'others were faster; repeat the request')
$$;

comment on function internal.raise_conflict is 'Raises WM412 CONFLICT.';

create function internal.require(p_condition boolean, p_field text, p_message text)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    if p_condition is not true then
        perform internal.raise_invalid(p_field, p_message);
    end if;
end
$$;

comment on function internal.require is
    'Raises WM400 FIELD_INVALID about p_field unless p_condition is true; null counts as false.';

create function internal.require_page_size(p_page_size integer, p_default integer)
    returns integer
    language plpgsql
    immutable
    set search_path = ''
as $$
begin
    perform internal.require(coalesce(p_page_size, 0) >= 0, 'page_size', 'page_size must not be negative');
    return least(coalesce(nullif(p_page_size, 0), p_default), 100);
end
$$;

comment on function internal.require_page_size is
    'Returns the page size to use: the default for 0, at most 100. Raises WM400 if negative.';

create function internal.recall_answer(p_scope text, p_user_id uuid, p_request_id uuid, p_arguments jsonb)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    -- jsonb orders keys and drops blanks, so equal arguments have equal text.
    asked constant bytea := sha256(convert_to(p_arguments::text, 'UTF8'));
    remembered public.request_keys;
begin
    if p_request_id is null then
        return null;
    end if;
    -- Of two calls at once the second waits here, holding nothing yet, until the first has ended.
    insert into public.request_keys as k (scope, user_id, request_id, body_hash, expire_time)
    values (p_scope, p_user_id, p_request_id, asked, now() + interval '24 hours')
    on conflict (scope, user_id, request_id) do update
        set body_hash = excluded.body_hash, answer = null, expire_time = excluded.expire_time
        where k.expire_time <= now();
    if found then
        return null;
    end if;
    select * into remembered from public.request_keys k
    where k.scope = p_scope and k.user_id = p_user_id and k.request_id = p_request_id;
    if remembered.body_hash <> asked then
        perform internal.raise_invalid('request_id', 'request_id was used for another request', 'REQUEST_ID_REUSED');
    end if;
    return remembered.answer;
end
$$;

comment on function internal.recall_answer is
    'Returns the answer remembered for p_request_id, or null if the caller is to act and then call remember_answer. '
    'Call it before taking any lock. Raises WM400 REQUEST_ID_REUSED if p_arguments are not those of the first call.';

create function internal.remember_answer(p_scope text, p_user_id uuid, p_request_id uuid, p_answer jsonb)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    update public.request_keys k set answer = p_answer
    where k.scope = p_scope and k.user_id = p_user_id and k.request_id = p_request_id;
    return p_answer;
end
$$;

comment on function internal.remember_answer is
    'Stores p_answer for the request_id that recall_answer claimed, if any, and returns it.';

create function public.purge_request_keys(p_limit integer default 1000)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    purged integer;
begin
    delete from public.request_keys k
    using (
        select scope, user_id, request_id from public.request_keys
        where expire_time <= now()
        order by expire_time
        limit p_limit
        for update skip locked
    ) expired
    where (k.scope, k.user_id, k.request_id) = (expired.scope, expired.user_id, expired.request_id);
    get diagnostics purged = row_count;
    return jsonb_build_object('purged', purged);
end
$$;

comment on function public.purge_request_keys is
    'Deletes at most p_limit answers that are past their 24 hours. Returns {"purged": n}.';

create function public.health()
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select jsonb_build_object('role', current_user)
$$;

comment on function public.health is 'Returns {"role": the role that the caller acts as}.';

revoke execute on function public.purge_request_keys, public.health from public, anon, authenticated;
grant execute on function public.purge_request_keys, public.health to service_role;
grant execute on function public.health to anon;

-- People: who they are and, in a table of its own, where they are.

create table public.user_profiles (
    id uuid primary key constraint user_profiles_user_id_check check (id <> '00000000-0000-0000-0000-000000000000'),
    email text not null
        check (char_length(email) <= 254 and email ~ '^[^@[:space:][:cntrl:]]+@[^@[:space:][:cntrl:]]+$'),
    first_name text not null check (char_length(first_name) between 1 and 60 and first_name !~ '[[:cntrl:]]'),
    last_name text not null check (char_length(last_name) <= 60 and last_name !~ '[[:cntrl:]]'),
    bio text not null check (char_length(bio) <= 1000),
    photo_url text not null
        check (photo_url = '' or char_length(photo_url) <= 2048 and photo_url ~ '^https://[^[:space:][:cntrl:]]+$'),
    experience_level text not null check (experience_level in ('BEGINNER', 'INTERMEDIATE', 'ADVANCED')),
    confidence_archetype text not null
        check (confidence_archetype in ('ANALYZER', 'SPRINTER', 'GHOST', 'SCHOLAR', 'NATURALIST', 'PROTECTOR')),
    city text not null check (char_length(city) <= 100 and city !~ '[[:cntrl:]]'),
    location_privacy text not null check (location_privacy in ('PRECISE', 'CITY_ONLY')),
    max_travel_miles smallint not null check (max_travel_miles between 1 and 500),
    time_zone text not null check (char_length(time_zone) <= 64 and time_zone ~ '^[A-Za-z0-9_+/-]+$'),
    locale text not null check (char_length(locale) <= 35 and locale ~ '^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$'),
    active boolean not null,
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now()
);

comment on table public.user_profiles is 'One row a person, id being that of the auth user. Holds no place.';

alter table public.user_profiles enable row level security;
revoke all on table public.user_profiles from public, anon, authenticated;
grant select, insert, update, delete on table public.user_profiles to service_role;
grant select on table public.user_profiles to authenticated;
create policy "People read their own profile" on public.user_profiles
    for select to authenticated using (id = (select auth.uid()));

create table public.user_locations (
    user_id uuid primary key references public.user_profiles on delete cascade,
    latitude double precision not null check (latitude between -90 and 90),
    longitude double precision not null check (longitude between -180 and 180)
);

comment on table public.user_locations is
    'The true place of each person, in degrees. Read by nothing but enter_match_pool.';

alter table public.user_locations enable row level security;
revoke all on table public.user_locations from public, anon, authenticated;
grant select, insert, update, delete on table public.user_locations to service_role;

create function internal.erased_user_id()
    returns uuid
    language sql
    immutable
    parallel safe
    return '00000000-0000-0000-0000-000000000000'::uuid;

comment on function internal.erased_user_id is 'Returns the id that answers show for a person who was erased.';

create function internal.profile_json(p_profile public.user_profiles)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return to_jsonb(p_profile) - 'id' || jsonb_build_object('user_id', p_profile.id);
end
$$;

comment on function internal.profile_json is 'Returns a profile under the field names of the API.';

create function internal.raise_profile_not_found(p_user_id uuid)
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_error(
        'WM404', 'PROFILE_NOT_FOUND', 'no profile exists for this user_id', jsonb_build_object('user_id', p_user_id))
$$;

comment on function internal.raise_profile_not_found is 'Raises WM404 PROFILE_NOT_FOUND.';

create function internal.raise_broken_rule(p_table text, p_column text, p_check text)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    -- A check names no column, but is itself named <table>_<column>_check.
    field constant text := coalesce(
        nullif(p_column, ''), regexp_replace(substr(p_check, length(p_table) + 2), '_check$', ''));
begin
    perform internal.raise_invalid(
        case p_table when 'user_locations' then 'profile.location.' else 'profile.' end || field,
        'the value breaks a rule of this field');
end
$$;

comment on function internal.raise_broken_rule is
    'Raises WM400 FIELD_INVALID about the field whose column is null or fails its check.';

create function internal.store_profile(p_user_id uuid, p_profile jsonb)
    returns void
    language plpgsql
    set search_path = ''
as $$
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
        update_time = now();
end
$$;

comment on function internal.store_profile is
    'Creates or replaces the row of user_profiles; fields left out take their defaults.';

create function internal.store_location(p_user_id uuid, p_location jsonb)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    if p_location is null or p_location = 'null' then
        perform internal.require(
            exists (select from public.user_locations l where l.user_id = p_user_id),
            'profile.location', 'a new profile needs a location');
        return;
    end if;
    insert into public.user_locations (user_id, latitude, longitude)
    values (p_user_id, (p_location ->> 'latitude')::double precision, (p_location ->> 'longitude')::double precision)
    on conflict (user_id) do update set latitude = excluded.latitude, longitude = excluded.longitude;
end
$$;

comment on function internal.store_location is
    'Stores the true place; without one keeps the stored place, or raises WM400 if there is none.';

create function public.upsert_profile(p_profile jsonb, p_request_id uuid default null)
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
    answer := internal.recall_answer('upsert_profile', person, p_request_id, asked);
    if answer is not null then
        return answer;
    end if;
    perform internal.store_profile(person, asked);
    perform internal.store_location(person, asked -> 'location');
    -- Raises class 22 for a name that no clock knows.
    perform now() at time zone p.time_zone from public.user_profiles p where p.id = person;
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

comment on function public.upsert_profile is
    'Creates or replaces a profile and what matching knows of it, in one step. Returns {"profile": ...} without '
    'location. Raises WM400 FIELD_INVALID, WM400 REQUEST_ID_REUSED.';

create function public.get_profile(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    profile public.user_profiles;
begin
    select * into profile from public.user_profiles p where p.id = p_user_id;
    if not found then
        perform internal.raise_profile_not_found(p_user_id);
    end if;
    return jsonb_build_object('profile', internal.profile_json(profile));
end
$$;

comment on function public.get_profile is
    'Returns {"profile": ...} without location. Raises WM404 PROFILE_NOT_FOUND.';

revoke execute on function public.upsert_profile, public.get_profile from public, anon, authenticated;
grant execute on function public.upsert_profile, public.get_profile to service_role;

-- Who can be met, and where: one narrow row a person, and who is kept apart from whom.
--
-- A row of match_pool is also the lock on everything that changes between its person and others.

create function internal.distance_miles(
    p_latitude double precision, p_longitude double precision,
    p_other_latitude double precision, p_other_longitude double precision
)
    returns double precision
    language sql
    immutable
    parallel safe
    -- Haversine on the mean radius of 3958.7613 miles. Not STRICT: with LEAST that would keep it from being inlined.
    return 7917.5226 * asin(least(1.0, sqrt(
        power(sin(radians(p_other_latitude - p_latitude) / 2), 2)
        + cos(radians(p_latitude)) * cos(radians(p_other_latitude))
        * power(sin(radians(p_other_longitude - p_longitude) / 2), 2)
    )));

comment on function internal.distance_miles is
    'Returns the great-circle distance of two places in degrees, in statute miles.';

create function internal.map_point(p_latitude double precision, p_longitude double precision)
    returns point
    language sql
    immutable
    parallel safe
    return point(p_longitude, degrees(asinh(tan(radians(greatest(-85, least(85, p_latitude)))))));

comment on function internal.map_point is
    'Returns the place in a Mercator plane, in degrees. The plane keeps angles, so near is near in every direction.';

create table public.match_pool (
    user_id uuid primary key references public.user_profiles on delete cascade,
    latitude double precision not null,
    longitude double precision not null,
    coarse boolean not null,
    level smallint not null check (level between 1 and 3),
    max_travel_miles smallint not null,
    reputation smallint not null default 0 check (reputation between -5 and 20),
    active boolean not null,
    -- The one pending match a person can hold, and until when it keeps others away. Both change only under this row's
    -- lock; a match that has expired frees the person by the clock alone, without anybody writing here.
    pending_match_id uuid,
    busy_until timestamptz not null default '-infinity',
    map_point point not null generated always as (internal.map_point(latitude, longitude)) stored
)
-- Every search reads this table and every match writes two rows of it: room for in-page updates, and early clean-up.
with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02);

comment on table public.match_pool is
    'What matching knows of each person. The place is the true one only if the person shows it precisely.';

create index match_pool_nearby on public.match_pool using gist (map_point) where active;

alter table public.match_pool enable row level security;
revoke all on table public.match_pool from public, anon, authenticated;
grant select, insert, update, delete on table public.match_pool to service_role;

create table public.avoidances (
    user_id uuid not null references public.user_profiles on delete cascade,
    other_id uuid not null references public.user_profiles on delete cascade,
    cause text not null check (cause in ('PAIRED', 'BLOCKED', 'BLOCKED_BY')),
    until timestamptz not null,
    primary key (user_id, other_id, cause) include (until)
);

comment on table public.avoidances is
    'Whom a person is not matched with, until when and why; one row for each of the two.';

create index avoidances_other on public.avoidances (other_id);

alter table public.avoidances enable row level security;
revoke all on table public.avoidances from public, anon, authenticated;
grant select, insert, update, delete on table public.avoidances to service_role;

create function internal.city_point(p_user_id uuid, p_latitude double precision, p_longitude double precision)
    returns point
    language plpgsql
    immutable
    set search_path = ''
as $$
declare
    -- Bands of a tenth of a degree, cut into cells that are about as wide as they are high (some seven miles).
    band constant integer := least(floor((p_latitude + 90) * 10), 1799);
    cells constant integer := greatest(1, floor(3600 * cosd(band / 10.0 - 89.95)));
    cell constant integer := least(floor((p_longitude + 180) / 360 * cells), cells - 1);
    -- Nothing but the person and the cell goes in, so no set of distances can tell more than the cell.
    noise constant text := encode(sha256(convert_to(p_user_id || '/' || band || '/' || cell, 'UTF8')), 'hex');
    across constant double precision := ('x' || substr(noise, 1, 8))::bit(32)::bigint / 4294967296.0;
    up constant double precision := ('x' || substr(noise, 9, 8))::bit(32)::bigint / 4294967296.0;
begin
    return point((cell + across) * 360 / cells - 180, (band + up) / 10 - 90);
end
$$;

comment on function internal.city_point is
    'Returns a stand-in (longitude, latitude) for a place of which only the area may be known: a point of the same '
    'cell that depends on the person and the cell alone.';

create function internal.enter_match_pool(p_user_id uuid)
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
        select case p.location_privacy
            when 'CITY_ONLY' then internal.city_point(p.id, l.latitude, l.longitude)
            else point(l.longitude, l.latitude)
        end as shown
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

comment on function internal.enter_match_pool is
    'Brings the person''s row of match_pool up to date with profile and location.';

create function internal.lock_people(p_user_ids uuid[])
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform from public.match_pool m where m.user_id = any (p_user_ids) order by m.user_id for no key update;
end
$$;

comment on function internal.lock_people is
    'Locks these people''s rows of match_pool until the transaction ends. May wait; call it once, before any other '
    'lock.';

create function internal.lock_person(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.lock_people(array[p_user_id]);
    if not exists (select from public.user_profiles p where p.id = p_user_id) then
        perform internal.raise_profile_not_found(p_user_id);
    end if;
end
$$;

comment on function internal.lock_person is 'Locks the person as lock_people does. Raises WM404 PROFILE_NOT_FOUND.';

create function internal.avoid_pair(p_user_id uuid, p_other_id uuid, p_until timestamptz)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    insert into public.avoidances (user_id, other_id, cause, until)
    values (p_user_id, p_other_id, 'PAIRED', p_until), (p_other_id, p_user_id, 'PAIRED', p_until)
    on conflict (user_id, other_id, cause) do update set until = excluded.until;
end
$$;

comment on function internal.avoid_pair is
    'Keeps two people from being paired again until then. The caller has locked both.';

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
            else greatest(0.1, round(p_distance * 10) / 10)
        end,
        'reputation', p_reputation
    );

comment on function internal.candidate_json is
    'Returns what another person may see. Distances are never 0, and in steps of 5 miles if either shows only the '
    'city.';

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

create function internal.require_rank(p_seeker internal.seeker, p_user_id uuid)
    returns internal.candidate_rank
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    person public.match_pool;
begin
    select * into person from public.match_pool m where m.user_id = p_user_id;
    if not found then
        perform internal.raise_invalid('page_token', 'the page before this one is gone', 'PAGE_TOKEN_INVALID');
    end if;
    return internal.rank_of(p_seeker, person);
end
$$;

comment on function internal.require_rank is
    'Returns the place in the order. Raises WM400 PAGE_TOKEN_INVALID if the person is gone.';

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
    p_after uuid default null
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
    if p_after is not null then
        after := internal.require_rank(seeker, p_after);
    end if;
    -- One more than asked shows whether a page follows.
    ranks := array(select r from internal.nearest_candidates(seeker, page_size + 1, after) r);
    return jsonb_build_object(
        'candidates', internal.candidates_json(seeker, ranks[1:page_size]),
        'next_after', case when cardinality(ranks) > page_size then ranks[page_size].user_id end);
end
$$;

comment on function public.list_candidates is
    'Returns {"candidates": [...], "next_after": uuid or null}, nearest first; p_after is next_after of the page '
    'before. Raises WM404 PROFILE_NOT_FOUND, WM409 PROFILE_INACTIVE, WM400 FIELD_INVALID, WM400 PAGE_TOKEN_INVALID.';

revoke execute on function public.list_candidates from public, anon, authenticated;
grant execute on function public.list_candidates to service_role;

-- Which migrations this database has, and how old a server may be that works on it.

create function internal.oldest_server_of(p_migration jsonb)
    returns text
    language sql
    immutable
    set search_path = ''
as $$
    select substring(p_migration -> 'statements' ->> 0 from '^-- oldest-server: ([0-9]{14})\s')
$$;

comment on function internal.oldest_server_of is
    'Returns what the first line of an applied migration says: the newest migration that the oldest server knows which '
    'works after it; null if the history does not have that line.';

create function public.get_migrations()
    returns jsonb
    language plpgsql
    stable
    -- The history belongs to whoever migrates; servers may read this much of it.
    security definer
    set search_path = ''
as $$
declare
    migrations jsonb;
begin
    if to_regclass('supabase_migrations.schema_migrations') is null then
        return '[]';
    end if;
    -- By to_jsonb, because the first versions of Supabase's CLI made the table without the column of statements.
    select coalesce(jsonb_agg(jsonb_build_object(
            'version', m.version, 'oldest_server', internal.oldest_server_of(to_jsonb(m))) order by m.version), '[]')
        into migrations
    from supabase_migrations.schema_migrations m;
    return migrations;
end
$$;

comment on function public.get_migrations is
    'Returns [{"version", "oldest_server"}] of the applied migrations, oldest first; see internal.oldest_server_of.';

revoke execute on function public.get_migrations from public, anon, authenticated;
grant execute on function public.get_migrations to service_role;

-- Invitations and what becomes of them.
--
-- Two rows of match_pool are the lock on everything between two people, and lock_people is the only thing that waits.
-- It is called once a transaction, before any other lock on people or matches, and takes its rows in the order of
-- user_id; whatever needs another person after that skips those who are locked. So there is no circular wait.

create table public.matches (
    id uuid primary key default gen_random_uuid(),
    requester_id uuid references public.user_profiles,
    invitee_id uuid references public.user_profiles,
    state text not null default 'PENDING'
        check (state in ('PENDING', 'ACCEPTED', 'DECLINED', 'CANCELLED', 'EXPIRED', 'ENDED')),
    venue_suggestion text not null check (char_length(venue_suggestion) <= 200 and venue_suggestion !~ '[[:cntrl:]]'),
    message text not null check (char_length(message) <= 500),
    create_time timestamptz not null default now(),
    respond_time timestamptz,
    expire_time timestamptz not null default now() + interval '72 hours',
    check (requester_id <> invitee_id)
);

comment on table public.matches is
    'One row an invitation. PENDING past expire_time means EXPIRED, whether or not expire_matches has been there.';
comment on column public.matches.requester_id is 'Null once the person was erased.';
comment on column public.matches.invitee_id is 'Null once the person was erased.';

create unique index matches_one_live_pair
    on public.matches (least(requester_id, invitee_id), greatest(requester_id, invitee_id))
    where state in ('PENDING', 'ACCEPTED');
create index matches_by_requester on public.matches (requester_id, create_time desc, id desc);
create index matches_by_invitee on public.matches (invitee_id, create_time desc, id desc);
create index matches_expiring on public.matches (expire_time) where state = 'PENDING';
create index matches_of_nobody on public.matches (id) where requester_id is null and invitee_id is null;

alter table public.matches enable row level security;
revoke all on table public.matches from public, anon, authenticated;
grant select, insert, update, delete on table public.matches to service_role;
grant select on table public.matches to authenticated;
create policy "People read matches they take part in" on public.matches
    for select to authenticated using ((select auth.uid()) in (requester_id, invitee_id));

create function internal.state_now(p_match public.matches)
    returns text
    language sql
    stable
    return case when p_match.state = 'PENDING' and p_match.expire_time <= now() then 'EXPIRED' else p_match.state end;

comment on function internal.state_now is 'Returns the state of the match at this moment.';

create function internal.match_json(p_match public.matches)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return to_jsonb(p_match) || jsonb_build_object(
        'requester_id', coalesce(p_match.requester_id, internal.erased_user_id()),
        'invitee_id', coalesce(p_match.invitee_id, internal.erased_user_id()),
        'state', internal.state_now(p_match));
end
$$;

comment on function internal.match_json is 'Returns a match under the field names of the API.';

create function internal.match_and_other(p_match_id uuid, p_user_id uuid, p_match_key text, p_other_key text)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (
        select jsonb_build_object(
            p_match_key, internal.match_json(m),
            p_other_key, internal.describe_candidate(
                p_user_id, case p_user_id when m.requester_id then m.invitee_id else m.requester_id end))
        from (select) always
        left join public.matches m on m.id = p_match_id
    );
end
$$;

comment on function internal.match_and_other is
    'Returns the match and its other person as the person sees them, under these keys; nulls if p_match_id is null.';

create function internal.require_match(p_match_id uuid, p_user_id uuid)
    returns public.matches
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    found_match public.matches;
begin
    select * into found_match from public.matches m
    where m.id = p_match_id and p_user_id in (m.requester_id, m.invitee_id);
    if not found then
        perform internal.raise_error('WM404', 'MATCH_NOT_FOUND', 'no such match exists for this person',
            jsonb_build_object('match_id', p_match_id));
    end if;
    return found_match;
end
$$;

comment on function internal.require_match is
    'Returns the match to one of its two people. Raises WM404 MATCH_NOT_FOUND, to a stranger too.';

create function internal.raise_match_not_pending(p_match_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.raise_error('WM409', 'MATCH_NOT_PENDING', 'the match is no longer pending',
        jsonb_build_object('match_id', m.id, 'state', internal.state_now(m)))
    from public.matches m
    where m.id = p_match_id;
    perform internal.raise_error('WM404', 'MATCH_NOT_FOUND', 'no such match exists for this person',
        jsonb_build_object('match_id', p_match_id));
end
$$;

comment on function internal.raise_match_not_pending is
    'Raises WM409 MATCH_NOT_PENDING with the state of the match, or WM404 MATCH_NOT_FOUND if it is gone.';

create function internal.notify_of_match(
    p_match public.matches, p_kind text, p_sender_id uuid, p_recipient_id uuid, p_name_key text, p_details jsonb
)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.enqueue_notification(
        p_kind => p_kind,
        p_user_id => p_recipient_id,
        p_payload => jsonb_build_object(p_name_key, p.first_name) || p_details,
        p_dedupe_key => 'match/' || p_match.id || '/' || lower(split_part(p_kind, '_', 2)),
        p_match_id => p_match.id,
        p_expire_time => case p_kind when 'MATCH_INVITATION' then p_match.expire_time end)
    from public.user_profiles p
    where p.id = p_sender_id;
end
$$;

comment on function internal.notify_of_match is
    'Writes the email of p_kind about the match; p_name_key is the key under which the sender''s first name goes.';

create function internal.mark_expired(p_match_ids uuid[])
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
    perform internal.cancel_notifications(p_match_id => id, p_kind => 'MATCH_INVITATION') from unnest(expired) id;
    return coalesce(cardinality(expired), 0);
end
$$;

comment on function internal.mark_expired is
    'Marks those of the matches EXPIRED that are pending and past their time, and returns how many. Never waits. '
    'Their people are free already: match_pool.busy_until has passed.';

create function public.expire_matches(p_limit integer default 100)
    returns jsonb
    language sql
    set search_path = ''
as $$
    select jsonb_build_object('expired', internal.mark_expired(array(
        select m.id from public.matches m
        where m.state = 'PENDING' and m.expire_time <= now()
        order by m.expire_time
        limit p_limit
        for update skip locked
    )))
$$;

comment on function public.expire_matches is
    'Marks at most p_limit pending matches EXPIRED that are past their time. Returns {"expired": n}. Any number may '
    'run at once.';

create function internal.release_people(p_match public.matches)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    update public.match_pool m set pending_match_id = null, busy_until = '-infinity'
    where m.user_id in (p_match.requester_id, p_match.invitee_id) and m.pending_match_id = p_match.id;
end
$$;

comment on function internal.release_people is
    'Releases both people from a match that is no longer pending. The caller has locked both.';

create function internal.create_match(p_requester_id uuid, p_invitee_id uuid, p_venue_suggestion text, p_message text)
    returns uuid
    language plpgsql
    set search_path = ''
as $$
declare
    created public.matches;
    seated integer;
begin
    perform internal.mark_expired(array(
        select m.pending_match_id from public.match_pool m where m.user_id in (p_requester_id, p_invitee_id)));
    insert into public.matches (requester_id, invitee_id, venue_suggestion, message)
    values (p_requester_id, p_invitee_id, p_venue_suggestion, p_message)
    returning * into created;
    update public.match_pool m set pending_match_id = created.id, busy_until = created.expire_time
    where m.user_id in (p_requester_id, p_invitee_id) and m.busy_until <= now();
    get diagnostics seated = row_count;
    -- The caller has looked, under the locks; this keeps one pending match a person even if a caller ever forgets.
    if seated <> 2 then
        perform internal.raise_conflict();
    end if;
    perform internal.avoid_pair(p_requester_id, p_invitee_id, now() + interval '7 days');
    perform internal.notify_of_match(created, 'MATCH_INVITATION', p_requester_id, p_invitee_id, 'inviter_name',
        jsonb_build_object('venue_suggestion', p_venue_suggestion, 'message', p_message));
    return created.id;
end
$$;

comment on function internal.create_match is
    'Creates a pending match and its invitation email and returns its id. The caller has locked both people and has '
    'checked the rules.';

create function internal.settle_match(p_match public.matches, p_state text)
    returns public.matches
    language plpgsql
    set search_path = ''
as $$
declare
    settled public.matches;
begin
    update public.matches m
    set state = p_state, respond_time = case when p_state in ('ACCEPTED', 'DECLINED') then now() end
    where m.id = p_match.id and m.state = 'PENDING' and m.expire_time > now()
    returning * into settled;
    if not found then
        perform internal.raise_match_not_pending(p_match.id);
    end if;
    perform internal.release_people(settled);
    perform internal.cancel_notifications(p_match_id => settled.id, p_kind => 'MATCH_INVITATION');
    return settled;
end
$$;

comment on function internal.settle_match is
    'Takes a pending match to p_state, frees its people and drops an invitation email not sent yet. The caller holds '
    'both people. Raises WM409 MATCH_NOT_PENDING.';

create function internal.accept_match(p_match public.matches)
    returns public.matches
    language plpgsql
    set search_path = ''
as $$
declare
    accepted constant public.matches := internal.settle_match(p_match, 'ACCEPTED');
begin
    -- While the match lives the two are not paired anew.
    perform internal.avoid_pair(accepted.requester_id, accepted.invitee_id, 'infinity');
    perform internal.notify_of_match(accepted, 'MATCH_ACCEPTANCE', accepted.invitee_id, accepted.requester_id,
        'accepter_name', jsonb_build_object('venue_name', accepted.venue_suggestion));
    return accepted;
end
$$;

comment on function internal.accept_match is
    'Accepts a pending match. The caller has locked both people. Raises WM409 MATCH_NOT_PENDING.';

create function internal.decline_match(p_match public.matches)
    returns public.matches
    language plpgsql
    set search_path = ''
as $$
declare
    declined constant public.matches := internal.settle_match(p_match, 'DECLINED');
begin
    perform internal.notify_of_match(declined, 'MATCH_DECLINE', declined.invitee_id, declined.requester_id,
        'decliner_name', '{}');
    return declined;
end
$$;

comment on function internal.decline_match is
    'Declines a pending match. The caller has locked both people. Raises WM409 MATCH_NOT_PENDING.';

create function internal.accept_invitation_by(p_inviter_id uuid, p_user_id uuid)
    returns uuid
    language plpgsql
    set search_path = ''
as $$
declare
    invitation public.matches;
begin
    select m.* into invitation
    from public.match_pool me
    join public.matches m on m.id = me.pending_match_id
    where me.user_id = p_user_id and m.requester_id = p_inviter_id and internal.state_now(m) = 'PENDING';
    if found then
        perform internal.accept_match(invitation);
    end if;
    return invitation.id;
end
$$;

comment on function internal.accept_invitation_by is
    'Accepts the inviter''s pending invitation to the person and returns its id, or null if there is none. The '
    'caller holds both.';

create function internal.end_accepted_match(p_match public.matches)
    returns public.matches
    language plpgsql
    set search_path = ''
as $$
declare
    ended public.matches;
begin
    perform internal.cancel_meetups_of_match(p_match.id);
    update public.matches m set state = 'ENDED' where m.id = p_match.id and m.state = 'ACCEPTED'
    returning * into ended;
    if not found then
        perform internal.raise_match_not_accepted(m) from public.matches m where m.id = p_match.id;
    end if;
    perform internal.avoid_pair(ended.requester_id, ended.invitee_id, now() + interval '7 days');
    return ended;
end
$$;

comment on function internal.end_accepted_match is
    'Ends an accepted match and cancels its meetup; the two can be paired again in a week. The caller has locked both '
    'people. Raises WM409 MATCH_NOT_ACCEPTED.';

revoke execute on function public.expire_matches from public, anon, authenticated;
grant execute on function public.expire_matches to service_role;

-- Inviting: the nearest person, or the one named.

create function internal.require_free(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.raise_error('WM409', 'PENDING_MATCH_EXISTS', 'the person holds a pending match already',
        jsonb_build_object('match_id', m.pending_match_id))
    from public.match_pool m
    where m.user_id = p_user_id and m.busy_until > now();
end
$$;

comment on function internal.require_free is 'Raises WM409 PENDING_MATCH_EXISTS if the person holds a pending match.';

create function internal.require_daily_allowance(p_user_id uuid, p_max_daily_matches integer)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    -- The maximum is used up while the request that many requests ago is within the last 24 hours.
    perform internal.raise_error('WM429', 'DAILY_MATCH_LIMIT', 'the person made the daily maximum of requests',
        jsonb_build_object(
            'limit', p_max_daily_matches::text,
            'retry_after_seconds', ceil(extract(epoch from oldest.create_time + interval '24 hours' - now()))::text))
    from (
        select m.create_time from public.matches m
        where m.requester_id = p_user_id
        order by m.create_time desc, m.id desc
        offset p_max_daily_matches - 1
        limit 1
    ) oldest
    where oldest.create_time > now() - interval '24 hours';
end
$$;

comment on function internal.require_daily_allowance is
    'Raises WM429 DAILY_MATCH_LIMIT if the person made the maximum of requests in the last 24 hours. Exact for a '
    'caller who has locked the person.';

create function internal.require_candidate_exists(p_candidate_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.raise_error('WM404', 'CANDIDATE_NOT_FOUND', 'no profile exists for this candidate_user_id',
        jsonb_build_object('candidate_user_id', p_candidate_user_id))
    where not exists (select from public.match_pool m where m.user_id = p_candidate_user_id);
end
$$;

comment on function internal.require_candidate_exists is 'Raises WM404 CANDIDATE_NOT_FOUND.';

create function internal.require_available(p_seeker internal.seeker, p_candidate_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    -- One reason for all rules: which of them kept the two apart is the candidate's own business.
    perform internal.raise_error('WM409', 'CANDIDATE_UNAVAILABLE', 'the person cannot be invited now',
        jsonb_build_object('candidate_user_id', m.user_id))
    from public.match_pool m
    where m.user_id = p_candidate_user_id and not internal.is_compatible(p_seeker, m);
end
$$;

comment on function internal.require_available is
    'Raises WM409 CANDIDATE_UNAVAILABLE if the seeker may not invite the person now.';

create function internal.invite_named(
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
    perform internal.require_candidate_exists(p_candidate_user_id);
    perform internal.require_free(p_user_id);
    perform internal.require_daily_allowance(p_user_id, p_max_daily_matches);
    perform internal.require_available(seeker, p_candidate_user_id);
    return internal.create_match(p_user_id, p_candidate_user_id, p_venue_suggestion, p_message);
end
$$;

comment on function internal.invite_named is
    'Invites the named person, or accepts that person''s pending invitation, and returns the match''s id. Raises as '
    'request_match.';

create function internal.invite_nearest(
    p_user_id uuid,
    p_radius_miles double precision,
    p_venue_suggestion text,
    p_message text,
    p_max_daily_matches integer,
    p_holding boolean default false
)
    returns uuid
    language plpgsql
    set search_path = ''
as $$
declare
    holding boolean := p_holding;
    seeker internal.seeker;
    nearest uuid[];
    match_id uuid;
begin
    for attempt in 1..5 loop
        seeker := internal.require_seeker(p_user_id, p_radius_miles);
        perform internal.require_free(p_user_id);
        perform internal.require_daily_allowance(p_user_id, p_max_daily_matches);
        nearest := array(select c.user_id from internal.nearest_candidates(seeker, 8 * attempt) c);
        if holding then
            match_id := internal.invite_first_free(seeker, nearest, p_venue_suggestion, p_message);
        else
            -- Chosen without a lock, so all of it is looked at again with the locks held, once the wait is over.
            perform internal.lock_people(array[p_user_id, nearest[1]]);
            holding := true;
            match_id := internal.accept_invitation_by(nearest[1], p_user_id);
        end if;
        if match_id is not null then
            return match_id;
        end if;
    end loop;
    perform internal.raise_conflict();
    return null;
end
$$;

comment on function internal.invite_nearest is
    'Invites the nearest compatible person and returns the match''s id. With p_holding the caller has locked the person '
    'already, and nothing waits. Raises as request_match.';

create function internal.invite_first_free(
    p_seeker internal.seeker, p_candidates uuid[], p_venue_suggestion text, p_message text
)
    returns uuid
    language plpgsql
    set search_path = ''
as $$
declare
    candidate uuid;
begin
    if p_candidates = '{}' then
        perform internal.raise_error('WM409', 'NO_CANDIDATE', 'nobody compatible is within the radius');
    end if;
    foreach candidate in array p_candidates loop
        perform from public.match_pool m
        where m.user_id = candidate and internal.is_compatible(p_seeker, m)
        for no key update skip locked;
        if found then
            return internal.create_match(p_seeker.user_id, candidate, p_venue_suggestion, p_message);
        end if;
    end loop;
    return null;
end
$$;

comment on function internal.invite_first_free is
    'Invites the first of the candidates who is still compatible and not locked, and returns the match''s id, or '
    'null if all were taken. The caller has locked the seeker. Raises WM409 NO_CANDIDATE if there are none.';

create function public.request_match(
    p_user_id uuid,
    p_candidate_user_id uuid default null,
    p_radius_miles double precision default 25,
    p_venue_suggestion text default '',
    p_message text default '',
    p_max_daily_matches integer default 10,
    p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    -- The daily maximum is the server's setting, no part of what was asked.
    answer jsonb := internal.recall_answer('request_match', p_user_id, p_request_id, jsonb_build_array(
        p_candidate_user_id, p_radius_miles, p_venue_suggestion, p_message));
    match_id uuid;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.require(p_venue_suggestion !~ '[[:cntrl:]]' and char_length(p_venue_suggestion) <= 200,
        'venue_suggestion', 'venue_suggestion must be one line of at most 200 characters');
    perform internal.require(char_length(p_message) <= 500, 'message', 'message must have at most 500 characters');
    perform internal.require(p_max_daily_matches >= 1, 'max_daily_matches', 'max_daily_matches must be at least 1');
    if p_candidate_user_id is null then
        match_id := internal.invite_nearest(
            p_user_id, p_radius_miles, p_venue_suggestion, p_message, p_max_daily_matches);
    else
        match_id := internal.invite_named(
            p_user_id, p_candidate_user_id, p_radius_miles, p_venue_suggestion, p_message, p_max_daily_matches);
    end if;
    return internal.remember_answer('request_match', p_user_id, p_request_id,
        internal.match_and_other(match_id, p_user_id, 'match', 'candidate'));
end
$$;

comment on function public.request_match is
    'Invites the nearest compatible person or the one named, with the email, or accepts the named person''s pending '
    'invitation. Returns {"match": ..., "candidate": ...}. Raises WM404 PROFILE_NOT_FOUND, CANDIDATE_NOT_FOUND; '
    'WM409 PROFILE_INACTIVE, PENDING_MATCH_EXISTS, NO_CANDIDATE, CANDIDATE_UNAVAILABLE; WM429 DAILY_MATCH_LIMIT; '
    'WM400 FIELD_INVALID, REQUEST_ID_REUSED; WM412 CONFLICT.';

revoke execute on function public.request_match from public, anon, authenticated;
grant execute on function public.request_match to service_role;

-- Answering an invitation, withdrawing it, ending an accepted match, and blocking.

create function public.respond_to_match(
    p_match_id uuid,
    p_user_id uuid,
    p_response text,
    p_find_next boolean default false,
    p_radius_miles double precision default 25,
    p_max_daily_matches integer default 10,
    p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer('respond_to_match', p_user_id, p_request_id, jsonb_build_array(
        p_match_id, p_response, p_find_next, p_radius_miles));
    asked public.matches;
    next_id uuid;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.require(p_response in ('ACCEPT', 'DECLINE'), 'response', 'response must be ACCEPT or DECLINE');
    asked := internal.require_match(p_match_id, p_user_id);
    if p_user_id <> asked.invitee_id then
        perform internal.raise_error('WM403', 'NOT_INVITEE', 'only the invited person may respond',
            jsonb_build_object('match_id', p_match_id));
    end if;
    perform internal.lock_people(array[asked.requester_id, asked.invitee_id]);
    if p_response = 'ACCEPT' then
        asked := internal.accept_match(asked);
    else
        asked := internal.decline_match(asked);
        if p_find_next then
            next_id := internal.try_invite_nearest(p_user_id, p_radius_miles, p_max_daily_matches);
        end if;
    end if;
    return internal.remember_answer('respond_to_match', p_user_id, p_request_id,
        jsonb_build_object('match', internal.match_json(asked))
        || internal.match_and_other(next_id, p_user_id, 'next_match', 'next_candidate'));
end
$$;

comment on function public.respond_to_match is
    'Accepts or declines, with the email; on DECLINE with p_find_next also invites the nearest person if that is '
    'possible. Returns {"match": ..., "next_match": ... or null, "next_candidate": ... or null}. Raises WM404 '
    'MATCH_NOT_FOUND, WM403 NOT_INVITEE, WM409 MATCH_NOT_PENDING, WM400 FIELD_INVALID, WM400 REQUEST_ID_REUSED.';

create function internal.try_invite_nearest(
    p_user_id uuid, p_radius_miles double precision, p_max_daily_matches integer
)
    returns uuid
    language plpgsql
    set search_path = ''
as $$
begin
    return internal.invite_nearest(p_user_id, p_radius_miles, '', '', p_max_daily_matches, p_holding => true);
exception
    when sqlstate 'WM404' or sqlstate 'WM409' or sqlstate 'WM412' or sqlstate 'WM429' then
        return null;
end
$$;

comment on function internal.try_invite_nearest is
    'As invite_nearest for a caller who has locked the person, but null where no one can be invited now.';

create function public.cancel_match(p_match_id uuid, p_user_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer('cancel_match', p_user_id, p_request_id, jsonb_build_array(p_match_id));
    asked public.matches;
begin
    if answer is not null then
        return answer;
    end if;
    asked := internal.require_match(p_match_id, p_user_id);
    if p_user_id <> asked.requester_id then
        perform internal.raise_error('WM403', 'NOT_REQUESTER', 'only the requester may cancel',
            jsonb_build_object('match_id', p_match_id));
    end if;
    perform internal.lock_people(array[asked.requester_id, asked.invitee_id]);
    return internal.remember_answer('cancel_match', p_user_id, p_request_id,
        jsonb_build_object('match', internal.match_json(internal.settle_match(asked, 'CANCELLED'))));
end
$$;

comment on function public.cancel_match is
    'Withdraws a pending invitation, and its email if that is not out. Returns {"match": ...}. Raises WM404 '
    'MATCH_NOT_FOUND, WM403 NOT_REQUESTER, WM409 MATCH_NOT_PENDING, WM400 REQUEST_ID_REUSED.';

create function public.end_match(p_match_id uuid, p_user_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer('end_match', p_user_id, p_request_id, jsonb_build_array(p_match_id));
    asked public.matches;
begin
    if answer is not null then
        return answer;
    end if;
    asked := internal.require_match(p_match_id, p_user_id);
    perform internal.lock_people(array[asked.requester_id, asked.invitee_id]);
    -- While this waited, an erasure of both may have taken it along.
    asked := internal.require_match(p_match_id, p_user_id);
    return internal.remember_answer('end_match', p_user_id, p_request_id,
        jsonb_build_object('match', internal.match_json(internal.end_accepted_match(asked))));
end
$$;

comment on function public.end_match is
    'Ends an accepted match. Returns {"match": ...}. Raises WM404 MATCH_NOT_FOUND; WM409 MATCH_NOT_ACCEPTED; WM400 '
    'REQUEST_ID_REUSED.';

create function internal.end_match_between(p_user_id uuid, p_other_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    live public.matches;
begin
    select * into live from public.matches m
    where least(m.requester_id, m.invitee_id) = least(p_user_id, p_other_id)
        and greatest(m.requester_id, m.invitee_id) = greatest(p_user_id, p_other_id)
        and m.state in ('PENDING', 'ACCEPTED');
    case internal.state_now(live)
        when 'ACCEPTED' then perform internal.end_accepted_match(live);
        when 'EXPIRED' then perform internal.mark_expired(array[live.id]);
        when 'PENDING' then
            -- It looks as if the person had answered, or thought better of it: the other learns of no block.
            if live.invitee_id = p_user_id then
                perform internal.decline_match(live);
            else
                perform internal.settle_match(live, 'CANCELLED');
            end if;
        else null;
    end case;
end
$$;

comment on function internal.end_match_between is
    'Ends the live match of two people, if there is one, as the first of them would. The caller has locked both.';

create function public.block_user(p_user_id uuid, p_blocked_user_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer('block_user', p_user_id, p_request_id, jsonb_build_array(p_blocked_user_id));
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.require(p_user_id <> p_blocked_user_id, 'blocked_user_id', 'nobody can block themselves');
    perform internal.lock_people(array[p_user_id, p_blocked_user_id]);
    perform internal.raise_profile_not_found(asked.user_id)
    from (values (p_user_id), (p_blocked_user_id)) asked (user_id)
    where not exists (select from public.match_pool m where m.user_id = asked.user_id);
    perform internal.end_match_between(p_user_id, p_blocked_user_id);
    insert into public.avoidances (user_id, other_id, cause, until)
    values
        (p_user_id, p_blocked_user_id, 'BLOCKED', 'infinity'),
        (p_blocked_user_id, p_user_id, 'BLOCKED_BY', 'infinity')
    on conflict (user_id, other_id, cause) do nothing;
    return internal.remember_answer('block_user', p_user_id, p_request_id, '{}');
end
$$;

comment on function public.block_user is
    'Keeps two people apart until the first unblocks the other, and ends their live match. Repeating it changes '
    'nothing. Returns {}. Raises WM404 PROFILE_NOT_FOUND; WM400 FIELD_INVALID, REQUEST_ID_REUSED.';

create function public.unblock_user(p_user_id uuid, p_blocked_user_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer('unblock_user', p_user_id, p_request_id, jsonb_build_array(p_blocked_user_id));
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.lock_people(array[p_user_id, p_blocked_user_id]);
    delete from public.avoidances a
    where (a.user_id, a.other_id, a.cause) in (
        (p_user_id, p_blocked_user_id, 'BLOCKED'), (p_blocked_user_id, p_user_id, 'BLOCKED_BY'));
    return internal.remember_answer('unblock_user', p_user_id, p_request_id, '{}');
end
$$;

comment on function public.unblock_user is
    'Takes the person''s own block back; the other''s stays. Repeating it changes nothing. Returns {}. Raises WM400 '
    'REQUEST_ID_REUSED.';

revoke execute on function
    public.respond_to_match, public.cancel_match, public.end_match, public.block_user, public.unblock_user
    from public, anon, authenticated;
grant execute on function
    public.respond_to_match, public.cancel_match, public.end_match, public.block_user, public.unblock_user
    to service_role;

-- Reading matches.

create function public.get_match(p_match_id uuid, p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object('match', internal.match_json(internal.require_match(p_match_id, p_user_id)));
end
$$;

comment on function public.get_match is 'Returns {"match": ...} to one of its people. Raises WM404 MATCH_NOT_FOUND.';

create function internal.matches_of(
    p_user_id uuid, p_states text[], p_after_time timestamptz, p_after_id uuid, p_limit integer
)
    returns setof public.matches
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    -- Each half walks its own index and stops after p_limit.
    return query
    (
        select * from public.matches m
        where m.requester_id = p_user_id
            and (m.create_time, m.id) < (p_after_time, p_after_id)
            and (p_states is null or internal.state_now(m) = any (p_states))
        order by m.create_time desc, m.id desc
        limit p_limit
    )
    union all
    (
        select * from public.matches m
        where m.invitee_id = p_user_id
            and (m.create_time, m.id) < (p_after_time, p_after_id)
            and (p_states is null or internal.state_now(m) = any (p_states))
        order by m.create_time desc, m.id desc
        limit p_limit
    )
    order by create_time desc, id desc
    limit p_limit;
end
$$;

comment on function internal.matches_of is
    'Returns the person''s first p_limit matches in these states behind (time, id), newest first.';

create function public.list_matches(
    p_user_id uuid, p_states text[] default null, p_page_size integer default 20, p_after uuid default null
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    page_size constant integer := internal.require_page_size(p_page_size, 20);
    after_time timestamptz := 'infinity';
    found_matches public.matches[];
begin
    perform internal.require(
        p_states is null or p_states <@ array['PENDING', 'ACCEPTED', 'DECLINED', 'CANCELLED', 'EXPIRED', 'ENDED'],
        'states', 'states must be states of a match');
    if p_after is not null then
        after_time := internal.require_time_of_match(p_after, p_user_id);
    end if;
    found_matches := array(
        select m from internal.matches_of(
            p_user_id, nullif(p_states, '{}'), after_time, coalesce(p_after, p_user_id), page_size + 1) m);
    return jsonb_build_object(
        'matches', (
            select coalesce(jsonb_agg(internal.match_json(m) order by m.create_time desc, m.id desc), '[]')
            from unnest(found_matches[1:page_size]) m),
        'next_after', case when cardinality(found_matches) > page_size then found_matches[page_size].id end);
end
$$;

comment on function public.list_matches is
    'Returns {"matches": [...], "next_after": uuid or null}, newest first; p_after is next_after of the page before. '
    'No or empty p_states means all. Raises WM400 FIELD_INVALID, WM400 PAGE_TOKEN_INVALID.';

create function internal.require_time_of_match(p_match_id uuid, p_user_id uuid)
    returns timestamptz
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    created timestamptz;
begin
    select m.create_time into created from public.matches m
    where m.id = p_match_id and p_user_id in (m.requester_id, m.invitee_id);
    if not found then
        perform internal.raise_invalid('page_token', 'the page before this one is gone', 'PAGE_TOKEN_INVALID');
    end if;
    return created;
end
$$;

comment on function internal.require_time_of_match is
    'Returns when a match of the person was made. Raises WM400 PAGE_TOKEN_INVALID if there is no such match.';

revoke execute on function public.get_match, public.list_matches from public, anon, authenticated;
grant execute on function public.get_match, public.list_matches to service_role;

-- The catalogue of challenges. It is public: anybody may read what is in it, and only the service role changes it.

create table public.approach_challenges (
    id uuid primary key default gen_random_uuid(),
    title text not null unique check (char_length(title) between 1 and 80 and title !~ '[[:cntrl:]]'),
    description text not null check (char_length(description) between 1 and 1000),
    difficulty text not null check (difficulty in ('BEGINNER', 'INTERMEDIATE', 'ADVANCED')),
    points smallint not null check (points between 1 and 1000),
    retired boolean not null default false,
    create_time timestamptz not null default now()
);

comment on table public.approach_challenges is
    'One row a challenge. What somebody took on or planned cannot be deleted; it is retired, and leaves the '
    'catalogue.';

alter table public.approach_challenges enable row level security;
revoke all on table public.approach_challenges from public, anon, authenticated;
grant select, insert, update, delete on table public.approach_challenges to service_role;
grant select on table public.approach_challenges to anon, authenticated;
create policy "Everybody reads the catalogue" on public.approach_challenges
    for select to anon, authenticated using (not retired);

create function internal.challenge_json(p_challenge public.approach_challenges)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return to_jsonb(p_challenge) - 'retired' - 'create_time';
end
$$;

comment on function internal.challenge_json is 'Returns a challenge under the field names of the API.';

create function public.list_challenges(p_known_version text default null)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    catalogue constant jsonb := (
        select coalesce(jsonb_agg(internal.challenge_json(c) order by
            array_position(array['BEGINNER', 'INTERMEDIATE', 'ADVANCED'], c.difficulty), c.points, c.title), '[]')
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

comment on function public.list_challenges is
    'Returns {"version": ..., "challenges": [...]}, the whole catalogue, the easiest first, of equally hard ones '
    'those with fewer points first; without "challenges" if its version is p_known_version. Equal versions mean '
    'equal catalogues.';

create function internal.require_challenge(p_challenge_id uuid)
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    if p_challenge_id is not null and not exists (
        select from public.approach_challenges c where c.id = p_challenge_id and not c.retired
    ) then
        perform internal.raise_error('WM404', 'CHALLENGE_NOT_FOUND', 'no such challenge exists',
            jsonb_build_object('challenge_id', p_challenge_id));
    end if;
end
$$;

comment on function internal.require_challenge is
    'Raises WM404 CHALLENGE_NOT_FOUND unless the challenge is in the catalogue; null passes.';

create function internal.notify_challenges_changed()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    notify challenges;
    return null;
end
$$;

comment on function internal.notify_challenges_changed is
    'Tells those who listen that the catalogue may have changed.';

create trigger approach_challenges_changed
    after insert or update or delete or truncate on public.approach_challenges
    for each statement execute function internal.notify_challenges_changed();

revoke execute on function public.list_challenges from public, anon, authenticated;
grant execute on function public.list_challenges to service_role;
grant execute on function public.list_challenges to anon;

-- Challenges that people took on, and what became of them.
--
-- Whatever changes those of a person locks the person first, so that two changes at once come one after the other and
-- none comes after an erasure.

create table public.user_challenges (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.user_profiles on delete cascade,
    challenge_id uuid not null references public.approach_challenges,
    state text not null default 'STARTED' check (state in ('STARTED', 'SUBMITTED', 'EXPIRED')),
    notes text not null default '' check (char_length(notes) <= 4000),
    earned_points smallint not null default 0 check (earned_points >= 0),
    create_time timestamptz not null default now(),
    submit_time timestamptz,
    expire_time timestamptz not null,
    check ((state = 'SUBMITTED') = (submit_time is not null)),
    check (state = 'SUBMITTED' or earned_points = 0)
);

comment on table public.user_challenges is
    'One row an attempt of a person at a challenge. STARTED past expire_time means EXPIRED, whether or not that is '
    'written.';

create unique index user_challenges_one_under_way
    on public.user_challenges (user_id, challenge_id) where state = 'STARTED';
create index user_challenges_of_user on public.user_challenges (user_id, create_time desc, id desc);
create index user_challenges_of_challenge on public.user_challenges (challenge_id);

alter table public.user_challenges enable row level security;
revoke all on table public.user_challenges from public, anon, authenticated;
grant select, insert, update, delete on table public.user_challenges to service_role;
grant select on table public.user_challenges to authenticated;
create policy "People read the challenges they took on" on public.user_challenges
    for select to authenticated using (user_id = (select auth.uid()));

create function internal.user_challenge_state(p_attempt public.user_challenges)
    returns text
    language sql
    stable
    return case when p_attempt.state = 'STARTED' and p_attempt.expire_time <= now() then 'EXPIRED'
        else p_attempt.state end;

comment on function internal.user_challenge_state is 'Returns the state of the attempt at this moment.';

create function internal.user_challenge_json(p_attempt public.user_challenges)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return to_jsonb(p_attempt) - 'challenge_id' || jsonb_build_object(
        'state', internal.user_challenge_state(p_attempt),
        'challenge', (
            select internal.challenge_json(c) from public.approach_challenges c where c.id = p_attempt.challenge_id));
end
$$;

comment on function internal.user_challenge_json is 'Returns an attempt under the field names of the API.';

create function internal.total_points(p_user_id uuid)
    returns integer
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (select coalesce(sum(u.earned_points), 0) from public.user_challenges u where u.user_id = p_user_id);
end
$$;

comment on function internal.total_points is 'Returns all the points that the person ever earned.';

create function internal.require_user_challenge(p_user_challenge_id uuid, p_user_id uuid)
    returns public.user_challenges
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    attempt public.user_challenges;
begin
    select * into attempt from public.user_challenges u where u.id = p_user_challenge_id and u.user_id = p_user_id;
    if not found then
        perform internal.raise_error('WM404', 'USER_CHALLENGE_NOT_FOUND', 'the person has no such started challenge',
            jsonb_build_object('user_challenge_id', p_user_challenge_id));
    end if;
    return attempt;
end
$$;

comment on function internal.require_user_challenge is
    'Returns the attempt to the person whose it is. Raises WM404 USER_CHALLENGE_NOT_FOUND, to a stranger too.';

create function internal.require_not_under_way(p_user_id uuid, p_challenge_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    under_way uuid;
begin
    update public.user_challenges u set state = 'EXPIRED'
    where u.user_id = p_user_id and u.challenge_id = p_challenge_id
        and u.state = 'STARTED' and u.expire_time <= now();
    select u.id into under_way from public.user_challenges u
    where u.user_id = p_user_id and u.challenge_id = p_challenge_id and u.state = 'STARTED';
    if found then
        perform internal.raise_error('WM409', 'CHALLENGE_IN_PROGRESS', 'the person has this challenge under way',
            jsonb_build_object('user_challenge_id', under_way));
    end if;
end
$$;

comment on function internal.require_not_under_way is
    'Records that attempts at the challenge have expired. The caller has locked the person. Raises WM409 '
    'CHALLENGE_IN_PROGRESS if one has not.';

create function public.start_challenge(
    p_user_id uuid, p_challenge_id uuid, p_duration_days integer default 7, p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer(
        'start_challenge', p_user_id, p_request_id, jsonb_build_array(p_challenge_id));
    started public.user_challenges;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.lock_person(p_user_id);
    perform internal.require_challenge(p_challenge_id);
    perform internal.require_not_under_way(p_user_id, p_challenge_id);
    insert into public.user_challenges (user_id, challenge_id, expire_time)
    values (p_user_id, p_challenge_id, now() + p_duration_days * interval '24 hours')
    returning * into started;
    return internal.remember_answer('start_challenge', p_user_id, p_request_id,
        jsonb_build_object('user_challenge', internal.user_challenge_json(started)));
end
$$;

comment on function public.start_challenge is
    'Lets the person take a challenge of the catalogue on. Returns {"user_challenge": ...}. Raises WM404 '
    'PROFILE_NOT_FOUND, CHALLENGE_NOT_FOUND; WM409 CHALLENGE_IN_PROGRESS; WM400 REQUEST_ID_REUSED.';

create function public.submit_challenge(
    p_user_challenge_id uuid, p_user_id uuid, p_notes text default '', p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer(
        'submit_challenge', p_user_id, p_request_id, jsonb_build_array(p_user_challenge_id, p_notes));
    attempt public.user_challenges;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.require(char_length(p_notes) <= 4000, 'notes', 'notes must have at most 4000 characters');
    perform internal.lock_people(array[p_user_id]);
    attempt := internal.require_user_challenge(p_user_challenge_id, p_user_id);
    if internal.user_challenge_state(attempt) <> 'STARTED' then
        perform internal.raise_error('WM409', 'CHALLENGE_' || internal.user_challenge_state(attempt),
            'the challenge is no longer under way', jsonb_build_object('user_challenge_id', attempt.id));
    end if;
    update public.user_challenges u
    set state = 'SUBMITTED', submit_time = now(), notes = p_notes, earned_points = c.points
    from public.approach_challenges c
    where u.id = attempt.id and u.state = 'STARTED' and c.id = u.challenge_id
    returning u.* into attempt;
    return internal.remember_answer('submit_challenge', p_user_id, p_request_id, jsonb_build_object(
        'user_challenge', internal.user_challenge_json(attempt), 'total_points', internal.total_points(p_user_id)));
end
$$;

comment on function public.submit_challenge is
    'Submits an attempt that is under way and credits its points. Returns {"user_challenge": ..., "total_points": '
    'n}. Raises WM404 USER_CHALLENGE_NOT_FOUND; WM409 CHALLENGE_SUBMITTED, CHALLENGE_EXPIRED; WM400 FIELD_INVALID, '
    'REQUEST_ID_REUSED.';

create function public.list_user_challenges(
    p_user_id uuid, p_states text[] default null, p_page_size integer default 20, p_after uuid default null
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    page_size constant integer := internal.require_page_size(p_page_size, 20);
    states constant text[] := nullif(p_states, '{}');
    after_time timestamptz := 'infinity';
    attempts public.user_challenges[];
begin
    perform internal.require(states is null or states <@ array['STARTED', 'SUBMITTED', 'EXPIRED'],
        'states', 'states must be states of a started challenge');
    if p_after is not null then
        after_time := internal.require_time_of_user_challenge(p_after, p_user_id);
    end if;
    attempts := array(
        select u from public.user_challenges u
        where u.user_id = p_user_id
            and (u.create_time, u.id) < (after_time, coalesce(p_after, p_user_id))
            and (states is null or internal.user_challenge_state(u) = any (states))
        order by u.create_time desc, u.id desc
        limit page_size + 1);
    return jsonb_build_object(
        'user_challenges', (
            select coalesce(jsonb_agg(internal.user_challenge_json(u) order by u.create_time desc, u.id desc), '[]')
            from unnest(attempts[1:page_size]) u),
        'next_after', case when cardinality(attempts) > page_size then attempts[page_size].id end,
        'total_points', internal.total_points(p_user_id));
end
$$;

comment on function public.list_user_challenges is
    'Returns {"user_challenges": [...], "next_after": uuid or null, "total_points": n}, newest first; p_after is '
    'next_after of the page before. No or empty p_states means all. Raises WM400 FIELD_INVALID, PAGE_TOKEN_INVALID.';

create function internal.require_time_of_user_challenge(p_user_challenge_id uuid, p_user_id uuid)
    returns timestamptz
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    created timestamptz;
begin
    select u.create_time into created from public.user_challenges u
    where u.id = p_user_challenge_id and u.user_id = p_user_id;
    if not found then
        perform internal.raise_invalid('page_token', 'the page before this one is gone', 'PAGE_TOKEN_INVALID');
    end if;
    return created;
end
$$;

comment on function internal.require_time_of_user_challenge is
    'Returns when an attempt of the person was made. Raises WM400 PAGE_TOKEN_INVALID if there is no such attempt.';

revoke execute on function
    public.start_challenge, public.submit_challenge, public.list_user_challenges
    from public, anon, authenticated;
grant execute on function
    public.start_challenge, public.submit_challenge, public.list_user_challenges
    to service_role;

-- Links by which people show strangers one thing: a challenge that they took on, or that they found a wingman.
--
-- A link's token is the server's: it is made from the id and signed outside, so nothing in this table opens a link.

create table public.share_links (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.user_profiles on delete cascade,
    user_challenge_id uuid references public.user_challenges on delete cascade,
    match_id uuid references public.matches on delete cascade,
    create_time timestamptz not null default now(),
    expire_time timestamptz not null,
    revoke_time timestamptz,
    check (num_nonnulls(user_challenge_id, match_id) = 1)
);

comment on table public.share_links is
    'One row a link that has not been over for long; it shows what it names until it expires or is revoked.';

create index share_links_of_user on public.share_links (user_id);
create index share_links_of_user_challenge on public.share_links (user_challenge_id);
create index share_links_of_match on public.share_links (match_id);
create index share_links_expiring on public.share_links (expire_time);

alter table public.share_links enable row level security;
revoke all on table public.share_links from public, anon, authenticated;
grant select, insert, update, delete on table public.share_links to service_role;
grant select on table public.share_links to authenticated;
create policy "People read their own share links" on public.share_links
    for select to authenticated using (user_id = (select auth.uid()));

create function internal.share_link_json(p_link public.share_links)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object(
        'id', p_link.id, 'create_time', p_link.create_time, 'expire_time', p_link.expire_time);
end
$$;

comment on function internal.share_link_json is 'Returns a link under the field names of the API, without its token.';

create function internal.raise_share_link_not_found()
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_error('WM404', 'SHARE_LINK_NOT_FOUND', 'no such share link')
$$;

comment on function internal.raise_share_link_not_found is 'Raises WM404 SHARE_LINK_NOT_FOUND, which says no more.';

create function internal.expire_time_of_share_link(p_ttl_seconds double precision)
    returns timestamptz
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    perform internal.require(p_ttl_seconds between 60 and 90 * 86400, 'ttl', 'ttl must be from a minute to 90 days');
    return now() + make_interval(secs => p_ttl_seconds);
end
$$;

comment on function internal.expire_time_of_share_link is
    'Returns when a link made now ends. Raises WM400 FIELD_INVALID.';

create function public.share_challenge(
    p_user_challenge_id uuid, p_user_id uuid, p_ttl_seconds double precision, p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer(
        'share_challenge', p_user_id, p_request_id, jsonb_build_array(p_user_challenge_id, p_ttl_seconds));
    shared public.user_challenges;
    link public.share_links;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.lock_people(array[p_user_id]);
    shared := internal.require_user_challenge(p_user_challenge_id, p_user_id);
    insert into public.share_links (user_id, user_challenge_id, expire_time)
    values (p_user_id, shared.id, internal.expire_time_of_share_link(p_ttl_seconds))
    returning * into link;
    return internal.remember_answer('share_challenge', p_user_id, p_request_id,
        jsonb_build_object('share_link', internal.share_link_json(link)));
end
$$;

comment on function public.share_challenge is
    'Makes a link to a challenge that the person took on. Returns {"share_link": ...}. Raises WM404 '
    'USER_CHALLENGE_NOT_FOUND; WM400 FIELD_INVALID, REQUEST_ID_REUSED.';

create function public.share_match(
    p_match_id uuid, p_user_id uuid, p_ttl_seconds double precision, p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer(
        'share_match', p_user_id, p_request_id, jsonb_build_array(p_match_id, p_ttl_seconds));
    shared public.matches;
    link public.share_links;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.lock_people(array[p_user_id]);
    shared := internal.require_match(p_match_id, p_user_id);
    if shared.state <> 'ACCEPTED' then
        perform internal.raise_match_not_accepted(shared);
    end if;
    insert into public.share_links (user_id, match_id, expire_time)
    values (p_user_id, shared.id, internal.expire_time_of_share_link(p_ttl_seconds))
    returning * into link;
    return internal.remember_answer('share_match', p_user_id, p_request_id,
        jsonb_build_object('share_link', internal.share_link_json(link)));
end
$$;

comment on function public.share_match is
    'Makes a link to an accepted match of the person. Returns {"share_link": ...}. Raises WM404 MATCH_NOT_FOUND; '
    'WM409 MATCH_NOT_ACCEPTED; WM400 FIELD_INVALID, REQUEST_ID_REUSED.';

create function public.get_shared_challenge(p_share_link_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    shown jsonb;
begin
    select jsonb_build_object(
        'first_name', p.first_name, 'challenge', internal.challenge_json(c), 'state', internal.user_challenge_state(u))
    into shown
    from public.share_links l
    join public.user_challenges u on u.id = l.user_challenge_id
    join public.approach_challenges c on c.id = u.challenge_id
    join public.user_profiles p on p.id = l.user_id
    where l.id = p_share_link_id and l.revoke_time is null and l.expire_time > now();
    if not found then
        perform internal.raise_share_link_not_found();
    end if;
    return jsonb_build_object('shared_challenge', shown);
end
$$;

comment on function public.get_shared_challenge is
    'Returns {"shared_challenge": {"first_name", "challenge", "state"}}, all that a link to a challenge shows. '
    'Raises WM404 SHARE_LINK_NOT_FOUND.';

create function public.get_shared_match(p_share_link_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    shown jsonb;
begin
    select jsonb_build_object('first_name', p.first_name, 'respond_time', m.respond_time) into shown
    from public.share_links l
    join public.matches m on m.id = l.match_id and m.state = 'ACCEPTED'
    join public.user_profiles p on p.id = l.user_id
    where l.id = p_share_link_id and l.revoke_time is null and l.expire_time > now();
    if not found then
        perform internal.raise_share_link_not_found();
    end if;
    return jsonb_build_object('shared_match', shown);
end
$$;

comment on function public.get_shared_match is
    'Returns {"shared_match": {"first_name", "respond_time"}}, all that a link to a match shows for as long as the '
    'match lives. Raises WM404 SHARE_LINK_NOT_FOUND.';

create function public.revoke_share_link(
    p_share_link_id uuid, p_user_id uuid, p_subject text, p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer(
        'revoke_share_link', p_user_id, p_request_id, jsonb_build_array(p_share_link_id, p_subject));
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.lock_people(array[p_user_id]);
    update public.share_links l set revoke_time = coalesce(l.revoke_time, now())
    where l.id = p_share_link_id and l.user_id = p_user_id
        and case p_subject when 'CHALLENGE' then l.user_challenge_id else l.match_id end is not null;
    if not found then
        perform internal.raise_share_link_not_found();
    end if;
    return internal.remember_answer('revoke_share_link', p_user_id, p_request_id, '{}');
end
$$;

comment on function public.revoke_share_link is
    'Ends a link to what p_subject says, CHALLENGE or MATCH, once and for all. Raises WM404 SHARE_LINK_NOT_FOUND, '
    'also about the links of others; WM400 REQUEST_ID_REUSED.';

create function public.purge_share_links(p_limit integer default 1000)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    purged integer;
begin
    delete from public.share_links l
    using (
        select id from public.share_links
        where expire_time <= now()
        order by expire_time
        limit p_limit
        for update skip locked
    ) expired
    where l.id = expired.id;
    get diagnostics purged = row_count;
    return jsonb_build_object('purged', purged);
end
$$;

comment on function public.purge_share_links is
    'Deletes at most p_limit links that have expired. Returns {"purged": n}.';

revoke execute on function
    public.share_challenge, public.share_match, public.get_shared_challenge, public.get_shared_match,
    public.revoke_share_link, public.purge_share_links
    from public, anon, authenticated;
grant execute on function
    public.share_challenge, public.share_match, public.get_shared_challenge, public.get_shared_match,
    public.revoke_share_link, public.purge_share_links
    to service_role;

-- Appointments of matched people.
--
-- Whatever changes a meetup locks its two people (lock_people), as whatever changes a match does; but for the sweep of
-- expired ones, which waits for nothing.

create table public.meetups (
    id uuid primary key default gen_random_uuid(),
    match_id uuid not null references public.matches on delete cascade,
    requester_id uuid references public.user_profiles,
    invitee_id uuid references public.user_profiles,
    state text not null default 'SCHEDULED'
        check (state in ('SCHEDULED', 'COMPLETED', 'CANCELLED', 'MISSED', 'EXPIRED')),
    venue_name text not null check (char_length(venue_name) <= 200 and venue_name !~ '[[:cntrl:]]'),
    venue_author_id uuid,
    scheduled_time timestamptz not null,
    requester_challenge_id uuid,
    invitee_challenge_id uuid,
    requester_answer text check (requester_answer in ('PRESENT', 'MISSING')),
    requester_answer_time timestamptz,
    invitee_answer text check (invitee_answer in ('PRESENT', 'MISSING')),
    invitee_answer_time timestamptz,
    sequence integer not null default 0,
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now(),
    check ((requester_answer is null) = (requester_answer_time is null)),
    check ((invitee_answer is null) = (invitee_answer_time is null)),
    check ((state = 'COMPLETED') = coalesce(requester_answer = 'PRESENT' and invitee_answer = 'PRESENT', false)),
    check ((state = 'MISSED') = coalesce('MISSING' in (requester_answer, invitee_answer), false))
);

comment on table public.meetups is
    'One row an appointment. SCHEDULED a week past scheduled_time means EXPIRED, whether or not expire_meetups has '
    'been there.';
comment on column public.meetups.requester_id is 'As in the match; null once the person was erased.';
comment on column public.meetups.invitee_id is 'As in the match; null once the person was erased.';
comment on column public.meetups.venue_author_id is 'Who of the two wrote venue_name.';
comment on column public.meetups.requester_answer is 'What the requester said of the invitee.';
comment on column public.meetups.invitee_answer is 'What the invitee said of the requester.';
comment on column public.meetups.sequence is
    'Incremented by each change that both people are notified of, as in their calendars.';

create unique index meetups_one_live_match on public.meetups (match_id) where state = 'SCHEDULED';
create index meetups_by_match on public.meetups (match_id);
create index meetups_by_requester on public.meetups (requester_id, scheduled_time desc, id desc);
create index meetups_by_invitee on public.meetups (invitee_id, scheduled_time desc, id desc);
create index meetups_expiring on public.meetups (scheduled_time) where state = 'SCHEDULED';

alter table public.meetups enable row level security;
revoke all on table public.meetups from public, anon, authenticated;
grant select, insert, update, delete on table public.meetups to service_role;
grant select on table public.meetups to authenticated;
create policy "People read meet-ups they take part in" on public.meetups
    for select to authenticated using ((select auth.uid()) in (requester_id, invitee_id));

create table public.meetup_notes (
    meetup_id uuid not null references public.meetups on delete cascade,
    user_id uuid not null references public.user_profiles on delete cascade,
    notes text not null check (char_length(notes) between 1 and 4000),
    update_time timestamptz not null default now(),
    primary key (meetup_id, user_id)
);

comment on table public.meetup_notes is 'What a person noted on a meetup, visible to that person alone.';

create index meetup_notes_of_user on public.meetup_notes (user_id);

alter table public.meetup_notes enable row level security;
revoke all on table public.meetup_notes from public, anon, authenticated;
grant select, insert, update, delete on table public.meetup_notes to service_role;
grant select on table public.meetup_notes to authenticated;
create policy "People read their own notes" on public.meetup_notes
    for select to authenticated using (user_id = (select auth.uid()));

create function internal.meetup_state_now(p_meetup public.meetups)
    returns text
    language sql
    stable
    return case
        when p_meetup.state = 'SCHEDULED' and p_meetup.scheduled_time <= now() - interval '168 hours' then 'EXPIRED'
        else p_meetup.state
    end;

comment on function internal.meetup_state_now is 'Returns the state of the meetup at this moment.';

create function internal.meetup_json(p_meetup public.meetups, p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    requester constant uuid := coalesce(p_meetup.requester_id, internal.erased_user_id());
    invitee constant uuid := coalesce(p_meetup.invitee_id, internal.erased_user_id());
begin
    return jsonb_build_object(
        'id', p_meetup.id,
        'match_id', p_meetup.match_id,
        'requester_id', requester,
        'invitee_id', invitee,
        'state', internal.meetup_state_now(p_meetup),
        'venue_name', p_meetup.venue_name,
        'scheduled_time', p_meetup.scheduled_time,
        'requester_challenge_id', p_meetup.requester_challenge_id,
        'invitee_challenge_id', p_meetup.invitee_challenge_id,
        'requester_confirm_time', case p_meetup.requester_answer when 'PRESENT' then p_meetup.requester_answer_time end,
        'invitee_confirm_time', case p_meetup.invitee_answer when 'PRESENT' then p_meetup.invitee_answer_time end,
        'no_show_user_ids', array_remove(array[
            case p_meetup.invitee_answer when 'MISSING' then requester end,
            case p_meetup.requester_answer when 'MISSING' then invitee end], null),
        'notes', coalesce((
            select n.notes from public.meetup_notes n where n.meetup_id = p_meetup.id and n.user_id = p_user_id), ''),
        'create_time', p_meetup.create_time,
        'update_time', p_meetup.update_time,
        'expire_time', p_meetup.scheduled_time + interval '168 hours');
end
$$;

comment on function internal.meetup_json is
    'Returns a meetup as one of its people sees it, under the field names of the API.';

create function internal.require_meetup(p_meetup_id uuid, p_user_id uuid)
    returns public.meetups
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    found_meetup public.meetups;
begin
    select * into found_meetup from public.meetups m
    where m.id = p_meetup_id and p_user_id in (m.requester_id, m.invitee_id);
    if not found then
        perform internal.raise_error('WM404', 'MEETUP_NOT_FOUND', 'no such meet-up exists for this person',
            jsonb_build_object('meetup_id', p_meetup_id));
    end if;
    return found_meetup;
end
$$;

comment on function internal.require_meetup is
    'Returns the meetup to one of its two people. Raises WM404 MEETUP_NOT_FOUND, to a stranger too.';

create function internal.lock_meetup(p_meetup_id uuid, p_user_id uuid)
    returns public.meetups
    language plpgsql
    set search_path = ''
as $$
declare
    asked constant public.meetups := internal.require_meetup(p_meetup_id, p_user_id);
begin
    perform internal.lock_people(array[asked.requester_id, asked.invitee_id]);
    -- Whatever happened while this waited has happened: look again.
    return internal.require_meetup(p_meetup_id, p_user_id);
end
$$;

comment on function internal.lock_meetup is
    'Returns the meetup to one of its two people, holding both. Raises WM404 MEETUP_NOT_FOUND.';

create function internal.raise_match_not_accepted(p_match public.matches)
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_error('WM409', 'MATCH_NOT_ACCEPTED', 'the match is not accepted',
        jsonb_build_object('match_id', p_match.id, 'state', internal.state_now(p_match)))
$$;

comment on function internal.raise_match_not_accepted is
    'Raises WM409 MATCH_NOT_ACCEPTED with the state of the match.';

create function internal.raise_meetup_not_scheduled(p_meetup public.meetups)
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_error('WM409', 'MEETUP_NOT_SCHEDULED', 'the meet-up is no longer scheduled',
        jsonb_build_object('meetup_id', p_meetup.id, 'state', internal.meetup_state_now(p_meetup)))
$$;

comment on function internal.raise_meetup_not_scheduled is
    'Raises WM409 MEETUP_NOT_SCHEDULED with the state of the meetup.';

create function internal.is_upcoming(p_meetup public.meetups)
    returns boolean
    language sql
    stable
    -- An answer shows that the time has come, to a transaction that began before it as well.
    return p_meetup.state = 'SCHEDULED' and p_meetup.scheduled_time > now()
        and p_meetup.requester_answer is null and p_meetup.invitee_answer is null;

comment on function internal.is_upcoming is 'Tells whether the meetup is on and has not begun.';

create function internal.require_upcoming_meetup(p_meetup public.meetups)
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    if internal.meetup_state_now(p_meetup) <> 'SCHEDULED' then
        perform internal.raise_meetup_not_scheduled(p_meetup);
    elsif not internal.is_upcoming(p_meetup) then
        perform internal.raise_error('WM409', 'MEETUP_STARTED', 'the scheduled time has come',
            jsonb_build_object('meetup_id', p_meetup.id));
    end if;
end
$$;

comment on function internal.require_upcoming_meetup is 'Raises WM409 MEETUP_NOT_SCHEDULED or MEETUP_STARTED.';

create function public.expire_meetups(p_limit integer default 100)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    expired integer;
begin
    with due as (
        select m.id from public.meetups m
        where m.state = 'SCHEDULED' and m.scheduled_time <= now() - interval '168 hours'
        order by m.scheduled_time
        limit p_limit
        for update skip locked
    )
    update public.meetups m set state = 'EXPIRED' from due where m.id = due.id;
    get diagnostics expired = row_count;
    return jsonb_build_object('expired', expired);
end
$$;

comment on function public.expire_meetups is
    'Marks at most p_limit scheduled meetups EXPIRED that are past their week. Returns {"expired": n}. Any number '
    'may run at once.';

create function public.get_meetup(p_meetup_id uuid, p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object(
        'meetup', internal.meetup_json(internal.require_meetup(p_meetup_id, p_user_id), p_user_id));
end
$$;

comment on function public.get_meetup is
    'Returns {"meetup": ...} to one of its people. Raises WM404 MEETUP_NOT_FOUND.';

create function internal.meetups_of(
    p_user_id uuid, p_states text[], p_match_id uuid, p_after_time timestamptz, p_after_id uuid, p_limit integer
)
    returns setof public.meetups
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    -- Each half walks its own index and stops after p_limit.
    return query
    (
        select * from public.meetups m
        where m.requester_id = p_user_id
            and (m.scheduled_time, m.id) < (p_after_time, p_after_id)
            and (p_match_id is null or m.match_id = p_match_id)
            and (p_states is null or internal.meetup_state_now(m) = any (p_states))
        order by m.scheduled_time desc, m.id desc
        limit p_limit
    )
    union all
    (
        select * from public.meetups m
        where m.invitee_id = p_user_id
            and (m.scheduled_time, m.id) < (p_after_time, p_after_id)
            and (p_match_id is null or m.match_id = p_match_id)
            and (p_states is null or internal.meetup_state_now(m) = any (p_states))
        order by m.scheduled_time desc, m.id desc
        limit p_limit
    )
    order by scheduled_time desc, id desc
    limit p_limit;
end
$$;

comment on function internal.meetups_of is
    'Returns the person''s first p_limit meetups in these states and of this match, behind (time, id), the latest '
    'first; null means all.';

create function public.list_meetups(
    p_user_id uuid,
    p_states text[] default null,
    p_match_id uuid default null,
    p_page_size integer default 20,
    p_after uuid default null
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    page_size constant integer := internal.require_page_size(p_page_size, 20);
    after_time timestamptz := 'infinity';
    found_meetups public.meetups[];
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
    end if;
    found_meetups := array(
        select m from internal.meetups_of(
            p_user_id, nullif(p_states, '{}'), p_match_id, after_time, coalesce(p_after, p_user_id), page_size + 1) m);
    return jsonb_build_object(
        'meetups', (
            select coalesce(
                jsonb_agg(internal.meetup_json(m, p_user_id) order by m.scheduled_time desc, m.id desc), '[]')
            from unnest(found_meetups[1:page_size]) m),
        'next_after', case when cardinality(found_meetups) > page_size then found_meetups[page_size].id end);
end
$$;

comment on function public.list_meetups is
    'Returns {"meetups": [...], "next_after": uuid or null}, the latest scheduled time first; p_after is next_after '
    'of the page before. No or empty p_states means all. Raises WM400 FIELD_INVALID, WM400 PAGE_TOKEN_INVALID.';

revoke execute on function
    public.expire_meetups, public.get_meetup, public.list_meetups
    from public, anon, authenticated;
grant execute on function public.expire_meetups, public.get_meetup, public.list_meetups to service_role;

-- The emails about a meetup and the reminders of it: rows of the transaction that schedules, moves or cancels.
--
-- Each carries the meetup's id and sequence in its payload. Those that wait are dropped with the next change, and one
-- that is just being sent goes out only if the meetup is still as it says.

create type internal.meetup_participant as (
    user_id uuid, time_zone text, challenge_id uuid, partner_name text
);

create function internal.participants_of(p_meetup public.meetups)
    returns setof internal.meetup_participant
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select me.id, me.time_zone, seat.challenge_id, coalesce(partner.first_name, '')
    from (values
        (p_meetup.requester_id, p_meetup.invitee_id, p_meetup.requester_challenge_id),
        (p_meetup.invitee_id, p_meetup.requester_id, p_meetup.invitee_challenge_id)
    ) seat (user_id, partner_id, challenge_id)
    join public.user_profiles me on me.id = seat.user_id
    left join public.user_profiles partner on partner.id = seat.partner_id;
end
$$;

comment on function internal.participants_of is
    'Returns the people of a meetup who still have a profile, with what their emails need.';

create function internal.meetup_payload(p_meetup public.meetups, p_participant internal.meetup_participant)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object(
        'partner_name', p_participant.partner_name,
        'venue_name', p_meetup.venue_name,
        'scheduled_time', p_meetup.scheduled_time,
        'time_zone', p_participant.time_zone,
        'challenge_title', case when p_participant.challenge_id is not null then (
            select c.title from public.approach_challenges c where c.id = p_participant.challenge_id) end,
        'meetup_id', p_meetup.id,
        'sequence', p_meetup.sequence,
        'change_time', p_meetup.update_time);
end
$$;

comment on function internal.meetup_payload is 'Returns the content of an email about the meetup for one of its people.';

create function internal.notify_of_meetup(p_meetup public.meetups, p_kind text, p_details jsonb default '{}')
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.enqueue_notification(
        p_kind => p_kind,
        p_user_id => p.user_id,
        p_payload => internal.meetup_payload(p_meetup, p) || p_details,
        p_dedupe_key => format('meetup/%s/%s/%s', p_meetup.id, p_meetup.sequence, p.user_id),
        p_match_id => p_meetup.match_id,
        p_expire_time => p_meetup.scheduled_time)
    from internal.participants_of(p_meetup) p;
end
$$;

comment on function internal.notify_of_meetup is
    'Writes the email of p_kind about the meetup''s last change to each of its people.';

create function internal.remind_of_meetup(p_meetup public.meetups)
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
    where p_meetup.scheduled_time - make_interval(hours => ahead.hours) > now();
end
$$;

comment on function internal.remind_of_meetup is
    'Writes the reminders 24 hours and 2 hours before the meetup to each of its people, as far as they lie ahead.';

create function internal.drop_meetup_mails(p_meetup public.meetups)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    update public.notifications n set state = 'CANCELLED'
    where n.match_id = p_meetup.match_id and n.state = 'PENDING' and n.payload ->> 'meetup_id' = p_meetup.id::text;
end
$$;

comment on function internal.drop_meetup_mails is 'Drops what waits to be sent about the meetup.';

-- Agreeing on a meetup, moving it, and cancelling it.

create function internal.require_venue(p_venue_name text)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.require(char_length(p_venue_name) between 1 and 200 and p_venue_name !~ '[[:cntrl:]]',
        'venue_name', 'venue_name must be one line of 1 to 200 characters');
end
$$;

comment on function internal.require_venue is 'Raises WM400 FIELD_INVALID about venue_name.';

create function internal.require_future_time(p_scheduled_time timestamptz)
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    perform internal.require(p_scheduled_time <= now() + interval '366 days',
        'scheduled_time', 'scheduled_time must be within a year');
    if p_scheduled_time <= now() then
        perform internal.raise_invalid('scheduled_time', 'scheduled_time must be in the future', 'MEETUP_TIME_PAST');
    end if;
end
$$;

comment on function internal.require_future_time is
    'Raises WM400 MEETUP_TIME_PAST or FIELD_INVALID about scheduled_time.';

create function internal.require_no_meetup(p_match_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    -- Not skipping what a sweep has locked: it waits for nothing, so it can be waited for.
    update public.meetups m set state = 'EXPIRED'
    where m.match_id = p_match_id and m.state = 'SCHEDULED' and m.scheduled_time <= now() - interval '168 hours';
    perform internal.raise_error('WM409', 'MEETUP_EXISTS', 'the match has a scheduled meet-up already',
        jsonb_build_object('meetup_id', m.id))
    from public.meetups m
    where m.match_id = p_match_id and m.state = 'SCHEDULED';
end
$$;

comment on function internal.require_no_meetup is
    'Raises WM409 MEETUP_EXISTS, having marked what is past its week. The caller has locked both people.';

create function public.schedule_meetup(
    p_match_id uuid,
    p_user_id uuid,
    p_venue_name text,
    p_scheduled_time timestamptz,
    p_requester_challenge_id uuid default null,
    p_invitee_challenge_id uuid default null,
    p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer('schedule_meetup', p_user_id, p_request_id, jsonb_build_array(
        p_match_id, p_venue_name, extract(epoch from p_scheduled_time), p_requester_challenge_id,
        p_invitee_challenge_id));
    agreed public.matches;
    scheduled public.meetups;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.require_venue(p_venue_name);
    agreed := internal.require_match(p_match_id, p_user_id);
    perform internal.lock_people(array[agreed.requester_id, agreed.invitee_id]);
    -- Whatever happened while this waited has happened: look again.
    agreed := internal.require_match(p_match_id, p_user_id);
    if agreed.state <> 'ACCEPTED' then
        perform internal.raise_match_not_accepted(agreed);
    end if;
    perform internal.require_future_time(p_scheduled_time);
    perform internal.require_challenge(p_requester_challenge_id);
    perform internal.require_challenge(p_invitee_challenge_id);
    perform internal.require_no_meetup(p_match_id);
    insert into public.meetups (
        match_id, requester_id, invitee_id, venue_name, venue_author_id, scheduled_time, requester_challenge_id,
        invitee_challenge_id)
    values (
        p_match_id, agreed.requester_id, agreed.invitee_id, p_venue_name, p_user_id, p_scheduled_time,
        p_requester_challenge_id, p_invitee_challenge_id)
    returning * into scheduled;
    perform internal.notify_of_meetup(scheduled, 'MEETUP_SCHEDULED');
    perform internal.remind_of_meetup(scheduled);
    return internal.remember_answer('schedule_meetup', p_user_id, p_request_id,
        jsonb_build_object('meetup', internal.meetup_json(scheduled, p_user_id)));
end
$$;

comment on function public.schedule_meetup is
    'Schedules a meetup of an accepted match, with the emails and the reminders. Returns {"meetup": ...}. Raises '
    'WM404 MATCH_NOT_FOUND, CHALLENGE_NOT_FOUND; WM409 MATCH_NOT_ACCEPTED, MEETUP_EXISTS; WM400 MEETUP_TIME_PAST, '
    'FIELD_INVALID, REQUEST_ID_REUSED.';

create function internal.move_meetup(
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
        sequence = m.sequence + 1,
        update_time = now()
    where m.id = p_meetup.id
    returning * into moved;
    perform internal.drop_meetup_mails(moved);
    perform internal.notify_of_meetup(moved, 'MEETUP_MOVED', jsonb_strip_nulls(jsonb_build_object(
        'previous_time', case when moved.scheduled_time <> p_meetup.scheduled_time then p_meetup.scheduled_time end,
        'previous_venue_name', case when moved.venue_name <> p_meetup.venue_name then p_meetup.venue_name end)));
    perform internal.remind_of_meetup(moved);
    return moved;
end
$$;

comment on function internal.move_meetup is
    'Gives a meetup another time or place, with the emails, and new reminders for the old. The caller has locked both '
    'people.';

create function public.reschedule_meetup(
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
        asked := internal.move_meetup(
            asked, coalesce(p_scheduled_time, asked.scheduled_time), coalesce(p_venue_name, asked.venue_name),
            p_user_id);
    end if;
    return internal.remember_answer('reschedule_meetup', p_user_id, p_request_id,
        jsonb_build_object('meetup', internal.meetup_json(asked, p_user_id)));
end
$$;

comment on function public.reschedule_meetup is
    'Moves a meetup that lies ahead to another time, place or both; what is null stays. Returns {"meetup": ...}. '
    'Raises WM404 MEETUP_NOT_FOUND; WM409 MEETUP_NOT_SCHEDULED, MEETUP_STARTED; WM400 MEETUP_TIME_PAST, '
    'FIELD_INVALID, REQUEST_ID_REUSED.';

create function internal.cancel_one_meetup(p_meetup public.meetups, p_details jsonb default '{}')
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
    perform internal.drop_meetup_mails(cancelled);
    perform internal.notify_of_meetup(cancelled, 'MEETUP_CANCELLED', p_details);
    return cancelled;
end
$$;

comment on function internal.cancel_one_meetup is
    'Cancels a meetup that lies ahead, with the emails, and drops its reminders. The caller has locked both people.';

create function internal.cancel_meetups_of_match(p_match_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    -- One that has begun stays: who was stood up can still say so, and who came is not robbed of it.
    perform internal.cancel_one_meetup(m, '{"match_ended": true}')
    from public.meetups m
    where m.match_id = p_match_id and internal.is_upcoming(m);
end
$$;

comment on function internal.cancel_meetups_of_match is
    'Cancels the match''s meetup that lies ahead, if there is one. The caller has locked both people.';

create function public.cancel_meetup(p_meetup_id uuid, p_user_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer('cancel_meetup', p_user_id, p_request_id, jsonb_build_array(p_meetup_id));
    asked public.meetups;
begin
    if answer is not null then
        return answer;
    end if;
    asked := internal.lock_meetup(p_meetup_id, p_user_id);
    perform internal.require_upcoming_meetup(asked);
    asked := internal.cancel_one_meetup(asked);
    return internal.remember_answer('cancel_meetup', p_user_id, p_request_id,
        jsonb_build_object('meetup', internal.meetup_json(asked, p_user_id)));
end
$$;

comment on function public.cancel_meetup is
    'Calls a meetup off that lies ahead. Returns {"meetup": ...}. Raises WM404 MEETUP_NOT_FOUND; WM409 '
    'MEETUP_NOT_SCHEDULED, MEETUP_STARTED; WM400 REQUEST_ID_REUSED.';

revoke execute on function
    public.schedule_meetup, public.reschedule_meetup, public.cancel_meetup
    from public, anon, authenticated;
grant execute on function public.schedule_meetup, public.reschedule_meetup, public.cancel_meetup to service_role;

-- How a meetup went, as its two people say, and the reputation that comes of it.

create function internal.score_of(p_completed bigint, p_no_shows bigint)
    returns integer
    language sql
    immutable
    return greatest(-5, least(20, p_completed - p_no_shows));

comment on function internal.score_of is 'Returns confirmed meetups less own no-shows, between -5 and 20.';

create function internal.reputation_json(p_user_id uuid)
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
                    when m.requester_id then m.invitee_answer else m.requester_answer end) as no_shows
            from public.meetups m
            where m.requester_id = p_user_id or m.invitee_id = p_user_id
        ) counted
        cross join lateral (select internal.score_of(counted.completed, counted.no_shows) as value) score);
end
$$;

comment on function internal.reputation_json is 'Returns what others may know of the person''s reliability.';

create function internal.refresh_reputations(p_meetup public.meetups)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    update public.match_pool p set reputation = fresh.score
    from (
        select seat.user_id, (internal.reputation_json(seat.user_id) ->> 'score')::smallint as score
        from (values (p_meetup.requester_id), (p_meetup.invitee_id)) seat (user_id)
        where seat.user_id is not null
    ) fresh
    where p.user_id = fresh.user_id and p.reputation <> fresh.score;
end
$$;

comment on function internal.refresh_reputations is
    'Brings what matching knows of the reputation of both people up to date. The caller has locked both.';

create function public.get_reputation(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    if not exists (select from public.user_profiles p where p.id = p_user_id) then
        perform internal.raise_profile_not_found(p_user_id);
    end if;
    return jsonb_build_object('reputation', internal.reputation_json(p_user_id));
end
$$;

comment on function public.get_reputation is 'Returns {"reputation": ...}. Raises WM404 PROFILE_NOT_FOUND.';

create function internal.own_answer(p_meetup public.meetups, p_user_id uuid)
    returns text
    language sql
    immutable
    return case p_user_id when p_meetup.requester_id then p_meetup.requester_answer else p_meetup.invitee_answer end;

comment on function internal.own_answer is 'Returns what one of the two said of the other; null before that.';

create function internal.require_answerable(p_meetup public.meetups, p_user_id uuid)
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    if internal.own_answer(p_meetup, p_user_id) is not null then
        perform internal.raise_error('WM409', 'MEETUP_ANSWERED', 'the person already said the opposite',
            jsonb_build_object('meetup_id', p_meetup.id));
    -- Who was reported missing first may still give their side, for the same week.
    elsif internal.meetup_state_now(p_meetup) not in ('SCHEDULED', 'MISSED')
        or p_meetup.scheduled_time <= now() - interval '168 hours' then
        perform internal.raise_meetup_not_scheduled(p_meetup);
    elsif p_meetup.scheduled_time > now() then
        perform internal.raise_error('WM409', 'MEETUP_NOT_STARTED', 'the scheduled time has not come yet',
            jsonb_build_object('meetup_id', p_meetup.id));
    end if;
end
$$;

comment on function internal.require_answerable is
    'Raises WM409 MEETUP_ANSWERED, MEETUP_NOT_SCHEDULED or MEETUP_NOT_STARTED.';

create function internal.record_answer(p_meetup public.meetups, p_user_id uuid, p_answer text)
    returns public.meetups
    language plpgsql
    set search_path = ''
as $$
declare
    by_requester constant boolean := coalesce(p_user_id = p_meetup.requester_id, false);
    others_answer constant text := case when by_requester then p_meetup.invitee_answer else p_meetup.requester_answer end;
    answered public.meetups;
begin
    update public.meetups m set
        requester_answer = case when by_requester then p_answer else m.requester_answer end,
        requester_answer_time = case when by_requester then now() else m.requester_answer_time end,
        invitee_answer = case when by_requester then m.invitee_answer else p_answer end,
        invitee_answer_time = case when by_requester then m.invitee_answer_time else now() end,
        state = case
            when p_answer = 'MISSING' or others_answer = 'MISSING' then 'MISSED'
            when others_answer = 'PRESENT' then 'COMPLETED'
            else m.state end,
        update_time = now()
    where m.id = p_meetup.id
    returning * into answered;
    if answered.state <> 'SCHEDULED' then
        perform internal.refresh_reputations(answered);
    end if;
    return answered;
end
$$;

comment on function internal.record_answer is
    'Stores what a person said of the other, with the state and the reputations that follow. The caller has locked both.';

create function internal.answer_meetup(
    p_scope text, p_meetup_id uuid, p_user_id uuid, p_answer text, p_request_id uuid
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer(p_scope, p_user_id, p_request_id, jsonb_build_array(p_meetup_id));
    asked public.meetups;
begin
    if answer is not null then
        return answer;
    end if;
    asked := internal.lock_meetup(p_meetup_id, p_user_id);
    if internal.own_answer(asked, p_user_id) is distinct from p_answer then
        perform internal.require_answerable(asked, p_user_id);
        asked := internal.record_answer(asked, p_user_id, p_answer);
    end if;
    return internal.remember_answer(p_scope, p_user_id, p_request_id,
        jsonb_build_object('meetup', internal.meetup_json(asked, p_user_id)));
end
$$;

comment on function internal.answer_meetup is
    'Does the work of confirm_meetup and report_no_show, and raises as they do.';

create function public.confirm_meetup(p_meetup_id uuid, p_user_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    return internal.answer_meetup('confirm_meetup', p_meetup_id, p_user_id, 'PRESENT', p_request_id);
end
$$;

comment on function public.confirm_meetup is
    'Says that the other person was there; once both did, the meetup is COMPLETED. Saying so again changes nothing. '
    'Returns {"meetup": ...}. Raises WM404 MEETUP_NOT_FOUND; WM409 MEETUP_NOT_STARTED, MEETUP_NOT_SCHEDULED, '
    'MEETUP_ANSWERED; WM400 REQUEST_ID_REUSED.';

create function public.report_no_show(p_meetup_id uuid, p_user_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    return internal.answer_meetup('report_no_show', p_meetup_id, p_user_id, 'MISSING', p_request_id);
end
$$;

comment on function public.report_no_show is
    'Says that the other person was missing: the meetup is MISSED. Saying so again changes nothing. Returns '
    '{"meetup": ...}. Raises as confirm_meetup.';

create function public.update_meetup_notes(
    p_meetup_id uuid, p_user_id uuid, p_notes text, p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer('update_meetup_notes', p_user_id, p_request_id, jsonb_build_array(
        p_meetup_id, p_notes));
    asked public.meetups;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.require(char_length(p_notes) <= 4000, 'notes', 'notes must have at most 4000 characters');
    asked := internal.lock_meetup(p_meetup_id, p_user_id);
    if p_notes = '' then
        delete from public.meetup_notes n where n.meetup_id = p_meetup_id and n.user_id = p_user_id;
    else
        insert into public.meetup_notes (meetup_id, user_id, notes) values (p_meetup_id, p_user_id, p_notes)
        on conflict (meetup_id, user_id) do update set notes = excluded.notes, update_time = now();
    end if;
    return internal.remember_answer('update_meetup_notes', p_user_id, p_request_id,
        jsonb_build_object('meetup', internal.meetup_json(asked, p_user_id)));
end
$$;

comment on function public.update_meetup_notes is
    'Replaces a person''s own notes, in any state; empty ones are deleted. Returns {"meetup": ...}. Raises WM404 '
    'MEETUP_NOT_FOUND; WM400 FIELD_INVALID, REQUEST_ID_REUSED.';

revoke execute on function
    public.get_reputation, public.confirm_meetup, public.report_no_show, public.update_meetup_notes
    from public, anon, authenticated;
grant execute on function
    public.get_reputation, public.confirm_meetup, public.report_no_show, public.update_meetup_notes
    to service_role;

-- What happens to a person's matches and meetups, numbered so that a reader can tell the next event from a gap.
--
-- A change of a match notes its events in a setting of its transaction, which is undone as far as the transaction is. As
-- the transaction commits, the feeds of all its people are locked in the order of user_id, and the events are numbered
-- and written: so per person the order of numbers is the order of commits, no reader ever sees a number before a smaller
-- one, and a holder of a feed waits for nothing but a feed further on.

create table public.match_event_feeds (
    user_id uuid primary key references public.user_profiles on delete cascade,
    -- Beginning with the time, so that a feed made anew never repeats the numbers of one that was erased.
    last_sequence bigint not null default (extract(epoch from clock_timestamp()) * 1000000)::bigint
) with (fillfactor = 80);

comment on table public.match_event_feeds is 'One row a person: the number of the person''s last event.';

alter table public.match_event_feeds enable row level security;
revoke all on table public.match_event_feeds from public, anon, authenticated;
grant select, insert, update, delete on table public.match_event_feeds to service_role;

create table public.match_events (
    user_id uuid not null,
    sequence bigint not null,
    kind text not null check (kind in (
        'REQUESTED', 'ACCEPTED', 'DECLINED', 'CANCELLED', 'EXPIRED', 'ENDED',
        'MEETUP_SCHEDULED', 'MEETUP_RESCHEDULED', 'MEETUP_CANCELLED', 'MEETUP_COMPLETED')),
    event_time timestamptz not null,
    match_id uuid not null references public.matches on delete cascade,
    match_state text not null,
    respond_time timestamptz,
    meetup_id uuid,
    primary key (user_id, sequence)
);

comment on table public.match_events is
    'What happened to a person''s matches and meetups, one row for each of the two people; kept for a week.';
comment on column public.match_events.sequence is 'One more than that of the person''s event before.';
comment on column public.match_events.match_state is 'The state of the match after the event.';

create index match_events_aging on public.match_events (event_time);
create index match_events_of_match on public.match_events (match_id);

alter table public.match_events enable row level security;
revoke all on table public.match_events from public, anon, authenticated;
grant select, insert, update, delete on table public.match_events to service_role;

create function internal.open_match_event_feeds()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    insert into public.match_event_feeds (user_id) select p.id from new_profiles p order by p.id;
    return null;
end
$$;

comment on function internal.open_match_event_feeds is 'Trigger: gives each new person a feed.';

create trigger open_match_event_feeds
    after insert on public.user_profiles
    referencing new table as new_profiles
    for each statement execute function internal.open_match_event_feeds();

create function internal.record_match_event(p_match public.matches, p_kind text, p_meetup_id uuid default null)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    -- One line an event: text of jsonb has no line breaks, and to append needs no parsing of what is there.
    perform set_config(
        'wingmanmatch.match_events',
        concat_ws(e'\n', nullif(current_setting('wingmanmatch.match_events', true), ''), jsonb_build_object(
            'people', array_remove(array[p_match.requester_id, p_match.invitee_id], null),
            'kind', p_kind,
            'match_id', p_match.id,
            'match_state', p_match.state,
            'respond_time', p_match.respond_time,
            'meetup_id', p_meetup_id)),
        true);
end
$$;

comment on function internal.record_match_event is
    'Records an event for the feeds of the match''s people. Called by triggers of tables of which another trigger, '
    'deferred, calls publish_match_events.';

create function internal.record_match_change()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.record_match_event(new, case new.state when 'PENDING' then 'REQUESTED' else new.state end);
    return null;
end
$$;

comment on function internal.record_match_change is 'Trigger: records that a match was made or changed its state.';

create trigger record_match_made
    after insert on public.matches
    for each row execute function internal.record_match_change();

create trigger record_match_change
    after update of state on public.matches
    for each row when (old.state is distinct from new.state) execute function internal.record_match_change();

create function internal.publish_match_events(p_also_lock uuid default null)
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
    -- Somebody erased meanwhile has no feed, and gets no events.
    with advanced as (
        update public.match_event_feeds f set last_sequence = f.last_sequence + fresh.events
        from (select person, count(*) as events from unnest(people) person group by person) fresh
        where f.user_id = fresh.person
        returning f.user_id, f.last_sequence - fresh.events as base, pg_notify('match_events', f.user_id::text)
    )
    insert into public.match_events (
        user_id, sequence, kind, event_time, match_id, match_state, respond_time, meetup_id)
    select
        a.user_id,
        a.base + row_number() over (partition by a.user_id order by each.position),
        each.event ->> 'kind',
        -- Read under the lock, so that numbers and times rise together.
        clock_timestamp(),
        (each.event ->> 'match_id')::uuid,
        each.event ->> 'match_state',
        (each.event ->> 'respond_time')::timestamptz,
        (each.event ->> 'meetup_id')::uuid
    from unnest(noted) with ordinality each (event, position)
    cross join jsonb_array_elements_text(each.event -> 'people') person
    join advanced a on a.user_id = person::uuid;
end
$$;

comment on function internal.publish_match_events is
    'Numbers and writes the events that the transaction noted, and wakes their readers. Waits for feeds, in their '
    'order, and that of p_also_lock; the caller takes no other lock after it.';

create function internal.publish_match_events_at_commit()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    -- The first call publishes them all.
    if current_setting('wingmanmatch.match_events', true) <> '' then
        perform internal.publish_match_events();
    end if;
    return null;
end
$$;

comment on function internal.publish_match_events_at_commit is
    'Trigger, deferred: publishes the transaction''s events.';

create constraint trigger publish_match_events
    after insert or update of state on public.matches
    deferrable initially deferred
    for each row execute function internal.publish_match_events_at_commit();

create constraint trigger publish_meetup_events
    after insert or update of state, sequence on public.meetups
    deferrable initially deferred
    for each row execute function internal.publish_match_events_at_commit();

create function internal.match_event_json(p_event public.match_events, p_match public.matches)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object(
        'sequence', p_event.sequence,
        'kind', p_event.kind,
        'event_time', p_event.event_time,
        'meetup_id', p_event.meetup_id,
        'match', internal.match_json(p_match)
            || jsonb_build_object('state', p_event.match_state, 'respond_time', p_event.respond_time));
end
$$;

comment on function internal.match_event_json is 'Returns an event with the match as it was after it.';

create function public.read_match_events(p_feeds jsonb, p_limit integer default 100)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    -- One statement, so that a feed's number and its events are of the same moment.
    return (
        select jsonb_build_object('feeds', coalesce(jsonb_agg(jsonb_build_object(
            'user_id', asked.user_id, 'after', asked.after, 'last_sequence', f.last_sequence, 'events', page.events)),
            '[]'))
        from jsonb_to_recordset(p_feeds) asked (user_id uuid, after bigint)
        left join public.match_event_feeds f on f.user_id = asked.user_id
        cross join lateral (
            select coalesce(jsonb_agg(internal.match_event_json(e, m) order by e.sequence), '[]') as events
            from (
                select * from public.match_events each
                where each.user_id = asked.user_id and each.sequence > asked.after
                order by each.sequence
                limit p_limit
            ) e
            join public.matches m on m.id = e.match_id
        ) page
        where f.last_sequence is null or asked.after is null or f.last_sequence <> asked.after
    );
end
$$;

comment on function public.read_match_events is
    'Takes [{"user_id": ..., "after": sequence or null for now}], returns {"feeds": [{"user_id", "after", '
    '"last_sequence", "events"}]}: those in which something follows or nothing was known; last_sequence is null for '
    'nobody.';

create function public.purge_match_events(p_limit integer default 1000)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    purged integer;
begin
    delete from public.match_events e
    using (
        select a.user_id, a.sequence from public.match_events a
        where a.event_time <= now() - interval '7 days'
        order by a.event_time
        limit p_limit
        for update skip locked
    ) aged
    where (e.user_id, e.sequence) = (aged.user_id, aged.sequence);
    get diagnostics purged = row_count;
    return jsonb_build_object('purged', purged);
end
$$;

comment on function public.purge_match_events is
    'Deletes at most p_limit events that are past their week, the oldest first. Returns {"purged": n}.';

create function internal.meetup_event_of(p_state text)
    returns text
    language sql
    immutable
    return case p_state
        when 'SCHEDULED' then 'MEETUP_RESCHEDULED'
        when 'CANCELLED' then 'MEETUP_CANCELLED'
        when 'COMPLETED' then 'MEETUP_COMPLETED'
    end;

comment on function internal.meetup_event_of is
    'Returns the event of a change after which a meetup is in this state; null where there is none.';

create function internal.record_meetup_change()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
declare
    kind constant text := case tg_op when 'INSERT' then 'MEETUP_SCHEDULED' else internal.meetup_event_of(new.state) end;
begin
    if kind is not null then
        perform internal.record_match_event(m, kind, new.id) from public.matches m where m.id = new.match_id;
    end if;
    return null;
end
$$;

comment on function internal.record_meetup_change is
    'Trigger: records that a meetup was scheduled, moved or came to an end.';

create trigger record_meetup_made
    after insert on public.meetups
    for each row execute function internal.record_meetup_change();

create trigger record_meetup_change
    after update of state, sequence on public.meetups
    for each row when ((old.state, old.sequence) is distinct from (new.state, new.sequence))
    execute function internal.record_meetup_change();

revoke execute on function public.read_match_events, public.purge_match_events from public, anon, authenticated;
grant execute on function public.read_match_events, public.purge_match_events to service_role;

-- Emails to send, one row each, written by the transaction that causes them.
--
--   PENDING ──claim──▶ SENDING ──finish──▶ SENT ──▶ DELIVERED, DELAYED, BOUNCED, COMPLAINED
--      ▲                  │
--      └──────retry───────┘      asides: CANCELLED, EXPIRED, SUPPRESSED, DEAD, REVIEW
--
-- A claim is a lease with an epoch. Who lost the lease carries an old epoch and can change nothing any more. Only the
-- database's clock counts.

create table public.notifications (
    id uuid primary key default gen_random_uuid(),
    kind text not null check (kind in (
        'MATCH_INVITATION', 'MATCH_ACCEPTANCE', 'MATCH_DECLINE', 'SESSION_REMINDER',
        'MEETUP_SCHEDULED', 'MEETUP_MOVED', 'MEETUP_CANCELLED')),
    state text not null default 'PENDING' check (state in (
        'PENDING', 'SENDING', 'SENT', 'CANCELLED', 'EXPIRED', 'DEAD', 'REVIEW', 'SUPPRESSED',
        'DELIVERED', 'DELAYED', 'BOUNCED', 'COMPLAINED')),
    user_id uuid,
    recipient_email text not null,
    recipient_name text not null,
    locale text not null,
    payload jsonb not null,
    match_id uuid,
    dedupe_key text not null unique,
    send_time timestamptz not null,
    expire_time timestamptz,
    create_time timestamptz not null default now(),
    sent_time timestamptz,
    attempt_count integer not null default 0,
    deferral_count integer not null default 0,
    next_attempt_time timestamptz not null,
    first_attempt_time timestamptz,
    ambiguous boolean not null default false,
    epoch bigint not null default 0,
    lease_owner text,
    lease_expire_time timestamptz,
    generation integer not null default 1,
    rendered jsonb,
    provider_message_id text,
    last_error text,
    check ((state = 'SENDING') = (lease_owner is not null and lease_expire_time is not null))
) with (fillfactor = 80);

comment on table public.notifications is 'Emails to send: one row each, kept after they are sent.';
comment on column public.notifications.dedupe_key is 'Names the cause; a second row of one cause cannot exist.';
comment on column public.notifications.next_attempt_time is 'From when a PENDING row is due.';
comment on column public.notifications.attempt_count is
    'Deliveries begun whose end says something about the email; the others are counted as deferrals.';
comment on column public.notifications.ambiguous is
    'Some attempt may have reached the recipient without our knowing.';
comment on column public.notifications.epoch is 'Incremented whenever the row changes hands: an older one proves nothing.';
comment on column public.notifications.generation is
    'Part of the idempotency key; raised for a second email on purpose.';
comment on column public.notifications.rendered is 'The email as first rendered; every attempt sends exactly this.';
comment on column public.notifications.deferral_count is
    'Deliveries that came to nothing through no fault of the email.';

create index notifications_due on public.notifications (next_attempt_time, id) where state = 'PENDING';
create index notifications_leased on public.notifications (lease_expire_time) where state = 'SENDING';
create index notifications_of_user on public.notifications (user_id, create_time desc, id desc);
create index notifications_of_match on public.notifications (match_id) where state = 'PENDING';
create index notifications_by_time on public.notifications (create_time desc, id desc);
create index notifications_by_provider on public.notifications (provider_message_id) where provider_message_id is not null;
create index notifications_to_address on public.notifications (lower(recipient_email));
create index notifications_about_match on public.notifications (match_id) where match_id is not null;
create index notifications_waiting_of_user on public.notifications (user_id) where state = 'PENDING';

alter table public.notifications enable row level security;
revoke all on table public.notifications from public, anon, authenticated;
grant select, insert, update, delete on table public.notifications to service_role;
-- The recipient's address may be another person's than the user's, so no column that holds it is readable.
grant select (id, kind, state, user_id, match_id, send_time, expire_time, create_time, sent_time)
    on table public.notifications to authenticated;
create policy notifications_own on public.notifications
    for select to authenticated using (user_id = (select auth.uid()));

create function internal.notification_kinds()
    returns text[]
    language sql
    immutable
    return array[
        'MATCH_INVITATION', 'MATCH_ACCEPTANCE', 'MATCH_DECLINE', 'SESSION_REMINDER',
        'MEETUP_SCHEDULED', 'MEETUP_MOVED', 'MEETUP_CANCELLED'];

comment on function internal.notification_kinds is 'Every kind of email, in the order in which callers see them.';

create function internal.enqueue_notification(
    p_kind text,
    p_user_id uuid,
    p_payload jsonb,
    p_dedupe_key text,
    p_match_id uuid default null,
    p_recipient_email text default null,
    p_send_time timestamptz default now(),
    p_expire_time timestamptz default null
)
    returns uuid
    language plpgsql
    set search_path = ''
as $$
declare
    recipient record;
    notification_id uuid;
begin
    select p.email, p.first_name, p.locale, p.time_zone into recipient
    from public.user_profiles p where p.id = p_user_id;
    if not found and p_recipient_email is null then
        perform internal.raise_error('WM404', 'PROFILE_NOT_FOUND', 'the person to notify has no profile',
            jsonb_build_object('user_id', p_user_id));
    end if;

    insert into public.notifications (
        kind, user_id, recipient_email, recipient_name, locale, payload, match_id, dedupe_key,
        send_time, next_attempt_time, expire_time)
    values (
        p_kind, p_user_id, coalesce(p_recipient_email, recipient.email), coalesce(recipient.first_name, ''),
        coalesce(recipient.locale, 'en'),
        jsonb_build_object('time_zone', coalesce(recipient.time_zone, 'UTC')) || p_payload,
        p_match_id, p_dedupe_key, p_send_time, p_send_time, p_expire_time)
    on conflict (dedupe_key) do nothing
    returning id into notification_id;

    if notification_id is null then
        select n.id into strict notification_id from public.notifications n where n.dedupe_key = p_dedupe_key;
    else
        perform pg_notify('notifications', '');
    end if;
    return notification_id;
end
$$;

comment on function internal.enqueue_notification is
    'Add an email to the caller''s transaction and return its id; a known dedupe_key returns the first one''s. Times '
    'in it are shown in the person''s zone unless the payload names a time_zone.';

create function internal.cancel_notifications(p_match_id uuid, p_kind text default null)
    returns integer
    language plpgsql
    set search_path = ''
as $$
declare
    cancelled integer;
begin
    update public.notifications n set state = 'CANCELLED'
    where n.match_id = p_match_id and n.state = 'PENDING' and (p_kind is null or n.kind = p_kind);
    get diagnostics cancelled = row_count;
    return cancelled;
end
$$;

comment on function internal.cancel_notifications is
    'Cancel a match''s waiting emails and return how many; one that is being sent is left to the check before '
    'sending.';

create function internal.notification_json(n public.notifications)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select jsonb_build_object(
        'id', n.id,
        'kind', n.kind,
        'state', case when n.state = 'PENDING' and n.send_time > now() then 'SCHEDULED' else n.state end,
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

comment on function internal.notification_json is
    'A notification as callers may see it: without address and content.';

create function internal.visible_state(n public.notifications)
    returns text
    language sql
    stable
    return case when n.state = 'PENDING' and n.send_time > now() then 'SCHEDULED' else n.state end;

comment on function internal.visible_state is
    'The state of an email as callers see it: what is not due yet is SCHEDULED.';

create function internal.require_notification(p_notification_id uuid)
    returns public.notifications
    language plpgsql
    set search_path = ''
as $$
declare
    found_one public.notifications;
begin
    select * into found_one from public.notifications n where n.id = p_notification_id for update;
    if not found then
        perform internal.raise_error('WM404', 'NOTIFICATION_NOT_FOUND', 'no such notification',
            jsonb_build_object('notification_id', p_notification_id));
    end if;
    return found_one;
end
$$;

comment on function internal.require_notification is
    'Return one notification, locked. Raises WM404 NOTIFICATION_NOT_FOUND.';

create function internal.raise_notification_state(n public.notifications, p_reason text, p_message text)
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_error('WM409', p_reason, p_message,
        jsonb_build_object('notification_id', n.id, 'state', n.state))
$$;

comment on function internal.raise_notification_state is 'Raise WM409 about the state that a notification is in.';

create function internal.require_room_in_queue(p_queue_limit integer)
    returns void
    language plpgsql
    stable
    set search_path = ''
    -- Without knowing the limit the planner would count every waiting email.
    set plan_cache_mode = force_custom_plan
as $$
begin
    if exists (
        select from public.notifications n where n.state = 'PENDING' and n.next_attempt_time <= now()
        offset p_queue_limit - 1 limit 1
    ) then
        perform internal.raise_error('WM429', 'NOTIFICATION_QUEUE_FULL', 'too many mails wait to be sent',
            jsonb_build_object('retry_after_seconds', '30', 'limit', p_queue_limit::text));
    end if;
end
$$;

comment on function internal.require_room_in_queue is
    'Raise WM429 NOTIFICATION_QUEUE_FULL if so many emails are due and wait. Reads at most that many index entries.';

create function public.send_notification(
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

comment on function public.send_notification is
    'Store an email to a person or an address and return {"notification": ...}; one that is not wanted, as '
    'SUPPRESSED. Raises WM404 PROFILE_NOT_FOUND, WM429 NOTIFICATION_QUEUE_FULL, WM400 FIELD_INVALID, WM400 '
    'REQUEST_ID_REUSED.';

create function public.get_send_answered(p_user_id uuid, p_request uuid)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select to_jsonb(exists (
        select from public.request_keys k
        where k.scope = 'send_notification' and k.user_id = coalesce(p_user_id, '00000000-0000-0000-0000-000000000000')
            and k.request_id = p_request and k.answer is not null and k.expire_time > now()))
$$;

comment on function public.get_send_answered is
    'Returns whether send_notification has an answer to p_request for the person, or for none, whatever the '
    'arguments.';

create function public.get_notification(p_notification_id uuid, p_user_id uuid default null)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    found_one jsonb;
begin
    select internal.notification_json(n) into found_one from public.notifications n
    where n.id = p_notification_id and (p_user_id is null or n.user_id = p_user_id);
    if found_one is null then
        perform internal.raise_error('WM404', 'NOTIFICATION_NOT_FOUND', 'no such notification',
            jsonb_build_object('notification_id', p_notification_id));
    end if;
    return jsonb_build_object('notification', found_one);
end
$$;

comment on function public.get_notification is
    'Return {"notification": ...}; with p_user_id only an email to that person. Raises WM404 NOTIFICATION_NOT_FOUND.';

create function public.list_notifications(
    p_user_id uuid default null,
    p_states text[] default null,
    p_kinds text[] default null,
    p_match_id uuid default null,
    p_page_size integer default 0,
    p_after uuid default null
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
            and (p_states is null or internal.visible_state(t) = any (p_states))
            and (p_after is null or (t.create_time, t.id) < (cursor_time, p_after))
        order by t.create_time desc, t.id desc limit page_size
    ) n;
    return jsonb_build_object(
        'notifications', page,
        'next_after', case when jsonb_array_length(page) = page_size then page -> -1 -> 'id' end);
end
$$;

comment on function public.list_notifications is
    'Emails, newest first, of one person or of all; next_after continues the list and is null where a page is not '
    'full.';

create function public.cancel_notification(p_notification_id uuid, p_request_id uuid default null)
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
    elsif asked.state <> 'CANCELLED' then
        perform internal.raise_notification_state(
            asked, 'NOTIFICATION_STATE_INVALID', 'only a mail that waits can be cancelled');
    end if;
    return internal.remember_answer('cancel_notification', p_notification_id, p_request_id,
        jsonb_build_object('notification', internal.notification_json(asked)));
end
$$;

comment on function public.cancel_notification is
    'Call an email off; once this returns it will not be sent. Return {"notification": ...}. Raises WM404 '
    'NOTIFICATION_NOT_FOUND, WM409 NOTIFICATION_IN_FLIGHT, WM409 NOTIFICATION_STATE_INVALID, WM400 '
    'REQUEST_ID_REUSED.';

create function public.retry_notification(p_notification_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer('retry_notification', p_notification_id, p_request_id, '[]');
    asked public.notifications;
begin
    if answer is not null then
        return answer;
    end if;
    asked := internal.require_notification(p_notification_id);
    if asked.state not in ('DEAD', 'REVIEW') then
        perform internal.raise_notification_state(
            asked, 'NOTIFICATION_STATE_INVALID', 'only a mail that was given up can be sent again');
    end if;
    -- A new generation is a new key: the old one may be forgotten, or stand for content that was refused.
    update public.notifications n set
        state = 'PENDING',
        generation = n.generation + 1,
        rendered = null,
        ambiguous = false,
        first_attempt_time = null,
        next_attempt_time = now(),
        last_error = null
    where n.id = p_notification_id returning * into asked;
    perform pg_notify('notifications', '');
    return internal.remember_answer('retry_notification', p_notification_id, p_request_id,
        jsonb_build_object('notification', internal.notification_json(asked)));
end
$$;

comment on function public.retry_notification is
    'Send an email in DEAD or REVIEW again, as an email of its own. Return {"notification": ...}. Raises WM404 '
    'NOTIFICATION_NOT_FOUND, WM409 NOTIFICATION_STATE_INVALID, WM400 REQUEST_ID_REUSED.';

revoke execute on function
    public.send_notification, public.get_send_answered, public.get_notification, public.list_notifications,
    public.cancel_notification, public.retry_notification
    from public, anon, authenticated;
grant execute on function
    public.send_notification, public.get_send_answered, public.get_notification, public.list_notifications,
    public.cancel_notification, public.retry_notification
    to service_role;

-- Which emails a person wants, and which addresses get none.

create table public.notification_preferences (
    user_id uuid primary key,
    disabled_kinds text[] not null default '{}',
    update_time timestamptz not null default now()
);

comment on table public.notification_preferences is 'The kinds of email that a person turned off; no row means none.';

alter table public.notification_preferences enable row level security;
revoke all on table public.notification_preferences from public, anon, authenticated;
grant select, insert, update, delete on table public.notification_preferences to service_role;
grant select on table public.notification_preferences to authenticated;
create policy notification_preferences_own on public.notification_preferences
    for select to authenticated using (user_id = (select auth.uid()));

create table public.suppressed_addresses (
    address_hash text primary key,
    cause text not null check (cause in ('BOUNCE', 'COMPLAINT', 'PROVIDER')),
    create_time timestamptz not null default now()
);

comment on table public.suppressed_addresses is
    'Addresses that get no email. By hash: it outlives the person''s profile, and says nothing to who does not know '
    'them.';

alter table public.suppressed_addresses enable row level security;
revoke all on table public.suppressed_addresses from public, anon, authenticated;
grant select, insert, update, delete on table public.suppressed_addresses to service_role;

create function internal.hash_address(p_address text)
    returns text
    language sql
    immutable
    return encode(sha256(convert_to(lower(btrim(p_address)), 'UTF8')), 'hex');

comment on function internal.hash_address is
    'The key under which an address is suppressed: however it is written, one.';

create function internal.is_opted_out(p_user_id uuid, p_kind text, p_address text)
    returns boolean
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return exists (
            select from public.suppressed_addresses s where s.address_hash = internal.hash_address(p_address))
        or exists (
            select from public.notification_preferences p
            where p.user_id = p_user_id and p_kind = any (p.disabled_kinds));
end
$$;

comment on function internal.is_opted_out is
    'Whether an email must not go to a person, because of their choice or the address.';

create function internal.preferences_json(p_user_id uuid)
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
        'suppression', case when suppressed.cause is not null then
            jsonb_build_object('cause', suppressed.cause, 'create_time', suppressed.create_time) end,
        'update_time', chosen.update_time);
end
$$;

comment on function internal.preferences_json is
    'A person''s preferences as callers see them. Raises WM404 PROFILE_NOT_FOUND.';

create function public.get_notification_preferences(p_user_id uuid)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select jsonb_build_object('preferences', internal.preferences_json(p_user_id))
$$;

comment on function public.get_notification_preferences is
    'Return {"preferences": ...}. Raises WM404 PROFILE_NOT_FOUND.';

create function internal.set_notification_kinds(p_user_id uuid, p_enabled text[], p_disabled text[])
    returns void
    language sql
    set search_path = ''
as $$
    insert into public.notification_preferences as p (user_id, disabled_kinds)
    values (p_user_id, p_disabled)
    on conflict (user_id) do update set
        disabled_kinds = array(
            select k from unnest(p.disabled_kinds || excluded.disabled_kinds) k
            where k <> all (p_enabled) group by k order by k),
        update_time = now()
$$;

comment on function internal.set_notification_kinds is
    'Turn kinds of email on and off for a person; the others stay.';

create function public.update_notification_preferences(p_user_id uuid, p_kinds jsonb, p_request_id uuid default null)
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
    perform internal.preferences_json(p_user_id);
    perform internal.set_notification_kinds(
        p_user_id,
        array(select k ->> 'kind' from jsonb_array_elements(p_kinds) k where (k ->> 'enabled')::boolean),
        array(select k ->> 'kind' from jsonb_array_elements(p_kinds) k where not (k ->> 'enabled')::boolean));
    return internal.remember_answer('update_notification_preferences', p_user_id, p_request_id,
        jsonb_build_object('preferences', internal.preferences_json(p_user_id)));
end
$$;

comment on function public.update_notification_preferences is
    'Turn the kinds named, [{"kind": ..., "enabled": ...}], on or off. Return {"preferences": ...}. Raises WM404 '
    'PROFILE_NOT_FOUND, WM400 FIELD_INVALID, WM400 REQUEST_ID_REUSED.';

create function public.unsubscribe(p_user_id uuid, p_kind text)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.require(p_kind = any (internal.notification_kinds()), 'kind', 'kind must be a kind of mail');
    perform internal.set_notification_kinds(p_user_id, '{}', array[p_kind]);
    return 'true';
end
$$;

comment on function public.unsubscribe is
    'Turn one kind of email off for a person who need not have a profile any more. Repeating it changes nothing.';

create function internal.suppress_address(p_address text, p_cause text)
    returns void
    language sql
    set search_path = ''
as $$
    insert into public.suppressed_addresses (address_hash, cause) values (internal.hash_address(p_address), p_cause)
    on conflict do nothing
$$;

comment on function internal.suppress_address is 'Let an address get no email from now on; the first cause stays.';

create function internal.readdress_notifications()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    update public.notifications n set
        -- What was given for the one email, and is not what the profile said, stays as it was given.
        recipient_email = case n.recipient_email when old.email then new.email else n.recipient_email end,
        recipient_name = case n.recipient_name when old.first_name then new.first_name else n.recipient_name end,
        locale = case n.locale when old.locale then new.locale else n.locale end,
        payload = case n.payload ->> 'time_zone'
            when old.time_zone then n.payload || jsonb_build_object('time_zone', new.time_zone) else n.payload end
    where n.id in (
        -- What is locked is being sent or dropped. As nothing here waits, there is no circular wait.
        select w.id from public.notifications w
        where w.user_id = new.id and w.state = 'PENDING' and w.rendered is null
        for update skip locked);
    return null;
end
$$;

comment on function internal.readdress_notifications is
    'Lets emails that wait follow a person to another address, name, language or time zone. What was rendered stays.';

create constraint trigger readdress_notifications
    after update of email, first_name, locale, time_zone on public.user_profiles
    deferrable initially deferred
    for each row
    when ((old.email, old.first_name, old.locale, old.time_zone)
        is distinct from (new.email, new.first_name, new.locale, new.time_zone))
    execute function internal.readdress_notifications();

revoke execute on function
    public.get_notification_preferences, public.update_notification_preferences, public.unsubscribe
    from public, anon, authenticated;
grant execute on function
    public.get_notification_preferences, public.update_notification_preferences, public.unsubscribe
    to service_role;

-- Delivering emails: claims, the last check before sending, outcomes, and pauses.
--
-- A provider that asks for quiet is left alone by every replica until its time is up, and says why. A pause is one row
-- that claims and clearances look at first, so that what waits through it costs neither attempts nor leases. What waits
-- to be sent stays true: an email about a meetup speaks of the meetup as it is, and goes to the person as the profile
-- has it on the day on which it goes.

create table public.delivery_pauses (
    channel text primary key default 'EMAIL' check (channel = 'EMAIL'),
    reason text not null check (reason in ('THROTTLED', 'QUOTA', 'CONFIG')),
    error text,
    until_time timestamptz not null,
    update_time timestamptz not null default now()
);

comment on table public.delivery_pauses is
    'Until when nothing is sent, for all replicas; a row of the past means nothing.';
comment on column public.delivery_pauses.error is 'The provider''s name for what it refused.';

alter table public.delivery_pauses enable row level security;
revoke all on table public.delivery_pauses from public, anon, authenticated;
grant select, insert, update, delete on table public.delivery_pauses to service_role;

create function internal.delivery_pause_seconds()
    returns double precision
    language sql
    stable
    set search_path = ''
as $$
    select extract(epoch from d.until_time - now())::double precision
    from public.delivery_pauses d where d.until_time > now()
$$;

comment on function internal.delivery_pause_seconds is
    'For how long nothing is sent; null where nothing stands against it.';

create function public.get_delivery_pause()
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select jsonb_build_object('reason', d.reason, 'error', d.error, 'until_time', d.until_time)
    from public.delivery_pauses d where d.until_time > now()
$$;

comment on function public.get_delivery_pause is 'The pause that stands; null where none does.';

create function internal.pause_deliveries(p_reason text, p_error text, p_seconds double precision)
    returns void
    language sql
    set search_path = ''
as $$
    insert into public.delivery_pauses as d (reason, error, until_time)
    values (p_reason, p_error, now() + make_interval(secs => p_seconds))
    on conflict (channel) do update set
        reason = excluded.reason,
        error = excluded.error,
        until_time = excluded.until_time,
        update_time = excluded.update_time
    -- A short pause does not end a long one.
    where d.until_time < excluded.until_time
$$;

comment on function internal.pause_deliveries is 'Send nothing for so many seconds, unless a longer pause stands.';

create function public.resume_deliveries()
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    delete from public.delivery_pauses d where d.reason in ('CONFIG', 'QUOTA');
    if found then
        perform pg_notify('notifications', '');
    end if;
    return to_jsonb(found);
end
$$;

comment on function public.resume_deliveries is
    'End a pause whose cause a person may have mended; one that the provider timed itself stays. Return whether one '
    'was.';

create function internal.past_safe_retry(p_first_attempt_time timestamptz)
    returns boolean
    language sql
    stable
    set search_path = ''
as $$
    -- Providers remember an idempotency key for 24 hours; an hour of it is kept for clocks and slow requests.
    select coalesce(p_first_attempt_time < now() - interval '23 hours', false)
$$;

comment on function internal.past_safe_retry is
    'Whether the provider may have forgotten the idempotency key of an email first attempted then.';

create function internal.match_state_for_kind(p_kind text)
    returns text
    language sql
    immutable
    set search_path = ''
as $$
    select case p_kind
        when 'MATCH_INVITATION' then 'PENDING'
        when 'MATCH_ACCEPTANCE' then 'ACCEPTED'
        when 'MATCH_DECLINE' then 'DECLINED'
        when 'SESSION_REMINDER' then 'ACCEPTED'
    end
$$;

comment on function internal.match_state_for_kind is
    'The state that a match must still have for an email of this kind to be true; null where any will do.';

create function internal.is_current_for_meetup(p_notification public.notifications)
    returns boolean
    language sql
    stable
    set search_path = ''
as $$
    select not p_notification.payload ? 'meetup_id' or exists (
        select from public.meetups m
        where m.id = (p_notification.payload ->> 'meetup_id')::uuid
            and internal.meetup_state_now(m) = case p_notification.kind
                when 'MEETUP_CANCELLED' then 'CANCELLED' else 'SCHEDULED' end
            -- A later change has an email of its own.
            and m.sequence = coalesce((p_notification.payload ->> 'sequence')::integer, m.sequence))
$$;

comment on function internal.is_current_for_meetup is
    'Whether the meetup of an eemail''s payload, {"meetup_id": ..., "sequence": ...}, still is what the email says; '
    'true for an email without one.';

create function internal.reason_not_to_send(p_notification public.notifications)
    returns text
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    expected constant text := internal.match_state_for_kind(p_notification.kind);
begin
    if p_notification.expire_time <= now() then
        return 'EXPIRED';
    end if;
    if p_notification.match_id is not null and expected is not null
        and not exists (select from public.matches m where m.id = p_notification.match_id and m.state = expected) then
        return 'CANCELLED';
    end if;
    if not internal.is_current_for_meetup(p_notification) then
        return 'CANCELLED';
    end if;
    if internal.is_opted_out(p_notification.user_id, p_notification.kind, p_notification.recipient_email) then
        return 'SUPPRESSED';
    end if;
    return null;
end
$$;

comment on function internal.reason_not_to_send is
    'The state for an email that must not go out any more, because it is late, not true any longer or not wanted; '
    'null where it may.';

create function internal.lease_due_notifications(p_owner text, p_limit integer, p_lease_seconds double precision)
    returns jsonb
    language plpgsql
    set search_path = ''
    -- Without knowing the limit the planner reads and sorts every waiting email.
    set plan_cache_mode = force_custom_plan
as $$
declare
    claimed jsonb;
    next_due timestamptz;
begin
    -- Materialized, so that each scan runs once and its limit holds while other claimers skip the rows it locked.
    with abandoned as materialized (
        -- A worker vanished with an email it may have begun to send: whether it went out is unknown.
        select n.id, n.expire_time, n.first_attempt_time, n.ambiguous or n.rendered is not null as ambiguous
        from public.notifications n
        where n.state = 'SENDING' and n.lease_expire_time <= now()
        order by n.lease_expire_time limit p_limit for update skip locked
    ), due as materialized (
        select n.id, n.expire_time, n.first_attempt_time, n.ambiguous
        from public.notifications n
        where n.state = 'PENDING' and n.next_attempt_time <= now()
        order by n.next_attempt_time, n.id limit p_limit for update skip locked
    ), judged as (
        select c.id, c.ambiguous, case
            when c.expire_time <= now() then 'EXPIRED'
            when c.ambiguous and internal.past_safe_retry(c.first_attempt_time) then 'REVIEW'
            else 'SENDING' end as verdict
        from (select * from abandoned union all select * from due limit p_limit) c
    ), taken as (
        update public.notifications n set
            state = j.verdict,
            ambiguous = j.ambiguous,
            epoch = n.epoch + 1,
            lease_owner = case when j.verdict = 'SENDING' then p_owner end,
            lease_expire_time = case when j.verdict = 'SENDING' then now() + make_interval(secs => p_lease_seconds) end
        from judged j where n.id = j.id
        returning n.*
    )
    select coalesce(jsonb_agg(to_jsonb(c) order by c.send_time, c.id), '[]') into claimed
    from (
        select t.id, t.kind, t.epoch, t.user_id, t.recipient_email, t.recipient_name, t.locale, t.payload, t.match_id,
            t.send_time, t.create_time, t.rendered
        from taken t where t.state = 'SENDING'
    ) c;

    select min(d.due_time) into next_due from (
        (select n.next_attempt_time as due_time from public.notifications n
          where n.state = 'PENDING' order by n.next_attempt_time limit 1)
        union all
        (select n.lease_expire_time from public.notifications n
          where n.state = 'SENDING' order by n.lease_expire_time limit 1)
    ) d;
    return jsonb_build_object(
        'notifications', claimed,
        'next_due_seconds',
        case when next_due is not null then extract(epoch from greatest(next_due - now(), interval '0')) end);
end
$$;

comment on function internal.lease_due_notifications is
    'Lease up to p_limit due emails, abandoned ones first, and say in how many seconds the next one is due.';

create function public.claim_notifications(p_owner text, p_limit integer, p_lease_seconds double precision)
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
    return internal.lease_due_notifications(p_owner, p_limit, p_lease_seconds) || jsonb_build_object('paused', false);
end
$$;

comment on function public.claim_notifications is
    'Lease due emails as lease_due_notifications does; none, and due when the pause ends, while deliveries are '
    'paused.';

create function public.release_notifications(p_owner text)
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
    where n.state = 'SENDING' and n.lease_owner = p_owner;
    get diagnostics released = row_count;
    if released > 0 then
        perform pg_notify('notifications', '');
    end if;
    return to_jsonb(released);
end
$$;

comment on function public.release_notifications is
    'Give back what an owner has leased, for others to take at once, and return how many.';

create function internal.clear_notification(
    p_id uuid, p_epoch bigint, p_rendered jsonb, p_lease_seconds double precision default 60
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    mine public.notifications;
    refusal text;
begin
    select * into mine from public.notifications n
    where n.id = p_id and n.epoch = p_epoch and n.state = 'SENDING' for update;
    if not found then
        return jsonb_build_object('send', false);
    end if;

    refusal := internal.reason_not_to_send(mine);
    if refusal is not null then
        update public.notifications n set state = refusal, lease_owner = null, lease_expire_time = null
        where n.id = p_id;
        return jsonb_build_object('send', false);
    end if;

    update public.notifications n set
        rendered = coalesce(n.rendered, p_rendered),
        first_attempt_time = coalesce(n.first_attempt_time, now()),
        attempt_count = n.attempt_count + 1,
        lease_expire_time = now() + make_interval(secs => p_lease_seconds)
    where n.id = p_id returning * into mine;
    return jsonb_build_object(
        'send', true,
        'rendered', mine.rendered,
        'idempotency_key', format('ntf/%s/g%s', mine.id, mine.generation),
        'attempt_count', mine.attempt_count);
end
$$;

comment on function internal.clear_notification is
    'Last check before sending: keep the first attempt''s content and return it with its key, or {"send": false}.';

create function public.store_rendered_notification(
    p_id uuid, p_epoch bigint, p_rendered jsonb, p_lease_seconds double precision default 60
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    if internal.delivery_pause_seconds() is null then
        return internal.clear_notification(p_id, p_epoch, p_rendered, p_lease_seconds);
    end if;
    update public.notifications n set
        state = 'PENDING',
        epoch = n.epoch + 1,
        deferral_count = n.deferral_count + 1,
        lease_owner = null,
        lease_expire_time = null
    where n.id = p_id and n.epoch = p_epoch and n.state = 'SENDING';
    return jsonb_build_object('send', false);
end
$$;

comment on function public.store_rendered_notification is
    'Clear an email for sending as clear_notification does; while deliveries are paused, put it back to wait '
    'instead.';

create function public.finish_notification(
    p_id uuid,
    p_epoch bigint,
    p_outcome text,
    p_provider_message_id text default null,
    p_error text default null,
    p_retry_seconds double precision default 60,
    p_pause_seconds double precision default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    deferred constant boolean := p_outcome in ('THROTTLED', 'QUOTA', 'CONFIG', 'IN_FLIGHT', 'WITHHELD');
    doubtful constant boolean := p_outcome in ('AMBIGUOUS', 'IN_FLIGHT');
    reached text;
begin
    if not deferred and not doubtful and p_outcome not in ('ACCEPTED', 'NOT_ACCEPTED', 'BAD_MESSAGE', 'KEY_MISMATCH') then
        raise exception 'unknown outcome %', p_outcome;
    end if;
    if p_pause_seconds is not null then
        perform internal.pause_deliveries(
            case when p_outcome in ('QUOTA', 'CONFIG') then p_outcome else 'THROTTLED' end, p_error, p_pause_seconds);
    end if;

    update public.notifications n set
        state = case
            when p_outcome = 'ACCEPTED' then 'SENT'
            when p_outcome = 'BAD_MESSAGE' then 'DEAD'
            when p_outcome = 'KEY_MISMATCH' then 'REVIEW'
            when not internal.past_safe_retry(n.first_attempt_time) then 'PENDING'
            when n.ambiguous or doubtful then 'REVIEW'
            when deferred then 'PENDING'
            else 'DEAD' end,
        ambiguous = n.ambiguous or doubtful,
        attempt_count = n.attempt_count - deferred::integer,
        deferral_count = n.deferral_count + deferred::integer,
        -- Waiting in a queue that stands still must not use up the time for trying.
        first_attempt_time = case
            when deferred and not doubtful and not n.ambiguous and n.attempt_count = 1 then null
            else n.first_attempt_time end,
        -- What was refused for our settings is rendered again with other ones, under a key of its own: nothing of it is out.
        rendered = case when p_outcome = 'CONFIG' and not n.ambiguous then null else n.rendered end,
        generation = n.generation + (p_outcome = 'CONFIG' and not n.ambiguous)::integer,
        sent_time = case when p_outcome = 'ACCEPTED' then now() end,
        provider_message_id = p_provider_message_id,
        last_error = p_error,
        next_attempt_time = now() + make_interval(secs => p_retry_seconds),
        lease_owner = null,
        lease_expire_time = null
    where n.id = p_id and n.epoch = p_epoch and n.state = 'SENDING'
    returning n.state into reached;
    return to_jsonb(reached);
end
$$;

comment on function public.finish_notification is
    'Record the outcome of an attempt and return the state reached; null, and the row unchanged, if another has it.';

revoke execute on function
    public.get_delivery_pause, public.resume_deliveries, public.claim_notifications, public.release_notifications,
    public.store_rendered_notification, public.finish_notification
    from public, anon, authenticated;
grant execute on function
    public.get_delivery_pause, public.resume_deliveries, public.claim_notifications, public.release_notifications,
    public.store_rendered_notification, public.finish_notification
    to service_role;

-- What the provider reports of an email that is out. Events come more than once and in any order, so the state they lead
-- to is the highest of them, whichever came last.

create table public.delivery_events (
    event_id text primary key,
    type text not null,
    notification_id uuid,
    event_time timestamptz,
    receive_time timestamptz not null default now()
);

comment on table public.delivery_events is 'Events reported by the provider, each once, however often it was reported.';

create index delivery_events_of_notification on public.delivery_events (notification_id);
create index delivery_events_received on public.delivery_events (receive_time);

alter table public.delivery_events enable row level security;
revoke all on table public.delivery_events from public, anon, authenticated;
grant select, insert, update, delete on table public.delivery_events to service_role;

create function internal.delivery_rank(p_state text)
    returns integer
    language sql
    immutable
    -- What was given up, called off or is still waiting is out after all when the provider speaks of it.
    return coalesce(
        array_position(array['SENT', 'DELAYED', 'SUPPRESSED', 'DEAD', 'DELIVERED', 'BOUNCED', 'COMPLAINED'], p_state), 0);

comment on function internal.delivery_rank is
    'The order of states that an email has once it is out; 0 for those before.';

create function internal.rank_before_event(n public.notifications)
    returns integer
    language sql
    immutable
    -- DEAD and SUPPRESSED of an email that never was out are our own words, not the provider's.
    return case when n.sent_time is null then 0 else internal.delivery_rank(n.state) end;

comment on function internal.rank_before_event is 'How far the provider''s word has brought an email.';

create function internal.notification_of_event(p_notification_id uuid, p_provider_message_id text)
    returns uuid
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return coalesce(
        (select n.id from public.notifications n where n.id = p_notification_id),
        (select n.id from public.notifications n where n.provider_message_id = p_provider_message_id limit 1));
end
$$;

comment on function internal.notification_of_event is
    'The email that an event is about: by our id, or by the provider''s.';

create function public.record_delivery_event(
    p_event_id text,
    p_type text,
    p_state text default null,
    p_suppression text default null,
    p_event_time timestamptz default null,
    p_notification_id uuid default null,
    p_provider_message_id text default null,
    p_address text default null
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
    return jsonb_build_object('notification', case when told.id is not null then internal.notification_json(told) end);
end
$$;

comment on function public.record_delivery_event is
    'Take an event in, once: raise the state of its email, suppress its address. Return {"notification": ... or '
    'null}.';

create function public.purge_delivery_events(p_limit integer default 1000)
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
        where o.receive_time < now() - interval '30 days' order by o.receive_time limit p_limit);
    get diagnostics purged = row_count;
    return jsonb_build_object('purged', purged);
end
$$;

comment on function public.purge_delivery_events is
    'Delete at most p_limit events of more than 30 days ago: the provider repeats none that old. Return {"purged": '
    'n}.';

revoke execute on function
    public.record_delivery_event, public.purge_delivery_events
    from public, anon, authenticated;
grant execute on function public.record_delivery_event, public.purge_delivery_events to service_role;

-- What the coach may know: levels, archetypes, counts, times, and titles of the catalogue. Never a name, an address, a
-- place or a text that a person wrote, because what is returned here is sent to the provider of the model.

create function internal.coaching_challenge(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (
        select jsonb_build_object('title', c.title, 'difficulty', c.difficulty, 'expire_time', a.expire_time)
        from public.user_challenges a
        join public.approach_challenges c on c.id = a.challenge_id
        where a.user_id = p_user_id and a.state = 'STARTED' and a.expire_time > now()
        order by a.create_time desc, a.id desc
        limit 1);
end
$$;

comment on function internal.coaching_challenge is
    'Returns {title, difficulty, expire_time} of the challenge that the person took on last and has under way, or '
    'null.';

create function internal.coaching_meetup(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (
        select jsonb_build_object('scheduled_time', m.scheduled_time, 'challenge_title', c.title)
        from public.meetups m
        left join public.approach_challenges c on c.id = case p_user_id
            when m.requester_id then m.requester_challenge_id else m.invitee_challenge_id end
        where p_user_id in (m.requester_id, m.invitee_id) and m.state = 'SCHEDULED' and m.scheduled_time > now()
        order by m.scheduled_time
        limit 1);
end
$$;

comment on function internal.coaching_meetup is
    'Returns {scheduled_time, challenge_title} of the person''s next meetup, or null; the challenge is the person''s '
    'own.';

create function public.coaching_context(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object(
        'profile', (
            select jsonb_build_object(
                'experience_level', u.experience_level,
                'confidence_archetype', u.confidence_archetype,
                'time_zone', u.time_zone)
            from public.user_profiles u where u.id = p_user_id),
        'match_count', (
            select count(*) from public.matches m
            where p_user_id in (m.requester_id, m.invitee_id) and m.state in ('ACCEPTED', 'ENDED')),
        'challenge', internal.coaching_challenge(p_user_id),
        'meetup', internal.coaching_meetup(p_user_id));
end
$$;

comment on function public.coaching_context is
    'Returns {profile, match_count, challenge, meetup}: what the coach knows of a person, null where there is '
    'nothing.';

create function internal.plan_participant(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (
        select jsonb_build_object(
            'user_id', u.id,
            'experience_level', u.experience_level,
            'confidence_archetype', u.confidence_archetype,
            'done_challenge_ids', (
                select coalesce(jsonb_agg(distinct a.challenge_id), '[]')
                from public.user_challenges a where a.user_id = u.id and a.state = 'SUBMITTED'))
        from public.user_profiles u where u.id = p_user_id);
end
$$;

comment on function internal.plan_participant is
    'Returns {user_id, experience_level, confidence_archetype, done_challenge_ids} of one of the people of a plan.';

create function public.meetup_plan_facts(p_match_id uuid, p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    planned constant public.matches := internal.require_match(p_match_id, p_user_id);
    state constant text := internal.state_now(planned);
begin
    if state not in ('PENDING', 'ACCEPTED') then
        perform internal.raise_error('WM409', 'MATCH_NOT_ACCEPTED', 'the match is neither pending nor accepted',
            jsonb_build_object('state', state));
    end if;
    return jsonb_build_object(
        'match_id', planned.id,
        'requester', internal.plan_participant(planned.requester_id),
        'invitee', internal.plan_participant(planned.invitee_id),
        'challenges', (
            select coalesce(
                jsonb_agg(
                    jsonb_build_object('id', c.id, 'title', c.title, 'difficulty', c.difficulty)
                    order by c.difficulty, c.title, c.id),
                '[]')
            from public.approach_challenges c where not c.retired));
end
$$;

comment on function public.meetup_plan_facts is
    'Returns {match_id, requester, invitee, challenges} of a live match to one of its two people. Raises WM404 '
    'MATCH_NOT_FOUND, and MATCH_NOT_ACCEPTED for a match that is over.';

revoke execute on function public.coaching_context, public.meetup_plan_facts from public, anon, authenticated;
grant execute on function public.coaching_context, public.meetup_plan_facts to service_role;

-- Erasing a person: everything about them goes in one transaction, and other people's history keeps an empty place.
-- What lies outside the database is cleaned up after the commit, and remembered here until it is.
--
-- An erasure empties what is kept of the person in the histories of others, also of matches that ended long ago. So it
-- locks everybody whom the person ever met: two who once met can be erased at the same time without a circular wait.

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
        select m.requester_id from public.matches m where m.invitee_id = p_user_id and m.requester_id is not null);
end
$$;

comment on function internal.partners_of is 'Returns the people with whom the person ever had a match.';

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
    'Locks the person and everybody whom the person ever met as lock_people does. Raises WM412 CONFLICT.';

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

create function internal.erase_from_notifications(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    address constant text := (select lower(p.email) from public.user_profiles p where p.id = p_user_id);
begin
    with gone as (
        delete from public.notifications n
        where n.user_id = p_user_id
            -- Also what was addressed by hand, unless it is the address of another person too.
            or lower(n.recipient_email) = address and not exists (
                select from public.user_profiles p where p.id = n.user_id and lower(p.email) = address)
        returning n.id
    )
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
    where n.match_id in (
        select m.id from public.matches m where m.requester_id = p_user_id or m.invitee_id = p_user_id);
end
$$;

comment on function internal.erase_from_notifications is
    'Deletes the person''s emails and preferences, and stops and empties the emails about the person.';

create function internal.erase_from_answers(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    delete from public.request_keys k where k.user_id = p_user_id;
    update public.request_keys k set answer = internal.without_person(k.answer, p_user_id)
    where k.answer::text like '%' || p_user_id || '%' and k.user_id in (
        select case p_user_id when m.requester_id then m.invitee_id else m.requester_id end
        from public.matches m
        where m.requester_id = p_user_id or m.invitee_id = p_user_id);
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
    delete from public.erasures e where e.user_id is null and e.expire_time <= now();
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

-- Everything that is stored about a person, for the person: one function a kind of record, in one form.

create type internal.export_record as (create_time timestamptz, id text, record jsonb);

create function internal.export_profile(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select p.create_time, p.id::text, internal.profile_json(p) || jsonb_build_object(
        'location', jsonb_build_object('latitude', l.latitude, 'longitude', l.longitude),
        'reputation', m.reputation)
    from public.user_profiles p
    join public.user_locations l on l.user_id = p.id
    join public.match_pool m on m.user_id = p.id
    where p.id = p_user_id;
end
$$;

comment on function internal.export_profile is 'Returns the person''s profile, with the place.';

create function internal.export_matches(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select m.create_time, m.id::text, case m.requester_id
        when p_user_id then internal.match_json(m)
        else internal.match_json(m) - 'venue_suggestion' - 'message' end
    from public.matches m
    where m.requester_id = p_user_id or m.invitee_id = p_user_id;
end
$$;

comment on function internal.export_matches is 'Returns the person''s matches, without the words of others.';

create function internal.export_blocks(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select '-infinity'::timestamptz, a.other_id::text, jsonb_build_object('blocked_user_id', a.other_id)
    from public.avoidances a
    where a.user_id = p_user_id and a.cause = 'BLOCKED';
end
$$;

comment on function internal.export_blocks is 'Returns whom the person blocked.';

create function internal.export_notifications(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select n.create_time, n.id::text,
        internal.notification_json(n) || jsonb_build_object('recipient_email', n.recipient_email)
    from public.notifications n
    where n.user_id = p_user_id;
end
$$;

comment on function internal.export_notifications is 'Returns the emails to the person, without the words of others.';

create function internal.export_notification_preferences(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select p.create_time, p.id::text, internal.preferences_json(p.id)
    from public.user_profiles p
    where p.id = p_user_id;
end
$$;

comment on function internal.export_notification_preferences is
    'Returns which kinds of email the person wants, and whether the address is suppressed.';

create function internal.export_meetups(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select m.create_time, m.id::text, case m.venue_author_id
        when p_user_id then internal.meetup_json(m, p_user_id)
        else internal.meetup_json(m, p_user_id) - 'venue_name' end
    from public.meetups m
    where m.requester_id = p_user_id or m.invitee_id = p_user_id;
end
$$;

comment on function internal.export_meetups is
    'Returns the person''s meetups with their notes, without the words of others.';

create function internal.export_user_challenges(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select u.create_time, u.id::text, internal.user_challenge_json(u)
    from public.user_challenges u
    where u.user_id = p_user_id;
end
$$;

comment on function internal.export_user_challenges is 'Returns the challenges that the person took on.';

create function internal.export_share_links(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select l.create_time, l.id::text, jsonb_strip_nulls(to_jsonb(l))
    from public.share_links l
    where l.user_id = p_user_id;
end
$$;

comment on function internal.export_share_links is 'Returns the links that the person made.';

create function internal.export_records(p_user_id uuid, p_kind text)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    case p_kind
        when 'PROFILE' then return query select * from internal.export_profile(p_user_id);
        when 'MATCH' then return query select * from internal.export_matches(p_user_id);
        when 'BLOCK' then return query select * from internal.export_blocks(p_user_id);
        when 'MEETUP' then return query select * from internal.export_meetups(p_user_id);
        when 'USER_CHALLENGE' then return query select * from internal.export_user_challenges(p_user_id);
        when 'SHARE_LINK' then return query select * from internal.export_share_links(p_user_id);
        when 'NOTIFICATION' then return query select * from internal.export_notifications(p_user_id);
        when 'NOTIFICATION_PREFERENCES' then
            return query select * from internal.export_notification_preferences(p_user_id);
        else null;
    end case;
end
$$;

comment on function internal.export_records is
    'Returns the person''s records of a kind; none of one that lies elsewhere.';

create function public.list_export_records(
    p_user_id uuid, p_kind text, p_after jsonb default null, p_page_size integer default 100
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    after_time constant timestamptz := p_after ->> 'create_time';
    after_id constant text := p_after ->> 'id';
    page internal.export_record[];
begin
    if not exists (select from public.user_profiles p where p.id = p_user_id) then
        perform internal.raise_profile_not_found(p_user_id);
    end if;
    page := array(
        select row(r.create_time, r.id, r.record)::internal.export_record
        from internal.export_records(p_user_id, p_kind) r
        where after_id is null or (r.create_time, r.id) > (after_time, after_id)
        order by r.create_time, r.id
        limit p_page_size + 1);
    return jsonb_build_object(
        'records', (
            select coalesce(jsonb_agg(each.record order by each.position), '[]')
            from unnest(page[1:p_page_size]) with ordinality each (create_time, id, record, position)),
        'next_after', case when cardinality(page) > p_page_size then jsonb_build_object(
            'create_time', page[p_page_size].create_time, 'id', page[p_page_size].id) end);
end
$$;

comment on function public.list_export_records is
    'Returns {"records": [...], "next_after": {...} or null}, the oldest first; p_after is next_after of the page '
    'before. Raises WM404 PROFILE_NOT_FOUND.';

revoke execute on function public.list_export_records from public, anon, authenticated;
grant execute on function public.list_export_records to service_role;

-- Who may execute the functions of the schema internal: the service role, and for what anybody may read the anonymous one.

revoke execute on all functions in schema internal from public;
grant execute on all functions in schema internal to service_role;
grant execute on function internal.challenge_json to anon;
