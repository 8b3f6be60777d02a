-- Invitations and what becomes of them.
--
-- Two rows of match_pool are the lock on everything between two people, and lock_people is the only thing that waits.
-- It is called once a transaction, before any other lock on people or matches, and takes its rows in the order of
-- user_id; whatever needs another person after that skips those who are locked. So nobody ever waits in a circle.

create table public.matches (
    id uuid primary key default gen_random_uuid(),
    requester_id uuid not null references public.user_profiles,
    invitee_id uuid not null references public.user_profiles,
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

create unique index matches_one_live_pair
    on public.matches (least(requester_id, invitee_id), greatest(requester_id, invitee_id))
    where state in ('PENDING', 'ACCEPTED');
create index matches_by_requester on public.matches (requester_id, create_time desc, id desc);
create index matches_by_invitee on public.matches (invitee_id, create_time desc, id desc);
create index matches_expiring on public.matches (expire_time) where state = 'PENDING';

alter table public.matches enable row level security;
revoke all on table public.matches from anon, authenticated;
grant select, insert, update, delete on table public.matches to service_role;
grant select on table public.matches to authenticated;
create policy "People read matches they take part in" on public.matches
    for select to authenticated using ((select auth.uid()) in (requester_id, invitee_id));

create function public.state_now(p_match public.matches)
    returns text
    language sql
    stable
    return case when p_match.state = 'PENDING' and p_match.expire_time <= now() then 'EXPIRED' else p_match.state end;

comment on function public.state_now is 'Returns the state of the match at this moment.';

create function public.match_json(p_match public.matches)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return to_jsonb(p_match) || jsonb_build_object('state', public.state_now(p_match));
end
$$;

comment on function public.match_json is 'Returns a match under the field names of the API.';

create function public.require_match(p_match_id uuid, p_user_id uuid)
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
        perform public.raise_error('WM404', 'MATCH_NOT_FOUND', 'no such match exists for this person',
            jsonb_build_object('match_id', p_match_id));
    end if;
    return found_match;
end
$$;

comment on function public.require_match is
    'Returns the match to one of its two people. Raises WM404 MATCH_NOT_FOUND, to a stranger too.';

create function public.lock_people(p_user_ids uuid[])
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform from public.match_pool m where m.user_id = any (p_user_ids) order by m.user_id for no key update;
end
$$;

comment on function public.lock_people is
    'Locks these people''s rows of match_pool until the transaction ends. May wait; call it once, before any other '
    'lock.';

create function public.avoid_pair(p_user_id uuid, p_other_id uuid, p_until timestamptz)
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

comment on function public.avoid_pair is 'Keeps two people from being paired again until then. The caller holds both.';

create function public.notify_of_match(
    p_match public.matches, p_kind text, p_sender_id uuid, p_recipient_id uuid, p_name_key text, p_details jsonb
)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform public.enqueue_notification(
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

comment on function public.notify_of_match is
    'Writes the mail of p_kind about the match; p_name_key is the key under which the sender''s first name goes.';

create function public.mark_expired(p_match_ids uuid[])
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
    perform public.cancel_notifications(p_match_id => id, p_kind => 'MATCH_INVITATION') from unnest(expired) id;
    return coalesce(cardinality(expired), 0);
end
$$;

comment on function public.mark_expired is
    'Marks those of the matches EXPIRED that are pending and past their time, and returns how many. Never waits. '
    'Their people are free already: match_pool.busy_until has passed.';

create function public.expire_matches(p_limit integer default 100)
    returns jsonb
    language sql
    set search_path = ''
as $$
    select jsonb_build_object('expired', public.mark_expired(array(
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

revoke execute on function
    public.state_now, public.match_json, public.require_match, public.lock_people, public.avoid_pair,
    public.notify_of_match, public.mark_expired, public.expire_matches
    from public, anon, authenticated;
grant execute on function
    public.state_now, public.match_json, public.require_match, public.lock_people, public.avoid_pair,
    public.notify_of_match, public.mark_expired, public.expire_matches
    to service_role;
