-- How a match comes to be, and what becomes of it while its two people are held.

create function public.release_people(p_match public.matches)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    update public.match_pool m set pending_match_id = null, busy_until = '-infinity'
    where m.user_id in (p_match.requester_id, p_match.invitee_id) and m.pending_match_id = p_match.id;
end
$$;

comment on function public.release_people is
    'Frees both people from a match that is pending no more. The caller holds both.';

create function public.create_match(p_requester_id uuid, p_invitee_id uuid, p_venue_suggestion text, p_message text)
    returns uuid
    language plpgsql
    set search_path = ''
as $$
declare
    created public.matches;
    seated integer;
begin
    perform public.mark_expired(array(
        select m.pending_match_id from public.match_pool m where m.user_id in (p_requester_id, p_invitee_id)));
    insert into public.matches (requester_id, invitee_id, venue_suggestion, message)
    values (p_requester_id, p_invitee_id, p_venue_suggestion, p_message)
    returning * into created;
    update public.match_pool m set pending_match_id = created.id, busy_until = created.expire_time
    where m.user_id in (p_requester_id, p_invitee_id) and m.busy_until <= now();
    get diagnostics seated = row_count;
    -- The caller has looked, under the locks; this keeps one pending match a person even if a caller ever forgets.
    if seated <> 2 then
        perform public.raise_conflict();
    end if;
    perform public.avoid_pair(p_requester_id, p_invitee_id, now() + interval '7 days');
    perform public.notify_of_match(created, 'MATCH_INVITATION', p_requester_id, p_invitee_id, 'inviter_name',
        jsonb_build_object('venue_suggestion', p_venue_suggestion, 'message', p_message));
    return created.id;
end
$$;

comment on function public.create_match is
    'Creates a pending match and its invitation mail and returns its id. The caller holds both people and has checked '
    'the rules.';

create function public.raise_conflict()
    returns void
    language sql
    set search_path = ''
as $$
    select public.raise_error('WM412', 'CONFLICT', 'others were faster; repeat the request')
$$;

comment on function public.raise_conflict is 'Raises WM412 CONFLICT.';

create function public.settle_match(p_match public.matches, p_state text)
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
        perform public.raise_match_not_pending(p_match.id);
    end if;
    perform public.release_people(settled);
    perform public.cancel_notifications(p_match_id => settled.id, p_kind => 'MATCH_INVITATION');
    return settled;
end
$$;

comment on function public.settle_match is
    'Takes a pending match to p_state, frees its people and drops an invitation mail not sent yet. The caller holds '
    'both people. Raises WM409 MATCH_NOT_PENDING.';

create function public.raise_match_not_pending(p_match_id uuid)
    returns void
    language sql
    set search_path = ''
as $$
    select public.raise_error('WM409', 'MATCH_NOT_PENDING', 'the match is no longer pending',
        jsonb_build_object('match_id', m.id, 'state', public.state_now(m)))
    from public.matches m
    where m.id = p_match_id
$$;

comment on function public.raise_match_not_pending is 'Raises WM409 MATCH_NOT_PENDING with the state of the match.';

create function public.accept_match(p_match public.matches)
    returns public.matches
    language plpgsql
    set search_path = ''
as $$
declare
    accepted constant public.matches := public.settle_match(p_match, 'ACCEPTED');
begin
    -- While the match lives the two are not paired anew.
    perform public.avoid_pair(accepted.requester_id, accepted.invitee_id, 'infinity');
    perform public.notify_of_match(accepted, 'MATCH_ACCEPTANCE', accepted.invitee_id, accepted.requester_id,
        'accepter_name', jsonb_build_object('venue_name', accepted.venue_suggestion));
    return accepted;
end
$$;

comment on function public.accept_match is
    'Accepts a pending match. The caller holds both people. Raises WM409 MATCH_NOT_PENDING.';

create function public.decline_match(p_match public.matches)
    returns public.matches
    language plpgsql
    set search_path = ''
as $$
declare
    declined constant public.matches := public.settle_match(p_match, 'DECLINED');
begin
    perform public.notify_of_match(declined, 'MATCH_DECLINE', declined.invitee_id, declined.requester_id,
        'decliner_name', '{}');
    return declined;
end
$$;

comment on function public.decline_match is
    'Declines a pending match. The caller holds both people. Raises WM409 MATCH_NOT_PENDING.';

create function public.accept_invitation_by(p_inviter_id uuid, p_user_id uuid)
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
    where me.user_id = p_user_id and m.requester_id = p_inviter_id and public.state_now(m) = 'PENDING';
    if found then
        perform public.accept_match(invitation);
    end if;
    return invitation.id;
end
$$;

comment on function public.accept_invitation_by is
    'Accepts the inviter''s pending invitation to the person and returns its id, or null if there is none. The caller '
    'holds both.';

revoke execute on function
    public.release_people, public.create_match, public.raise_conflict, public.settle_match,
    public.raise_match_not_pending, public.accept_match, public.decline_match, public.accept_invitation_by
    from public, anon, authenticated;
grant execute on function
    public.release_people, public.create_match, public.raise_conflict, public.settle_match,
    public.raise_match_not_pending, public.accept_match, public.decline_match, public.accept_invitation_by
    to service_role;
