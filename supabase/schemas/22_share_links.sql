-- Links by which people show strangers one thing: a challenge that they took on, or that they found a wingman.
--
-- A link's token is the server's: it is made from the id and signed outside, so nothing in this table opens a link.

create table public.share_links (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.user_profiles on delete cascade,
    user_challenge_id uuid references public.user_challenges on delete cascade,
    match_id uuid references public.matches on delete cascade,
    create_time timestamptz not null default now(),
    expire_time timestamptz not null,
    revoke_time timestamptz,
    check (num_nonnulls(user_challenge_id, match_id) = 1)
);

comment on table public.share_links is
    'One row a link that has not been over for long; it shows what it names until it expires or is revoked.';

create index share_links_of_user on public.share_links (user_id);
create index share_links_of_user_challenge on public.share_links (user_challenge_id);
create index share_links_of_match on public.share_links (match_id);
create index share_links_expiring on public.share_links (expire_time);

alter table public.share_links enable row level security;
revoke all on table public.share_links from public, anon, authenticated;
grant select, insert, update, delete on table public.share_links to service_role;
grant select on table public.share_links to authenticated;
create policy "People read their own share links" on public.share_links
    for select to authenticated using (user_id = (select auth.uid()));

create function internal.share_link_json(p_link public.share_links)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object(
        'id', p_link.id, 'create_time', p_link.create_time, 'expire_time', p_link.expire_time);
end
$$;

comment on function internal.share_link_json is 'Returns a link under the field names of the API, without its token.';

create function internal.raise_share_link_not_found()
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_error('WM404', 'SHARE_LINK_NOT_FOUND', 'no such share link')
$$;

comment on function internal.raise_share_link_not_found is 'Raises WM404 SHARE_LINK_NOT_FOUND, which says no more.';

create function internal.expire_time_of_share_link(p_ttl_seconds double precision)
    returns timestamptz
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    perform internal.require(p_ttl_seconds between 60 and 90 * 86400, 'ttl', 'ttl must be from a minute to 90 days');
    return now() + make_interval(secs => p_ttl_seconds);
end
$$;

comment on function internal.expire_time_of_share_link is
    'Returns when a link made now ends. Raises WM400 FIELD_INVALID.';

create function public.share_challenge(
    p_user_challenge_id uuid, p_user_id uuid, p_ttl_seconds double precision, p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer(
        'share_challenge', p_user_id, p_request_id, jsonb_build_array(p_user_challenge_id, p_ttl_seconds));
    shared public.user_challenges;
    link public.share_links;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.lock_people(array[p_user_id]);
    shared := internal.require_user_challenge(p_user_challenge_id, p_user_id);
    insert into public.share_links (user_id, user_challenge_id, expire_time)
    values (p_user_id, shared.id, internal.expire_time_of_share_link(p_ttl_seconds))
    returning * into link;
    return internal.remember_answer('share_challenge', p_user_id, p_request_id,
        jsonb_build_object('share_link', internal.share_link_json(link)));
end
$$;

comment on function public.share_challenge is
    'Makes a link to a challenge that the person took on. Returns {"share_link": ...}. Raises WM404 '
    'USER_CHALLENGE_NOT_FOUND; WM400 FIELD_INVALID, REQUEST_ID_REUSED.';

create function public.share_match(
    p_match_id uuid, p_user_id uuid, p_ttl_seconds double precision, p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer(
        'share_match', p_user_id, p_request_id, jsonb_build_array(p_match_id, p_ttl_seconds));
    shared public.matches;
    link public.share_links;
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.lock_people(array[p_user_id]);
    shared := internal.require_match(p_match_id, p_user_id);
    if shared.state <> 'ACCEPTED' then
        perform internal.raise_match_not_accepted(shared);
    end if;
    insert into public.share_links (user_id, match_id, expire_time)
    values (p_user_id, shared.id, internal.expire_time_of_share_link(p_ttl_seconds))
    returning * into link;
    return internal.remember_answer('share_match', p_user_id, p_request_id,
        jsonb_build_object('share_link', internal.share_link_json(link)));
end
$$;

comment on function public.share_match is
    'Makes a link to an accepted match of the person. Returns {"share_link": ...}. Raises WM404 MATCH_NOT_FOUND; '
    'WM409 MATCH_NOT_ACCEPTED; WM400 FIELD_INVALID, REQUEST_ID_REUSED.';

create function public.get_shared_challenge(p_share_link_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    shown jsonb;
begin
    select jsonb_build_object(
        'first_name', p.first_name, 'challenge', internal.challenge_json(c), 'state', internal.user_challenge_state(u))
    into shown
    from public.share_links l
    join public.user_challenges u on u.id = l.user_challenge_id
    join public.approach_challenges c on c.id = u.challenge_id
    join public.user_profiles p on p.id = l.user_id
    where l.id = p_share_link_id and l.revoke_time is null and l.expire_time > now();
    if not found then
        perform internal.raise_share_link_not_found();
    end if;
    return jsonb_build_object('shared_challenge', shown);
end
$$;

comment on function public.get_shared_challenge is
    'Returns {"shared_challenge": {"first_name", "challenge", "state"}}, all that a link to a challenge shows. '
    'Raises WM404 SHARE_LINK_NOT_FOUND.';

create function public.get_shared_match(p_share_link_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    shown jsonb;
begin
    select jsonb_build_object('first_name', p.first_name, 'respond_time', m.respond_time) into shown
    from public.share_links l
    join public.matches m on m.id = l.match_id and m.state = 'ACCEPTED'
    join public.user_profiles p on p.id = l.user_id
    where l.id = p_share_link_id and l.revoke_time is null and l.expire_time > now();
    if not found then
        perform internal.raise_share_link_not_found();
    end if;
    return jsonb_build_object('shared_match', shown);
end
$$;

comment on function public.get_shared_match is
    'Returns {"shared_match": {"first_name", "respond_time"}}, all that a link to a match shows for as long as the '
    'match lives. Raises WM404 SHARE_LINK_NOT_FOUND.';

create function public.revoke_share_link(
    p_share_link_id uuid, p_user_id uuid, p_subject text, p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer(
        'revoke_share_link', p_user_id, p_request_id, jsonb_build_array(p_share_link_id, p_subject));
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.lock_people(array[p_user_id]);
    update public.share_links l set revoke_time = coalesce(l.revoke_time, now())
    where l.id = p_share_link_id and l.user_id = p_user_id
        and case p_subject when 'CHALLENGE' then l.user_challenge_id else l.match_id end is not null;
    if not found then
        perform internal.raise_share_link_not_found();
    end if;
    return internal.remember_answer('revoke_share_link', p_user_id, p_request_id, '{}');
end
$$;

comment on function public.revoke_share_link is
    'Ends a link to what p_subject says, CHALLENGE or MATCH, once and for all. Raises WM404 SHARE_LINK_NOT_FOUND, '
    'also about the links of others; WM400 REQUEST_ID_REUSED.';

create function public.purge_share_links(p_limit integer default 1000)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    purged integer;
begin
    delete from public.share_links l
    using (
        select id from public.share_links
        where expire_time <= now()
        order by expire_time
        limit p_limit
        for update skip locked
    ) expired
    where l.id = expired.id;
    get diagnostics purged = row_count;
    return jsonb_build_object('purged', purged);
end
$$;

comment on function public.purge_share_links is
    'Deletes at most p_limit links that have expired. Returns {"purged": n}.';

revoke execute on function
    public.share_challenge, public.share_match, public.get_shared_challenge, public.get_shared_match,
    public.revoke_share_link, public.purge_share_links
    from public, anon, authenticated;
grant execute on function
    public.share_challenge, public.share_match, public.get_shared_challenge, public.get_shared_match,
    public.revoke_share_link, public.purge_share_links
    to service_role;
