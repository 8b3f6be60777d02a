-- Invitations and what becomes of them.
--
-- Two rows of match_pool are the lock on everything between two people (03_match_pool.sql has the order of all locks).
-- Whatever needs another person after lock_people skips those who are locked.

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
    if expired is null then
        return 0;
    end if;
    -- An email passed over because it is locked expires with the match.
    update public.notifications n set state = 'CANCELLED'
    where n.id in (
        select w.id from public.notifications w
        where w.match_id = any (expired) and w.state = 'PENDING' and w.kind = 'MATCH_INVITATION'
        for update skip locked);
    return cardinality(expired);
end
$$;

comment on function internal.mark_expired is
    'Marks those of the matches EXPIRED that are pending and past their time, and returns how many; it skips what is '
    'locked, and waits only for the feeds of events as the transaction commits. '
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
