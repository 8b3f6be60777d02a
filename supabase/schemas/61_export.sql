-- Everything that is stored about a person, for the person: one function a kind of record, in one form.

create type internal.export_record as (create_time timestamptz, id text, record jsonb);

create function internal.export_profile(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select p.create_time, p.id::text, internal.profile_json(p) || jsonb_build_object(
        'location', jsonb_build_object('latitude', l.latitude, 'longitude', l.longitude),
        -- The API's word for what is stored as PRECISE.
        'location_privacy', case p.location_privacy when 'PRECISE' then 'APPROXIMATE' else p.location_privacy end,
        'reputation', m.reputation,
        'earlier_no_show_count', internal.earlier_no_shows(p.id))
    from public.user_profiles p
    join public.user_locations l on l.user_id = p.id
    join public.match_pool m on m.user_id = p.id
    where p.id = p_user_id;
end
$$;

comment on function internal.export_profile is 'Returns the person''s profile, with the place.';

create function internal.export_matches(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select m.create_time, m.id::text, case m.requester_id
        when p_user_id then internal.match_json(m)
        else internal.match_json(m) - 'venue_suggestion' - 'message' end
    from public.matches m
    where m.requester_id = p_user_id or m.invitee_id = p_user_id;
end
$$;

comment on function internal.export_matches is 'Returns the person''s matches, without the words of others.';

create function internal.export_blocks(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select '-infinity'::timestamptz, a.other_id::text, jsonb_build_object('blocked_user_id', a.other_id)
    from public.avoidances a
    where a.user_id = p_user_id and a.cause = 'BLOCKED';
end
$$;

comment on function internal.export_blocks is 'Returns whom the person blocked.';

create function internal.export_notifications(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select n.create_time, n.id::text,
        internal.notification_json(n) || jsonb_build_object('recipient_email', n.recipient_email)
    from public.notifications n
    where n.user_id = p_user_id;
end
$$;

comment on function internal.export_notifications is 'Returns the emails to the person, without the words of others.';

create function internal.export_notification_preferences(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select p.create_time, p.id::text, internal.preferences_json(p.id)
    from public.user_profiles p
    where p.id = p_user_id;
end
$$;

comment on function internal.export_notification_preferences is
    'Returns which kinds of email the person wants, and whether the address is suppressed.';

create function internal.export_meetups(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select m.create_time, m.id::text, case m.venue_author_id
        when p_user_id then internal.meetup_json(m, p_user_id)
        else internal.meetup_json(m, p_user_id) - 'venue_name' end
    from public.meetups m
    where m.requester_id = p_user_id or m.invitee_id = p_user_id;
end
$$;

comment on function internal.export_meetups is
    'Returns the person''s meetups with their notes, without the words of others.';

create function internal.export_user_challenges(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select u.create_time, u.id::text, internal.user_challenge_json(u)
    from public.user_challenges u
    where u.user_id = p_user_id;
end
$$;

comment on function internal.export_user_challenges is 'Returns the challenges that the person took on.';

create function internal.export_share_links(p_user_id uuid)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
    select l.create_time, l.id::text, jsonb_strip_nulls(to_jsonb(l))
    from public.share_links l
    where l.user_id = p_user_id;
end
$$;

comment on function internal.export_share_links is 'Returns the links that the person made.';

create function internal.export_records(p_user_id uuid, p_kind text)
    returns setof internal.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    case p_kind
        when 'PROFILE' then return query select * from internal.export_profile(p_user_id);
        when 'MATCH' then return query select * from internal.export_matches(p_user_id);
        when 'BLOCK' then return query select * from internal.export_blocks(p_user_id);
        when 'MEETUP' then return query select * from internal.export_meetups(p_user_id);
        when 'USER_CHALLENGE' then return query select * from internal.export_user_challenges(p_user_id);
        when 'SHARE_LINK' then return query select * from internal.export_share_links(p_user_id);
        when 'NOTIFICATION' then return query select * from internal.export_notifications(p_user_id);
        when 'NOTIFICATION_PREFERENCES' then
            return query select * from internal.export_notification_preferences(p_user_id);
        else null;
    end case;
end
$$;

comment on function internal.export_records is
    'Returns the person''s records of a kind; none of one that lies elsewhere.';

create function public.list_export_records(
    p_user_id uuid, p_kind text, p_after jsonb default null, p_page_size integer default 100
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    after_time constant timestamptz := p_after ->> 'create_time';
    after_id constant text := p_after ->> 'id';
    page internal.export_record[];
begin
    if not exists (select from public.user_profiles p where p.id = p_user_id) then
        perform internal.raise_profile_not_found(p_user_id);
    end if;
    page := array(
        select row(r.create_time, r.id, r.record)::internal.export_record
        from internal.export_records(p_user_id, p_kind) r
        where after_id is null or (r.create_time, r.id) > (after_time, after_id)
        order by r.create_time, r.id
        limit p_page_size + 1);
    return jsonb_build_object(
        'records', (
            select coalesce(jsonb_agg(each.record order by each.position), '[]')
            from unnest(page[1:p_page_size]) with ordinality each (create_time, id, record, position)),
        'next_after', case when cardinality(page) > p_page_size then jsonb_build_object(
            'create_time', page[p_page_size].create_time, 'id', page[p_page_size].id) end);
end
$$;

comment on function public.list_export_records is
    'Returns {"records": [...], "next_after": {...} or null}, the oldest first; p_after is next_after of the page '
    'before. Raises WM404 PROFILE_NOT_FOUND.';

revoke execute on function public.list_export_records from public, anon, authenticated;
grant execute on function public.list_export_records to service_role;
