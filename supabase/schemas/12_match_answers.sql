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

comment on function public.unblock_user is
    'Takes the person''s own block back, also of somebody erased, by the digests of that id; the other''s stays. '
    'Repeating it changes nothing. Returns {}. Raises WM404 PROFILE_NOT_FOUND of a caller erased within the last 24 '
    'hours, WM400 REQUEST_ID_REUSED.';

revoke execute on function
    public.respond_to_match, public.cancel_match, public.end_match, public.block_user, public.unblock_user
    from public, anon, authenticated;
grant execute on function
    public.respond_to_match, public.cancel_match, public.end_match, public.block_user, public.unblock_user
    to service_role;
