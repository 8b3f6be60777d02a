-- Errors that functions raise, safe repetition of mutations by request_id, paging, and the health check.
--
-- What the server calls stands in the schema public, which PostgREST exposes. What only other functions call stands in
-- the schema internal, which it does not.
--
-- What runs often is written in plpgsql even where it is one statement: plpgsql caches plans for the session, while
-- language sql plans at each call, and planning costs more than running. The exceptions are bodies of one expression
-- (`return ...`), which the planner inlines; those may not set a search_path, and need none, since their names were
-- resolved when they were created.

create schema internal;

comment on schema internal is 'What only the functions of public call; PostgREST does not expose it.';

grant usage on schema internal to anon, service_role;

create table public.request_keys (
    scope text not null,
    user_id uuid not null,
    request_id uuid not null,
    body_hash bytea not null,
    answer jsonb,
    expire_time timestamptz not null,
    primary key (scope, user_id, request_id)
);

comment on table public.request_keys is
    'One row a (function, person, request_id): what was asked, as a hash, and what was answered.';

create index request_keys_expiring on public.request_keys (expire_time);
create index request_keys_of_user on public.request_keys (user_id);

alter table public.request_keys enable row level security;
revoke all on table public.request_keys from public, anon, authenticated;
grant select, insert, update, delete on table public.request_keys to service_role;

create function internal.raise_error(p_sqlstate text, p_reason text, p_message text, p_metadata jsonb default '{}')
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    raise exception using
        errcode = p_sqlstate,
        message = p_message,
        detail = p_reason,
        hint = p_metadata::text;
end
$$;

comment on function internal.raise_error is
    'Raises SQLSTATE WM4xx with a reason of ErrorReason in DETAIL and an object of strings in HINT. Ids only: '
    'callers see it.';

create function internal.raise_invalid(p_field text, p_message text, p_reason text default 'FIELD_INVALID')
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_error('WM400', p_reason, p_message, jsonb_build_object('field', p_field))
$$;

comment on function internal.raise_invalid is 'Raises WM400 about one field of the request.';

create function internal.raise_conflict()
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_error('WM412', 'CONFLICT', 'others were faster; repeat the request')
$$;

comment on function internal.raise_conflict is 'Raises WM412 CONFLICT.';

create function internal.require(p_condition boolean, p_field text, p_message text)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    if p_condition is not true then
        perform internal.raise_invalid(p_field, p_message);
    end if;
end
$$;

comment on function internal.require is
    'Raises WM400 FIELD_INVALID about p_field unless p_condition is true; null counts as false.';

create function internal.require_page_size(p_page_size integer, p_default integer)
    returns integer
    language plpgsql
    immutable
    set search_path = ''
as $$
begin
    perform internal.require(coalesce(p_page_size, 0) >= 0, 'page_size', 'page_size must not be negative');
    return least(coalesce(nullif(p_page_size, 0), p_default), 100);
end
$$;

comment on function internal.require_page_size is
    'Returns the page size to use: the default for 0, at most 100. Raises WM400 if negative.';

create function internal.recall_answer(p_scope text, p_user_id uuid, p_request_id uuid, p_arguments jsonb)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    -- jsonb orders keys and drops blanks, so equal arguments have equal text.
    asked constant bytea := sha256(convert_to(p_arguments::text, 'UTF8'));
    remembered public.request_keys;
begin
    if p_request_id is null then
        return null;
    end if;
    -- Of two calls at once the second waits here, holding nothing yet, until the first has ended.
    insert into public.request_keys as k (scope, user_id, request_id, body_hash, expire_time)
    values (p_scope, p_user_id, p_request_id, asked, now() + interval '24 hours')
    on conflict (scope, user_id, request_id) do update
        set body_hash = excluded.body_hash, answer = null, expire_time = excluded.expire_time
        where k.expire_time <= now();
    if found then
        return null;
    end if;
    select * into remembered from public.request_keys k
    where k.scope = p_scope and k.user_id = p_user_id and k.request_id = p_request_id;
    if remembered.body_hash <> asked then
        perform internal.raise_invalid('request_id', 'request_id was used for another request', 'REQUEST_ID_REUSED');
    end if;
    return remembered.answer;
end
$$;

comment on function internal.recall_answer is
    'Returns the answer remembered for p_request_id, or null if the caller is to act and then call remember_answer. '
    'Call it before lock_people. Raises WM400 REQUEST_ID_REUSED if p_arguments are not those of the first call.';

create function internal.remember_answer(p_scope text, p_user_id uuid, p_request_id uuid, p_answer jsonb)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    if p_request_id is not null then
        update public.request_keys k set answer = p_answer
        where k.scope = p_scope and k.user_id = p_user_id and k.request_id = p_request_id;
    end if;
    return p_answer;
end
$$;

comment on function internal.remember_answer is
    'Stores p_answer for the request_id that recall_answer claimed, if any, and returns it.';

create function public.purge_request_keys(p_limit integer default 1000)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    purged integer;
begin
    delete from public.request_keys k
    using (
        select scope, user_id, request_id from public.request_keys
        where expire_time <= now()
        order by expire_time
        limit p_limit
        for update skip locked
    ) expired
    where (k.scope, k.user_id, k.request_id) = (expired.scope, expired.user_id, expired.request_id);
    get diagnostics purged = row_count;
    return jsonb_build_object('purged', purged);
end
$$;

comment on function public.purge_request_keys is
    'Deletes at most p_limit answers that are past their 24 hours. Returns {"purged": n}.';

create function public.health()
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select jsonb_build_object('role', current_user)
$$;

comment on function public.health is 'Returns {"role": the role that the caller acts as}.';

revoke execute on function public.purge_request_keys, public.health from public, anon, authenticated;
grant execute on function public.purge_request_keys, public.health to service_role;
grant execute on function public.health to anon;
