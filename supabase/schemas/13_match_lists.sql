-- Reading matches.

create function public.get_match(p_match_id uuid, p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object('match', internal.match_json(internal.require_match(p_match_id, p_user_id)));
end
$$;

comment on function public.get_match is 'Returns {"match": ...} to one of its people. Raises WM404 MATCH_NOT_FOUND.';

create function internal.matches_of(
    p_user_id uuid, p_states text[], p_after_time timestamptz, p_after_id uuid, p_limit integer
)
    returns setof public.matches
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    -- Each half walks its own index and stops after p_limit.
    return query
    (
        select * from public.matches m
        where m.requester_id = p_user_id
            and (m.create_time, m.id) < (p_after_time, p_after_id)
            and (p_states is null or internal.state_now(m) = any (p_states))
        order by m.create_time desc, m.id desc
        limit p_limit
    )
    union all
    (
        select * from public.matches m
        where m.invitee_id = p_user_id
            and (m.create_time, m.id) < (p_after_time, p_after_id)
            and (p_states is null or internal.state_now(m) = any (p_states))
        order by m.create_time desc, m.id desc
        limit p_limit
    )
    order by create_time desc, id desc
    limit p_limit;
end
$$;

comment on function internal.matches_of is
    'Returns the person''s first p_limit matches in these states behind (time, id), newest first.';

create function public.list_matches(
    p_user_id uuid,
    p_states text[] default null,
    p_page_size integer default 20,
    p_after uuid default null,
    p_position jsonb default null
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    page_size constant integer := internal.require_page_size(p_page_size, 20);
    after_time timestamptz := coalesce((p_position ->> 'create_time')::timestamptz, 'infinity');
    after_id uuid := coalesce((p_position ->> 'id')::uuid, p_user_id);
    found_matches public.matches[];
    last public.matches;
begin
    perform internal.require(
        p_states is null or p_states <@ array['PENDING', 'ACCEPTED', 'DECLINED', 'CANCELLED', 'EXPIRED', 'ENDED'],
        'states', 'states must be states of a match');
    if p_after is not null then
        after_time := internal.require_time_of_match(p_after, p_user_id);
        after_id := p_after;
    end if;
    found_matches := array(
        select m from internal.matches_of(
            p_user_id, nullif(p_states, '{}'), after_time, after_id, page_size + 1) m);
    last := found_matches[page_size];
    return jsonb_build_object(
        'matches', (
            select coalesce(jsonb_agg(internal.match_json(m) order by m.create_time desc, m.id desc), '[]')
            from unnest(found_matches[1:page_size]) m),
        'next_after', case when cardinality(found_matches) > page_size then last.id end,
        'next_position', case when cardinality(found_matches) > page_size then
            jsonb_build_object('create_time', last.create_time, 'id', last.id) end);
end
$$;

comment on function public.list_matches is
    'Returns {"matches": [...], "next_position": object or null}, newest first; p_position is next_position of the '
    'page before, and no match of it need be left. No or empty p_states means all. p_after and next_after are those '
    'of earlier servers. Raises WM400 FIELD_INVALID, WM400 PAGE_TOKEN_INVALID.';

create function internal.require_time_of_match(p_match_id uuid, p_user_id uuid)
    returns timestamptz
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    created timestamptz;
begin
    select m.create_time into created from public.matches m
    where m.id = p_match_id and p_user_id in (m.requester_id, m.invitee_id);
    if not found then
        perform internal.raise_invalid('page_token', 'the page before this one is gone', 'PAGE_TOKEN_INVALID');
    end if;
    return created;
end
$$;

comment on function internal.require_time_of_match is
    'Returns when a match of the person was made. Raises WM400 PAGE_TOKEN_INVALID if there is no such match.';

revoke execute on function public.get_match, public.list_matches from public, anon, authenticated;
grant execute on function public.get_match, public.list_matches to service_role;
