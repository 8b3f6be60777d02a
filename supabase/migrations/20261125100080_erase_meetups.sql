-- Meet-ups in erasures and exports: a person's words vanish, the other's history keeps nobody in the person's place.

create function public.erase_from_meetups(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    called_off uuid[];
begin
    with ahead as (
        update public.meetups m set state = 'CANCELLED', sequence = m.sequence + 1, update_time = now()
        where (m.requester_id = p_user_id or m.invitee_id = p_user_id) and public.lies_ahead(m)
        returning m.id
    )
    select array_agg(a.id) into called_off from ahead a;
    update public.meetups m set
        requester_id = nullif(m.requester_id, p_user_id),
        invitee_id = nullif(m.invitee_id, p_user_id),
        requester_challenge_id = case m.requester_id when p_user_id then null else m.requester_challenge_id end,
        invitee_challenge_id = case m.invitee_id when p_user_id then null else m.invitee_challenge_id end,
        venue_name = case m.venue_author_id when p_user_id then '' else m.venue_name end,
        venue_author_id = nullif(m.venue_author_id, p_user_id)
    where m.requester_id = p_user_id or m.invitee_id = p_user_id;
    -- So that nobody waits in vain: the other person is told, by a mail that names nobody.
    perform public.notify_of_meetup(m, 'MEETUP_CANCELLED', '{"match_ended": true}')
    from public.meetups m
    where m.id = any (called_off);
end
$$;

comment on function public.erase_from_meetups is
    'Calls off what lies ahead of the person, and leaves nobody in the person''s place. What the person said of others '
    'stays. The caller holds the person and all live partners, and has stopped the mails about the person.';

create or replace function public.without_person(p_answer jsonb, p_user_id uuid)
    returns jsonb
    language plpgsql
    immutable
    set search_path = ''
as $$
declare
    answer jsonb := replace(p_answer::text, p_user_id::text, public.nobody()::text);
    part record;
begin
    for part in select key, value from jsonb_each(answer) where jsonb_typeof(value) = 'object' loop
        if part.key in ('candidate', 'next_candidate') and part.value ->> 'user_id' = public.nobody()::text then
            answer := answer || jsonb_build_object(part.key, public.candidate_nobody());
        elsif part.key = 'meetup' then
            -- Who of the two chose the place an answer does not tell.
            answer := answer || jsonb_build_object(part.key, part.value || jsonb_build_object(
                'venue_name', '', 'requester_challenge_id', null, 'invitee_challenge_id', null));
        elsif part.value ->> 'requester_id' = public.nobody()::text then
            answer := answer || jsonb_build_object(
                part.key, part.value || jsonb_build_object('venue_suggestion', '', 'message', ''));
        end if;
    end loop;
    return answer;
end
$$;

create or replace function public.erase_person(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform public.erase_from_notifications(p_user_id);
    perform public.erase_from_answers(p_user_id);
    perform public.erase_from_meetups(p_user_id);
    perform public.erase_from_matches(p_user_id);
    -- The partners get their events now, in the order in which feeds are locked, and with the own feed held nobody can
    -- add to it any more.
    perform public.publish_match_events(p_user_id);
    delete from public.match_events e where e.user_id = p_user_id;
    -- Takes place, pool, avoidances, notes and feed along.
    delete from public.user_profiles p where p.id = p_user_id;
end
$$;

create function public.export_meetups(p_user_id uuid)
    returns setof public.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select m.create_time, m.id::text, case m.venue_author_id
        when p_user_id then public.meetup_json(m, p_user_id)
        else public.meetup_json(m, p_user_id) - 'venue_name' end
    from public.meetups m
    where m.requester_id = p_user_id or m.invitee_id = p_user_id;
end
$$;

comment on function public.export_meetups is 'Returns the person''s meet-ups with their notes, without the words of others.';

create or replace function public.export_records(p_user_id uuid, p_kind text)
    returns setof public.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    case p_kind
        when 'PROFILE' then return query select * from public.export_profile(p_user_id);
        when 'MATCH' then return query select * from public.export_matches(p_user_id);
        when 'BLOCK' then return query select * from public.export_blocks(p_user_id);
        when 'MEETUP' then return query select * from public.export_meetups(p_user_id);
        when 'NOTIFICATION' then return query select * from public.export_notifications(p_user_id);
        when 'NOTIFICATION_PREFERENCES' then
            return query select * from public.export_notification_preferences(p_user_id);
        else null;
    end case;
end
$$;

revoke execute on function public.erase_from_meetups, public.export_meetups from public, anon, authenticated;
grant execute on function public.erase_from_meetups, public.export_meetups to service_role;
