-- What the coach may know: levels, archetypes, counts, times, and titles of the catalogue. Never a name, an address, a
-- place or a text that a person wrote, because what is returned here is sent to the provider of the model.

create function internal.coaching_challenge(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (
        select jsonb_build_object('title', c.title, 'difficulty', c.difficulty, 'expire_time', a.expire_time)
        from public.user_challenges a
        join public.approach_challenges c on c.id = a.challenge_id
        where a.user_id = p_user_id and a.state = 'STARTED' and a.expire_time > now()
        order by a.create_time desc, a.id desc
        limit 1);
end
$$;

comment on function internal.coaching_challenge is
    'Returns {title, difficulty, expire_time} of the challenge that the person took on last and has under way, or '
    'null.';

create function internal.coaching_meetup(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (
        select jsonb_build_object('scheduled_time', m.scheduled_time, 'challenge_title', c.title)
        from public.meetups m
        left join public.approach_challenges c on c.id = case p_user_id
            when m.requester_id then m.requester_challenge_id else m.invitee_challenge_id end
        where p_user_id in (m.requester_id, m.invitee_id) and m.state = 'SCHEDULED' and m.scheduled_time > now()
        order by m.scheduled_time
        limit 1);
end
$$;

comment on function internal.coaching_meetup is
    'Returns {scheduled_time, challenge_title} of the person''s next meetup, or null; the challenge is the person''s '
    'own.';

create function public.coaching_context(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object(
        'profile', (
            select jsonb_build_object(
                'experience_level', u.experience_level,
                'confidence_archetype', u.confidence_archetype,
                'time_zone', u.time_zone)
            from public.user_profiles u where u.id = p_user_id),
        'match_count', (
            select count(*) from public.matches m
            where p_user_id in (m.requester_id, m.invitee_id) and m.state in ('ACCEPTED', 'ENDED')),
        'challenge', internal.coaching_challenge(p_user_id),
        'meetup', internal.coaching_meetup(p_user_id));
end
$$;

comment on function public.coaching_context is
    'Returns {profile, match_count, challenge, meetup}: what the coach knows of a person, null where there is '
    'nothing.';

create function internal.plan_participant(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (
        select jsonb_build_object(
            'user_id', u.id,
            'experience_level', u.experience_level,
            'confidence_archetype', u.confidence_archetype,
            'done_challenge_ids', (
                select coalesce(jsonb_agg(distinct a.challenge_id), '[]')
                from public.user_challenges a where a.user_id = u.id and a.state = 'SUBMITTED'))
        from public.user_profiles u where u.id = p_user_id);
end
$$;

comment on function internal.plan_participant is
    'Returns {user_id, experience_level, confidence_archetype, done_challenge_ids} of one of the people of a plan.';

create function public.meetup_plan_facts(p_match_id uuid, p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    planned constant public.matches := internal.require_match(p_match_id, p_user_id);
    state constant text := internal.state_now(planned);
begin
    if state not in ('PENDING', 'ACCEPTED') then
        perform internal.raise_error('WM409', 'MATCH_NOT_ACCEPTED', 'the match is neither pending nor accepted',
            jsonb_build_object('state', state));
    end if;
    return jsonb_build_object(
        'match_id', planned.id,
        'requester', internal.plan_participant(planned.requester_id),
        'invitee', internal.plan_participant(planned.invitee_id),
        'challenges', (
            select coalesce(
                jsonb_agg(
                    jsonb_build_object('id', c.id, 'title', c.title, 'difficulty', c.difficulty)
                    order by c.difficulty, c.title, c.id),
                '[]')
            from public.approach_challenges c where not c.retired));
end
$$;

comment on function public.meetup_plan_facts is
    'Returns {match_id, requester, invitee, challenges} of a live match to one of its two people. Raises WM404 '
    'MATCH_NOT_FOUND, and MATCH_NOT_ACCEPTED for a match that is over.';

revoke execute on function public.coaching_context, public.meetup_plan_facts from public, anon, authenticated;
grant execute on function public.coaching_context, public.meetup_plan_facts to service_role;
