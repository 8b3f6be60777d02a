-- Answering an invitation, and withdrawing it.

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
    answer jsonb := public.recall_answer('respond_to_match', p_user_id, p_request_id, jsonb_build_array(
        p_match_id, p_response, p_find_next, p_radius_miles));
    asked public.matches;
    next_id uuid;
begin
    if answer is not null then
        return answer;
    end if;
    perform public.require(p_response in ('ACCEPT', 'DECLINE'), 'response', 'response must be ACCEPT or DECLINE');
    asked := public.require_match(p_match_id, p_user_id);
    if p_user_id <> asked.invitee_id then
        perform public.raise_error('WM403', 'NOT_INVITEE', 'only the invited person may respond',
            jsonb_build_object('match_id', p_match_id));
    end if;
    perform public.lock_people(array[asked.requester_id, asked.invitee_id]);
    if p_response = 'ACCEPT' then
        asked := public.accept_match(asked);
    else
        asked := public.decline_match(asked);
        if p_find_next then
            next_id := public.try_invite_nearest(p_user_id, p_radius_miles, p_max_daily_matches);
        end if;
    end if;
    return public.remember_answer('respond_to_match', p_user_id, p_request_id,
        jsonb_build_object('match', public.match_json(asked))
        || public.match_and_other(next_id, p_user_id, 'next_match', 'next_candidate'));
end
$$;

comment on function public.respond_to_match is
    'Accepts or declines, with the mail; on DECLINE with p_find_next also invites the nearest person if that is '
    'possible. Returns {"match": ..., "next_match": ... or null, "next_candidate": ... or null}. Raises WM404 '
    'MATCH_NOT_FOUND, WM403 NOT_INVITEE, WM409 MATCH_NOT_PENDING, WM400 FIELD_INVALID, WM400 REQUEST_ID_REUSED.';

create function public.try_invite_nearest(
    p_user_id uuid, p_radius_miles double precision, p_max_daily_matches integer
)
    returns uuid
    language plpgsql
    set search_path = ''
as $$
begin
    return public.invite_nearest(p_user_id, p_radius_miles, '', '', p_max_daily_matches, p_holding => true);
exception
    when sqlstate 'WM404' or sqlstate 'WM409' or sqlstate 'WM412' or sqlstate 'WM429' then
        return null;
end
$$;

comment on function public.try_invite_nearest is
    'As invite_nearest for a caller who holds the person, but null where nobody can be invited now.';

create function public.cancel_match(p_match_id uuid, p_user_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := public.recall_answer('cancel_match', p_user_id, p_request_id, jsonb_build_array(p_match_id));
    asked public.matches;
begin
    if answer is not null then
        return answer;
    end if;
    asked := public.require_match(p_match_id, p_user_id);
    if p_user_id <> asked.requester_id then
        perform public.raise_error('WM403', 'NOT_REQUESTER', 'only the requester may cancel',
            jsonb_build_object('match_id', p_match_id));
    end if;
    perform public.lock_people(array[asked.requester_id, asked.invitee_id]);
    return public.remember_answer('cancel_match', p_user_id, p_request_id,
        jsonb_build_object('match', public.match_json(public.settle_match(asked, 'CANCELLED'))));
end
$$;

comment on function public.cancel_match is
    'Withdraws a pending invitation, and its mail if that is not out. Returns {"match": ...}. Raises WM404 '
    'MATCH_NOT_FOUND, WM403 NOT_REQUESTER, WM409 MATCH_NOT_PENDING, WM400 REQUEST_ID_REUSED.';

revoke execute on function
    public.respond_to_match, public.try_invite_nearest, public.cancel_match
    from public, anon, authenticated;
grant execute on function
    public.respond_to_match, public.try_invite_nearest, public.cancel_match
    to service_role;
