-- Inviting: the nearest person, or the one named.

create function internal.require_free(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.raise_error('WM409', 'PENDING_MATCH_EXISTS', 'the person holds a pending match already',
        jsonb_build_object('match_id', m.pending_match_id))
    from public.match_pool m
    where m.user_id = p_user_id and m.busy_until > now();
end
$$;

comment on function internal.require_free is 'Raises WM409 PENDING_MATCH_EXISTS if the person holds a pending match.';

create function internal.require_daily_allowance(p_user_id uuid, p_max_daily_matches integer)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    -- The maximum is used up while the request that many requests ago is within the last 24 hours.
    perform internal.raise_error('WM429', 'DAILY_MATCH_LIMIT', 'the person made the daily maximum of requests',
        jsonb_build_object(
            'limit', p_max_daily_matches::text,
            'retry_after_seconds', ceil(extract(epoch from oldest.create_time + interval '24 hours' - now()))::text))
    from (
        select m.create_time from public.matches m
        where m.requester_id = p_user_id
        order by m.create_time desc, m.id desc
        offset p_max_daily_matches - 1
        limit 1
    ) oldest
    where oldest.create_time > now() - interval '24 hours';
end
$$;

comment on function internal.require_daily_allowance is
    'Raises WM429 DAILY_MATCH_LIMIT if the person made the maximum of requests in the last 24 hours. Exact for a '
    'caller who has locked the person.';

create function internal.require_available(p_seeker internal.seeker, p_candidate_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    -- One reason for all rules: which of them kept the two apart, or whether there is such a person, is not for the
    -- seeker to know.
    perform internal.raise_error('WM409', 'CANDIDATE_UNAVAILABLE', 'the person cannot be invited now',
        jsonb_build_object('candidate_user_id', p_candidate_user_id))
    where not exists (
        select from public.match_pool m
        where m.user_id = p_candidate_user_id and internal.is_compatible(p_seeker, m));
end
$$;

comment on function internal.require_available is
    'Raises WM409 CANDIDATE_UNAVAILABLE if the seeker may not invite the person now, or there is no such person.';

create function internal.invite_named(
    p_user_id uuid,
    p_candidate_user_id uuid,
    p_radius_miles double precision,
    p_venue_suggestion text,
    p_message text,
    p_max_daily_matches integer
)
    returns uuid
    language plpgsql
    set search_path = ''
as $$
declare
    seeker internal.seeker;
    match_id uuid;
begin
    perform internal.require(p_candidate_user_id <> p_user_id, 'candidate_user_id', 'nobody can invite themselves');
    perform internal.lock_people(array[p_user_id, p_candidate_user_id]);
    seeker := internal.require_seeker(p_user_id, p_radius_miles);
    match_id := internal.accept_invitation_by(p_candidate_user_id, p_user_id);
    if match_id is not null then
        return match_id;
    end if;
    perform internal.require_free(p_user_id);
    perform internal.require_daily_allowance(p_user_id, p_max_daily_matches);
    perform internal.require_available(seeker, p_candidate_user_id);
    return internal.create_match(p_user_id, p_candidate_user_id, p_venue_suggestion, p_message);
end
$$;

comment on function internal.invite_named is
    'Invites the named person, or accepts that person''s pending invitation, and returns the match''s id. Raises as '
    'request_match.';

create function internal.invite_nearest(
    p_user_id uuid,
    p_radius_miles double precision,
    p_venue_suggestion text,
    p_message text,
    p_max_daily_matches integer,
    p_holding boolean default false
)
    returns uuid
    language plpgsql
    set search_path = ''
as $$
declare
    holding boolean := p_holding;
    seeker internal.seeker;
    nearest uuid[];
    match_id uuid;
begin
    for attempt in 1..5 loop
        seeker := internal.require_seeker(p_user_id, p_radius_miles);
        perform internal.require_free(p_user_id);
        perform internal.require_daily_allowance(p_user_id, p_max_daily_matches);
        nearest := array(select c.user_id from internal.nearest_candidates(seeker, 8 * attempt) c);
        if holding then
            match_id := internal.invite_first_free(seeker, nearest, p_venue_suggestion, p_message);
        else
            -- Chosen without a lock, so all of it is looked at again with the locks held, once the wait is over.
            perform internal.lock_people(array[p_user_id, nearest[1]]);
            holding := true;
            match_id := internal.accept_invitation_by(nearest[1], p_user_id);
        end if;
        if match_id is not null then
            return match_id;
        end if;
    end loop;
    perform internal.raise_conflict();
    return null;
end
$$;

comment on function internal.invite_nearest is
    'Invites the nearest compatible person and returns the match''s id. With p_holding the caller has locked the person '
    'already, and nothing waits. Raises as request_match.';

create function internal.invite_first_free(
    p_seeker internal.seeker, p_candidates uuid[], p_venue_suggestion text, p_message text
)
    returns uuid
    language plpgsql
    set search_path = ''
as $$
declare
    candidate uuid;
begin
    if p_candidates = '{}' then
        perform internal.raise_error('WM409', 'NO_CANDIDATE', 'nobody compatible is within the radius');
    end if;
    foreach candidate in array p_candidates loop
        perform from public.match_pool m
        where m.user_id = candidate and internal.is_compatible(p_seeker, m)
        for no key update skip locked;
        if found then
            return internal.create_match(p_seeker.user_id, candidate, p_venue_suggestion, p_message);
        end if;
    end loop;
    return null;
end
$$;

comment on function internal.invite_first_free is
    'Invites the first of the candidates who is still compatible and not locked, and returns the match''s id, or '
    'null if all were taken. The caller has locked the seeker. Raises WM409 NO_CANDIDATE if there are none.';

create function public.request_match(
    p_user_id uuid,
    p_candidate_user_id uuid default null,
    p_radius_miles double precision default 25,
    p_venue_suggestion text default '',
    p_message text default '',
    p_max_daily_matches integer default 10,
    p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    -- The daily maximum is the server's setting, no part of what was asked.
    answer jsonb := internal.recall_answer('request_match', p_user_id, p_request_id, jsonb_build_array(
        p_candidate_user_id, p_radius_miles, p_venue_suggestion, p_message));
    match_id uuid;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.require(p_venue_suggestion !~ '[[:cntrl:]]' and char_length(p_venue_suggestion) <= 200,
        'venue_suggestion', 'venue_suggestion must be one line of at most 200 characters');
    perform internal.require(char_length(p_message) <= 500, 'message', 'message must have at most 500 characters');
    perform internal.require(p_max_daily_matches >= 1, 'max_daily_matches', 'max_daily_matches must be at least 1');
    if p_candidate_user_id is null then
        match_id := internal.invite_nearest(
            p_user_id, p_radius_miles, p_venue_suggestion, p_message, p_max_daily_matches);
    else
        match_id := internal.invite_named(
            p_user_id, p_candidate_user_id, p_radius_miles, p_venue_suggestion, p_message, p_max_daily_matches);
    end if;
    return internal.remember_answer('request_match', p_user_id, p_request_id,
        internal.match_and_other(match_id, p_user_id, 'match', 'candidate'));
end
$$;

comment on function public.request_match is
    'Invites the nearest compatible person or the one named, with the email, or accepts the named person''s pending '
    'invitation. Returns {"match": ..., "candidate": ...}. Raises WM404 PROFILE_NOT_FOUND; '
    'WM409 PROFILE_INACTIVE, PENDING_MATCH_EXISTS, NO_CANDIDATE, CANDIDATE_UNAVAILABLE; WM429 DAILY_MATCH_LIMIT; '
    'WM400 FIELD_INVALID, REQUEST_ID_REUSED; WM412 CONFLICT.';

revoke execute on function public.request_match from public, anon, authenticated;
grant execute on function public.request_match to service_role;
