-- What outlives an erasure, and takes force again if the id returns: who is kept apart from the person, and meetups that
-- the person missed. Without it an erasure would be a way past a block, or to a clean reputation.
--
-- Of an erased person only a digest of the id is kept, an HMAC under a key that the database never sees. The server
-- passes the digests: one to keep under, or one for each secret that it accepts to look for.
--
-- An erasure's daily counts need no keeping: an id may not return before 24 hours have passed, and by then they have run
-- out (require_daily_allowance). Suspensions belong here once there are any: a table beside kept_no_shows, written by
-- keep_of_erased and put in force by restore_kept.

create table public.kept_pairs (
    id uuid primary key default gen_random_uuid(),
    erased_digest text not null check (erased_digest ~ '^[0-9a-f]{64}$'),
    other_id uuid,
    other_digest text check (other_digest ~ '^[0-9a-f]{64}$'),
    cause text not null check (cause in ('PAIRED', 'BLOCKED', 'BLOCKED_BY')),
    expire_time timestamptz not null,
    check (num_nonnulls(other_id, other_digest) = 1)
);

comment on table public.kept_pairs is
    'Whom an erased person was kept apart from, one row a pair and cause. At least one of the two is erased.';
comment on column public.kept_pairs.other_id is 'The other person, for as long as that person is not erased.';
comment on column public.kept_pairs.other_digest is 'The other person, once erased too.';
comment on column public.kept_pairs.cause is 'Of the row of avoidances that the erased person had about the other.';

create index kept_pairs_of_erased on public.kept_pairs (erased_digest);
create index kept_pairs_of_other on public.kept_pairs (other_id) where other_id is not null;
create index kept_pairs_of_erased_other on public.kept_pairs (other_digest) where other_digest is not null;
create index kept_pairs_expiring on public.kept_pairs (expire_time);

alter table public.kept_pairs enable row level security;
revoke all on table public.kept_pairs from public, anon, authenticated;
grant select, insert, update, delete on table public.kept_pairs to service_role;

create table public.kept_no_shows (
    erased_digest text primary key check (erased_digest ~ '^[0-9a-f]{64}$'),
    no_show_count integer not null check (no_show_count > 0),
    expire_time timestamptz not null
);

comment on table public.kept_no_shows is 'How many meetups an erased person had missed, as others said.';

create index kept_no_shows_expiring on public.kept_no_shows (expire_time);

alter table public.kept_no_shows enable row level security;
revoke all on table public.kept_no_shows from public, anon, authenticated;
grant select, insert, update, delete on table public.kept_no_shows to service_role;

create table public.earlier_no_shows (
    user_id uuid primary key references public.user_profiles on delete cascade,
    no_show_count integer not null check (no_show_count > 0)
);

comment on table public.earlier_no_shows is
    'How many meetups a person who returned had missed before an erasure; no row means none.';

alter table public.earlier_no_shows enable row level security;
revoke all on table public.earlier_no_shows from public, anon, authenticated;
grant select, insert, update, delete on table public.earlier_no_shows to service_role;

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

comment on function internal.earlier_no_shows is 'Returns how many meetups the person had missed before an erasure.';

create function internal.cause_of_other(p_cause text)
    returns text
    language sql
    immutable
    return case p_cause when 'BLOCKED' then 'BLOCKED_BY' when 'BLOCKED_BY' then 'BLOCKED' else p_cause end;

comment on function internal.cause_of_other is 'Returns the cause as it stands in the other person''s row of avoidances.';

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

comment on function internal.keep_of_erased is
    'Keeps under p_digest what has to outlive the erasure of a person, which comes next in this transaction; with null '
    'nothing, and nothing of others'' erasures about the person either. The caller has locked the person and all '
    'partners_of the person.';

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

comment on function internal.kept_partners is
    'Returns the people whom restore_kept will keep apart from the person with one of these digests.';

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

comment on function internal.restore_pairs is
    'Keeps the person apart again from those from whom an erasure found the person kept apart. The caller has locked '
    'the rows of kept_pairs, the person and all kept_partners.';

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

comment on function internal.restore_kept is
    'Puts in force again what was kept of the person''s erasure under one of these digests. The caller has locked the '
    'user_id and the people p_held. Raises WM412 CONFLICT if one who is kept apart from the person is not among them.';

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

comment on function internal.unblock_erased is
    'Takes the person''s block of somebody erased back, who has one of these digests. The caller has locked the person.';

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

comment on function internal.forget_kept is 'Deletes what was kept of erased people and has run out; it waits for nothing.';
