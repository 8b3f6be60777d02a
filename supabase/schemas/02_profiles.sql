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
    -- PRECISE is how APPROXIMATE is stored. Servers of the version before know no other word, and read and write it;
    -- once they are gone, a migration can store the API's word. store_profile takes both.
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
    longitude double precision not null check (longitude between -180 and 180),
    counted_place point
);

comment on table public.user_locations is
    'The true place of each person, in degrees. Nothing but the person''s own export shows it; everything else reads '
    'the stand-in that is made of it.';
comment on column public.user_locations.counted_place is
    'The stand-in (longitude, latitude) from which the next far move is measured: where the person was when the last '
    'one was counted. Null until the place is stored a second time.';

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

comment on function internal.store_profile is
    'Creates or replaces the row of user_profiles; fields left out take their defaults. Raises class 22 for an '
    'unknown time zone.';

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

comment on function internal.store_location is
    'Stores the true place; without one keeps the stored place, or raises WM400 if there is none. Returns whether '
    'that is a far move: more than 25 miles from where the last one was counted, however many steps it took. The '
    'first place is none.';

create function internal.raise_relocation_limited()
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_error('WM429', 'RATE_LIMITED', 'the place moves far, and far moves are limited',
        jsonb_build_object('policy', 'profile_relocation'))
$$;

comment on function internal.raise_relocation_limited is 'Raises WM429 RATE_LIMITED about profile_relocation.';

-- By default everything may move, because servers of the version before do not count far moves.
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

comment on function public.upsert_profile is
    'Creates or replaces a profile and what matching knows of it, in one step; what was kept of the person''s erasure '
    'under one of p_digests, the keyed digests of the id, takes force again. Returns {"profile": ..., "relocated": '
    'whether this call moved the place far; not there in a remembered answer}, without location. '
    'Raises WM400 FIELD_INVALID, REQUEST_ID_REUSED; WM409 ERASED_RECENTLY; WM412 CONFLICT; and WM429 RATE_LIMITED, '
    'policy profile_relocation, for a far move without p_may_relocate.';

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
