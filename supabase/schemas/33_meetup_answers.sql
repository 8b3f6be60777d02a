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
                    when m.requester_id then m.invitee_answer else m.requester_answer end)
                    + internal.earlier_no_shows(p_user_id) as no_shows
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
