-- Which emails a person wants, and which addresses get none.

create table public.notification_preferences (
    user_id uuid primary key,
    disabled_kinds text[] not null default '{}',
    update_time timestamptz not null default now()
);

comment on table public.notification_preferences is 'The kinds of email that a person turned off; no row means none.';

alter table public.notification_preferences enable row level security;
revoke all on table public.notification_preferences from public, anon, authenticated;
grant select, insert, update, delete on table public.notification_preferences to service_role;
grant select on table public.notification_preferences to authenticated;
create policy notification_preferences_own on public.notification_preferences
    for select to authenticated using (user_id = (select auth.uid()));

create table public.suppressed_addresses (
    address_hash text primary key,
    cause text not null check (cause in ('BOUNCE', 'COMPLAINT', 'PROVIDER')),
    create_time timestamptz not null default now()
);

comment on table public.suppressed_addresses is
    'Addresses that get no email. By hash: it outlives the person''s profile, and says nothing to who does not know '
    'them.';

alter table public.suppressed_addresses enable row level security;
revoke all on table public.suppressed_addresses from public, anon, authenticated;
grant select, insert, update, delete on table public.suppressed_addresses to service_role;

create function internal.hash_address(p_address text)
    returns text
    language sql
    immutable
    return encode(sha256(convert_to(lower(btrim(p_address)), 'UTF8')), 'hex');

comment on function internal.hash_address is
    'The key under which an address is suppressed: however it is written, one.';

create function internal.is_opted_out(p_user_id uuid, p_kind text, p_address text)
    returns boolean
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return exists (
            select from public.suppressed_addresses s where s.address_hash = internal.hash_address(p_address))
        or exists (
            select from public.notification_preferences p
            where p.user_id = p_user_id and p_kind = any (p.disabled_kinds));
end
$$;

comment on function internal.is_opted_out is
    'Whether an email must not go to a person, because of their choice or the address.';

create function internal.preferences_json(p_user_id uuid)
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
        perform internal.raise_error('WM404', 'PROFILE_NOT_FOUND', 'no such profile',
            jsonb_build_object('user_id', p_user_id));
    end if;
    select * into chosen from public.notification_preferences p where p.user_id = p_user_id;
    select * into suppressed from public.suppressed_addresses s
    where s.address_hash = internal.hash_address(address);
    return jsonb_build_object(
        'user_id', p_user_id,
        'kinds', (
            select jsonb_agg(
                jsonb_build_object('kind', k.kind, 'enabled', not k.kind = any (coalesce(chosen.disabled_kinds, '{}')))
                order by k.place)
            from unnest(internal.notification_kinds()) with ordinality k (kind, place)),
        'digest_enabled', not 'DIGEST' = any (coalesce(chosen.disabled_kinds, '{}')),
        'suppression', case when suppressed.cause is not null then
            jsonb_build_object('cause', suppressed.cause, 'create_time', suppressed.create_time) end,
        'update_time', chosen.update_time);
end
$$;

comment on function internal.preferences_json is
    'A person''s preferences as callers see them. Raises WM404 PROFILE_NOT_FOUND.';

create function public.get_notification_preferences(p_user_id uuid)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select jsonb_build_object('preferences', internal.preferences_json(p_user_id))
$$;

comment on function public.get_notification_preferences is
    'Return {"preferences": ...}. Raises WM404 PROFILE_NOT_FOUND.';

create function internal.set_notification_kinds(p_user_id uuid, p_enabled text[], p_disabled text[])
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

comment on function internal.set_notification_kinds is
    'Turn kinds of email on and off for a person; the others stay.';

create function public.update_notification_preferences(p_user_id uuid, p_kinds jsonb, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer(
        'update_notification_preferences', p_user_id, p_request_id, jsonb_build_array(p_kinds));
begin
    if answer is not null then
        return answer;
    end if;
    perform internal.require(
        not exists (
            select from jsonb_array_elements(p_kinds) k
            where k ->> 'kind' <> all (internal.notification_kinds() || 'DIGEST'::text)),
        'kinds', 'kinds must be kinds of mail');
    perform internal.lock_people(array[p_user_id]);
    perform internal.preferences_json(p_user_id);
    perform internal.set_notification_kinds(
        p_user_id,
        array(select k ->> 'kind' from jsonb_array_elements(p_kinds) k where (k ->> 'enabled')::boolean),
        array(select k ->> 'kind' from jsonb_array_elements(p_kinds) k where not (k ->> 'enabled')::boolean));
    return internal.remember_answer('update_notification_preferences', p_user_id, p_request_id,
        jsonb_build_object('preferences', internal.preferences_json(p_user_id)));
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
    perform internal.require(
        p_kind = any (internal.notification_kinds() || 'DIGEST'::text), 'kind', 'kind must be a kind of mail');
    perform internal.hold_user_id(p_user_id);
    perform internal.set_notification_kinds(p_user_id, '{}', array[p_kind]);
    return 'true';
exception
    -- Nothing is sent to a person who was erased, and nothing is written about one.
    when sqlstate 'WM404' then
        return 'true';
end
$$;

comment on function public.unsubscribe is
    'Turn one kind of email off for a person who need not have a profile any more. Repeating it changes nothing.';

create function internal.suppress_address(p_address text, p_cause text)
    returns void
    language sql
    set search_path = ''
as $$
    insert into public.suppressed_addresses (address_hash, cause) values (internal.hash_address(p_address), p_cause)
    on conflict do nothing
$$;

comment on function internal.suppress_address is 'Let an address get no email from now on; the first cause stays.';

create function internal.readdress_notifications()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    update public.notifications n set
        -- What was given for the one email, and is not what the profile said, stays as it was given.
        recipient_email = case n.recipient_email when old.email then new.email else n.recipient_email end,
        recipient_name = case n.recipient_name when old.first_name then new.first_name else n.recipient_name end,
        locale = case n.locale when old.locale then new.locale else n.locale end,
        payload = case n.payload ->> 'time_zone'
            when old.time_zone then n.payload || jsonb_build_object('time_zone', new.time_zone) else n.payload end
    where n.id in (
        -- What is locked is being sent or dropped. As nothing here waits, there is no circular wait.
        select w.id from public.notifications w
        where w.user_id = new.id and w.state = 'PENDING' and w.rendered is null
        for update skip locked);
    return null;
end
$$;

comment on function internal.readdress_notifications is
    'Lets emails that wait follow a person to another address, name, language or time zone. What was rendered stays.';

create constraint trigger readdress_notifications
    after update of email, first_name, locale, time_zone on public.user_profiles
    deferrable initially deferred
    for each row
    when ((old.email, old.first_name, old.locale, old.time_zone)
        is distinct from (new.email, new.first_name, new.locale, new.time_zone))
    execute function internal.readdress_notifications();

revoke execute on function
    public.get_notification_preferences, public.update_notification_preferences, public.unsubscribe
    from public, anon, authenticated;
grant execute on function
    public.get_notification_preferences, public.update_notification_preferences, public.unsubscribe
    to service_role;
