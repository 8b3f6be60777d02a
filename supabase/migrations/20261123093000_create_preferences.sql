-- Which mails a person wants, which addresses get none, and what the provider told of mails that are out.

create table public.notification_preferences (
    user_id uuid primary key,
    disabled_kinds text[] not null default '{}',
    update_time timestamptz not null default now()
);

comment on table public.notification_preferences is 'The kinds of mail that a person turned off; no row means none.';

create table public.suppressed_addresses (
    address_hash text primary key,
    cause text not null check (cause in ('BOUNCE', 'COMPLAINT', 'PROVIDER')),
    create_time timestamptz not null default now()
);

comment on table public.suppressed_addresses is
    'Addresses that get no mail. By hash: it outlives the person''s profile, and says nothing to who does not know them.';

create table public.delivery_events (
    event_id text primary key,
    type text not null,
    notification_id uuid,
    event_time timestamptz,
    receive_time timestamptz not null default now()
);

comment on table public.delivery_events is 'What the provider told, each event once, however often it told it.';

create index delivery_events_of_notification on public.delivery_events (notification_id);
create index delivery_events_received on public.delivery_events (receive_time);

alter table public.notification_preferences enable row level security;
alter table public.suppressed_addresses enable row level security;
alter table public.delivery_events enable row level security;
revoke all on table public.notification_preferences, public.suppressed_addresses, public.delivery_events
    from public, anon, authenticated;
grant select, insert, update, delete
    on table public.notification_preferences, public.suppressed_addresses, public.delivery_events to service_role;
grant select on table public.notification_preferences to authenticated;
create policy notification_preferences_own on public.notification_preferences
    for select to authenticated using (user_id = (select auth.uid()));

create function public.hash_of_address(p_address text)
    returns text
    language sql
    immutable
    return encode(sha256(convert_to(lower(btrim(p_address)), 'UTF8')), 'hex');

comment on function public.hash_of_address is 'The key under which an address is suppressed: however it is written, one.';

create function public.notification_kinds()
    returns text[]
    language sql
    immutable
    return array[
        'MATCH_INVITATION', 'MATCH_ACCEPTANCE', 'MATCH_DECLINE', 'SESSION_REMINDER',
        'MEETUP_SCHEDULED', 'MEETUP_MOVED', 'MEETUP_CANCELLED'];

comment on function public.notification_kinds is 'Every kind of mail, in the order in which callers see them.';

create function public.is_unwanted(p_user_id uuid, p_kind text, p_address text)
    returns boolean
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return exists (
            select from public.suppressed_addresses s where s.address_hash = public.hash_of_address(p_address))
        or exists (
            select from public.notification_preferences p
            where p.user_id = p_user_id and p_kind = any (p.disabled_kinds));
end
$$;

comment on function public.is_unwanted is 'Whether a mail must not go to a person, because of their choice or the address.';

create or replace function public.refusal_of(p_notification public.notifications)
    returns text
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    expected constant text := public.match_state_spoken_of(p_notification.kind);
begin
    if p_notification.expire_time <= now() then
        return 'EXPIRED';
    end if;
    if p_notification.match_id is not null and expected is not null
        and not exists (select from public.matches m where m.id = p_notification.match_id and m.state = expected) then
        return 'CANCELLED';
    end if;
    if public.is_unwanted(p_notification.user_id, p_notification.kind, p_notification.recipient_email) then
        return 'SUPPRESSED';
    end if;
    return null;
end
$$;

comment on function public.refusal_of is
    'The state for a mail that must not go out any more, because it is late, not true any longer or not wanted; null '
    'where it may.';

create function public.preferences_json(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    address text;
    chosen public.notification_preferences;
    suppressed public.suppressed_addresses;
begin
    select p.email into address from public.user_profiles p where p.id = p_user_id;
    if not found then
        perform public.raise_error('WM404', 'PROFILE_NOT_FOUND', 'no such profile',
            jsonb_build_object('user_id', p_user_id));
    end if;
    select * into chosen from public.notification_preferences p where p.user_id = p_user_id;
    select * into suppressed from public.suppressed_addresses s
    where s.address_hash = public.hash_of_address(address);
    return jsonb_build_object(
        'user_id', p_user_id,
        'kinds', (
            select jsonb_agg(
                jsonb_build_object('kind', k.kind, 'enabled', not k.kind = any (coalesce(chosen.disabled_kinds, '{}')))
                order by k.place)
            from unnest(public.notification_kinds()) with ordinality k (kind, place)),
        'suppression', case when suppressed.cause is not null then
            jsonb_build_object('cause', suppressed.cause, 'create_time', suppressed.create_time) end,
        'update_time', chosen.update_time);
end
$$;

comment on function public.preferences_json is 'A person''s preferences as callers see them. Raises WM404 PROFILE_NOT_FOUND.';

create function public.get_notification_preferences(p_user_id uuid)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select jsonb_build_object('preferences', public.preferences_json(p_user_id))
$$;

comment on function public.get_notification_preferences is
    'Return {"preferences": ...}. Raises WM404 PROFILE_NOT_FOUND.';

create function public.set_notification_kinds(p_user_id uuid, p_enabled text[], p_disabled text[])
    returns void
    language sql
    set search_path = ''
as $$
    insert into public.notification_preferences as p (user_id, disabled_kinds)
    values (p_user_id, p_disabled)
    on conflict (user_id) do update set
        disabled_kinds = array(
            select k from unnest(p.disabled_kinds || excluded.disabled_kinds) k
            where k <> all (p_enabled) group by k order by k),
        update_time = now()
$$;

comment on function public.set_notification_kinds is 'Turn kinds of mail on and off for a person; the others stay.';

create function public.update_notification_preferences(p_user_id uuid, p_kinds jsonb, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := public.recall_answer(
        'update_notification_preferences', p_user_id, p_request_id, jsonb_build_array(p_kinds));
begin
    if answer is not null then
        return answer;
    end if;
    perform public.require(
        not exists (
            select from jsonb_array_elements(p_kinds) k where k ->> 'kind' <> all (public.notification_kinds())),
        'kinds', 'kinds must be kinds of mail');
    perform public.preferences_json(p_user_id);
    perform public.set_notification_kinds(
        p_user_id,
        array(select k ->> 'kind' from jsonb_array_elements(p_kinds) k where (k ->> 'enabled')::boolean),
        array(select k ->> 'kind' from jsonb_array_elements(p_kinds) k where not (k ->> 'enabled')::boolean));
    return public.remember_answer('update_notification_preferences', p_user_id, p_request_id,
        jsonb_build_object('preferences', public.preferences_json(p_user_id)));
end
$$;

comment on function public.update_notification_preferences is
    'Turn the kinds named, [{"kind": ..., "enabled": ...}], on or off. Return {"preferences": ...}. Raises WM404 '
    'PROFILE_NOT_FOUND, WM400 FIELD_INVALID, WM400 REQUEST_ID_REUSED.';

create function public.unsubscribe(p_user_id uuid, p_kind text)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    perform public.require(p_kind = any (public.notification_kinds()), 'kind', 'kind must be a kind of mail');
    perform public.set_notification_kinds(p_user_id, '{}', array[p_kind]);
    return 'true';
end
$$;

comment on function public.unsubscribe is
    'Turn one kind of mail off for a person who need not have a profile any more. Repeating it changes nothing.';

revoke execute on function
    public.hash_of_address, public.notification_kinds, public.is_unwanted, public.refusal_of, public.preferences_json,
    public.get_notification_preferences, public.set_notification_kinds, public.update_notification_preferences,
    public.unsubscribe
    from public, anon, authenticated;
grant execute on function
    public.hash_of_address, public.notification_kinds, public.is_unwanted, public.refusal_of, public.preferences_json,
    public.get_notification_preferences, public.set_notification_kinds, public.update_notification_preferences,
    public.unsubscribe
    to service_role;
