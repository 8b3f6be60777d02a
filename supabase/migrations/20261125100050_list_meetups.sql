-- Looking at meet-ups.

create function public.get_meetup(p_meetup_id uuid, p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object(
        'meetup', public.meetup_json(public.require_meetup(p_meetup_id, p_user_id), p_user_id));
end
$$;

comment on function public.get_meetup is 'Returns {"meetup": ...} to one of its people. Raises WM404 MEETUP_NOT_FOUND.';

create function public.meetups_of(
    p_user_id uuid, p_states text[], p_match_id uuid, p_after_time timestamptz, p_after_id uuid, p_limit integer
)
    returns setof public.meetups
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    -- Each half walks its own index and stops after p_limit.
    return query
    (
        select * from public.meetups m
        where m.requester_id = p_user_id
            and (m.scheduled_time, m.id) < (p_after_time, p_after_id)
            and (p_match_id is null or m.match_id = p_match_id)
            and (p_states is null or public.meetup_state_now(m) = any (p_states))
        order by m.scheduled_time desc, m.id desc
        limit p_limit
    )
    union all
    (
        select * from public.meetups m
        where m.invitee_id = p_user_id
            and (m.scheduled_time, m.id) < (p_after_time, p_after_id)
            and (p_match_id is null or m.match_id = p_match_id)
            and (p_states is null or public.meetup_state_now(m) = any (p_states))
        order by m.scheduled_time desc, m.id desc
        limit p_limit
    )
    order by scheduled_time desc, id desc
    limit p_limit;
end
$$;

comment on function public.meetups_of is
    'Returns the person''s first p_limit meet-ups in these states and of this match, behind (time, id), the latest first; '
    'null means all.';

create function public.list_meetups(
    p_user_id uuid,
    p_states text[] default null,
    p_match_id uuid default null,
    p_page_size integer default 20,
    p_after uuid default null
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    page_size constant integer := public.require_page_size(p_page_size, 20);
    after_time timestamptz := 'infinity';
    found_meetups public.meetups[];
begin
    perform public.require(
        p_states is null or p_states <@ array['SCHEDULED', 'COMPLETED', 'CANCELLED', 'MISSED', 'EXPIRED'],
        'states', 'states must be states of a meet-up');
    if p_after is not null then
        select m.scheduled_time into after_time from public.meetups m
        where m.id = p_after and p_user_id in (m.requester_id, m.invitee_id);
        if not found then
            perform public.raise_invalid('page_token', 'the page before this one is gone', 'PAGE_TOKEN_INVALID');
        end if;
    end if;
    found_meetups := array(
        select m from public.meetups_of(
            p_user_id, nullif(p_states, '{}'), p_match_id, after_time, coalesce(p_after, p_user_id), page_size + 1) m);
    return jsonb_build_object(
        'meetups', (
            select coalesce(
                jsonb_agg(public.meetup_json(m, p_user_id) order by m.scheduled_time desc, m.id desc), '[]')
            from unnest(found_meetups[1:page_size]) m),
        'next_after', case when cardinality(found_meetups) > page_size then found_meetups[page_size].id end);
end
$$;

comment on function public.list_meetups is
    'Returns {"meetups": [...], "next_after": uuid or null}, the latest scheduled time first; p_after is next_after of the '
    'page before. No or empty p_states means all. Raises WM400 FIELD_INVALID, WM400 PAGE_TOKEN_INVALID.';

revoke execute on function public.get_meetup, public.meetups_of, public.list_meetups
    from public, anon, authenticated;
grant execute on function public.get_meetup, public.meetups_of, public.list_meetups to service_role;
