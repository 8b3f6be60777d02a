-- Ending an accepted match, and keeping two people apart.

create function public.call_off_meetups_of(p_match_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    -- One that has begun stays: who was stood up can still say so, and who came is not robbed of it.
    perform public.call_off_meetup(m, '{"match_ended": true}')
    from public.meetups m
    where m.match_id = p_match_id and public.lies_ahead(m);
end
$$;

comment on function public.call_off_meetups_of is
    'Calls off the match''s meet-up that lies ahead, if there is one. The caller holds both people.';

create function public.end_accepted_match(p_match public.matches)
    returns public.matches
    language plpgsql
    set search_path = ''
as $$
declare
    ended public.matches;
begin
    perform public.call_off_meetups_of(p_match.id);
    update public.matches m set state = 'ENDED' where m.id = p_match.id and m.state = 'ACCEPTED'
    returning * into ended;
    if not found then
        perform public.raise_match_not_accepted(m) from public.matches m where m.id = p_match.id;
    end if;
    perform public.avoid_pair(ended.requester_id, ended.invitee_id, now() + interval '7 days');
    return ended;
end
$$;

comment on function public.end_accepted_match is
    'Ends an accepted match and calls off its meet-up; the two can be paired again in a week. The caller holds both '
    'people. Raises WM409 MATCH_NOT_ACCEPTED.';

create function public.end_match(p_match_id uuid, p_user_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := public.recall_answer('end_match', p_user_id, p_request_id, jsonb_build_array(p_match_id));
    asked public.matches;
begin
    if answer is not null then
        return answer;
    end if;
    asked := public.require_match(p_match_id, p_user_id);
    perform public.lock_people(array[asked.requester_id, asked.invitee_id]);
    -- While this waited, an erasure of both may have taken it along.
    asked := public.require_match(p_match_id, p_user_id);
    return public.remember_answer('end_match', p_user_id, p_request_id,
        jsonb_build_object('match', public.match_json(public.end_accepted_match(asked))));
end
$$;

comment on function public.end_match is
    'Ends an accepted match. Returns {"match": ...}. Raises WM404 MATCH_NOT_FOUND; WM409 MATCH_NOT_ACCEPTED; WM400 '
    'REQUEST_ID_REUSED.';

create function public.end_match_between(p_user_id uuid, p_other_id uuid)
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
    case public.state_now(live)
        when 'ACCEPTED' then perform public.end_accepted_match(live);
        when 'EXPIRED' then perform public.mark_expired(array[live.id]);
        when 'PENDING' then
            -- It looks as if the person had answered, or thought better of it: the other learns of no block.
            if live.invitee_id = p_user_id then
                perform public.decline_match(live);
            else
                perform public.settle_match(live, 'CANCELLED');
            end if;
        else null;
    end case;
end
$$;

comment on function public.end_match_between is
    'Ends the live match of two people, if there is one, as the first of them would. The caller holds both.';

create function public.block_user(p_user_id uuid, p_blocked_user_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := public.recall_answer('block_user', p_user_id, p_request_id, jsonb_build_array(p_blocked_user_id));
begin
    if answer is not null then
        return answer;
    end if;
    perform public.require(p_user_id <> p_blocked_user_id, 'blocked_user_id', 'nobody can block themselves');
    perform public.lock_people(array[p_user_id, p_blocked_user_id]);
    perform public.raise_profile_not_found(asked.user_id)
    from (values (p_user_id), (p_blocked_user_id)) asked (user_id)
    where not exists (select from public.match_pool m where m.user_id = asked.user_id);
    perform public.end_match_between(p_user_id, p_blocked_user_id);
    insert into public.avoidances (user_id, other_id, cause, until)
    values
        (p_user_id, p_blocked_user_id, 'BLOCKED', 'infinity'),
        (p_blocked_user_id, p_user_id, 'BLOCKED_BY', 'infinity')
    on conflict (user_id, other_id, cause) do nothing;
    return public.remember_answer('block_user', p_user_id, p_request_id, '{}');
end
$$;

comment on function public.block_user is
    'Keeps two people apart until the first unblocks the other, and ends their live match. Repeating it changes nothing. '
    'Returns {}. Raises WM404 PROFILE_NOT_FOUND; WM400 FIELD_INVALID, REQUEST_ID_REUSED.';

create function public.unblock_user(p_user_id uuid, p_blocked_user_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := public.recall_answer('unblock_user', p_user_id, p_request_id, jsonb_build_array(p_blocked_user_id));
begin
    if answer is not null then
        return answer;
    end if;
    perform public.lock_people(array[p_user_id, p_blocked_user_id]);
    delete from public.avoidances a
    where (a.user_id, a.other_id, a.cause) in (
        (p_user_id, p_blocked_user_id, 'BLOCKED'), (p_blocked_user_id, p_user_id, 'BLOCKED_BY'));
    return public.remember_answer('unblock_user', p_user_id, p_request_id, '{}');
end
$$;

comment on function public.unblock_user is
    'Takes the person''s own block back; the other''s stays. Repeating it changes nothing. Returns {}. Raises WM400 '
    'REQUEST_ID_REUSED.';

revoke execute on function
    public.call_off_meetups_of, public.end_accepted_match, public.end_match, public.end_match_between,
    public.block_user, public.unblock_user
    from public, anon, authenticated;
grant execute on function
    public.call_off_meetups_of, public.end_accepted_match, public.end_match, public.end_match_between,
    public.block_user, public.unblock_user
    to service_role;
