-- Who can be met, and where: one narrow row a person, and who is kept apart from whom.
--
-- A row of match_pool is also the lock on everything that changes about its person. Locks are taken in this order, so
-- that nothing waits in a circle:
--
--   1. the user_id (lock_user_id), which can be locked before there is a row, by what makes or erases a profile;
--   2. the row of request_keys (recall_answer);
--   3. the rows of match_pool (lock_people), all of them at once, in the order of user_id;
--   4. all other rows, and as the transaction commits the feeds of events, in the order of user_id.
--
-- What changes rows about a person without the person's lock, as sweeps and deliveries of emails do, waits for at most
-- one row while it holds none that a holder of people could wait for; beyond that it skips what is locked.

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
    'What matching knows of each person. The place is the person''s stand-in, never the true one.';
comment on column public.match_pool.coarse is 'Whether the stand-in is one of a cell of CITY_ONLY.';

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

comment on function internal.stand_in is
    'Returns the point (longitude, latitude) that stands for a person''s place wherever people are matched, '
    'measured or ordered: a point of the same cell of a grid that depends on the person and the cell alone. The '
    'stand-in of a stand-in is itself. Cells are about 0.7 by 0.7 miles, or 7 by 7 where p_coarse.';

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

comment on function internal.enter_match_pool is
    'Brings the person''s row of match_pool up to date with profile and location.';

create function internal.lock_user_id(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('user_id/' || p_user_id, 0));
end
$$;

comment on function internal.lock_user_id is
    'Locks a user_id, whether or not there is a profile, until the transaction ends. May wait; call it once, before '
    'any other lock. Only what makes or erases profiles needs it.';

create function internal.lock_people(p_user_ids uuid[])
    returns void
    language plpgsql
    set search_path = ''
    -- To plan anew for each array costs more than to run.
    set plan_cache_mode = force_generic_plan
as $$
begin
    perform from public.match_pool m where m.user_id = any (p_user_ids) order by m.user_id for no key update;
end
$$;

comment on function internal.lock_people is
    'Locks these people''s rows of match_pool until the transaction ends. May wait; call it once, before any lock '
    'but those of lock_user_id and recall_answer.';

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
