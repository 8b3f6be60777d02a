-- What the coach may know: levels, archetypes, counts, challenges and places to meet. Never a name, an address, a
-- coordinate or a text about a person, because what is returned here is sent to the provider of the model.

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
                'experience_level', u.experience_level, 'confidence_archetype', u.confidence_archetype)
            from public.user_profiles u where u.id = p_user_id),
        'match_count', (
            select count(*) from public.matches m
            where p_user_id in (m.requester_id, m.invitee_id) and m.state in ('ACCEPTED', 'ENDED')),
        'challenge', null,
        'meetup', null);
end
$$;

comment on function public.coaching_context is
    'Returns {profile, match_count, challenge, meetup}: what the coach knows of a person, null where there is nothing.';

create function public.planning_person(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (
        select jsonb_build_object(
            'user_id', u.id, 'experience_level', u.experience_level,
            'confidence_archetype', u.confidence_archetype, 'done_challenge_ids', '[]'::jsonb)
        from public.user_profiles u where u.id = p_user_id);
end
$$;

comment on function public.planning_person is
    'Returns {user_id, experience_level, confidence_archetype, done_challenge_ids} of one of the people of a plan.';

create function public.meetup_plan_facts(p_match_id uuid, p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    planned constant public.matches := public.require_match(p_match_id, p_user_id);
begin
    return jsonb_build_object(
        'match_id', planned.id,
        'requester', public.planning_person(planned.requester_id),
        'invitee', public.planning_person(planned.invitee_id),
        'challenges', '[]'::jsonb);
end
$$;

comment on function public.meetup_plan_facts is
    'Returns {match_id, requester, invitee, challenges} to one of a match''s two people. Raises WM404 MATCH_NOT_FOUND.';

revoke execute on function public.coaching_context, public.planning_person, public.meetup_plan_facts
    from public, anon, authenticated;
grant execute on function public.coaching_context, public.planning_person, public.meetup_plan_facts to service_role;
