-- What the provider reports of an email that is out. Events come more than once and in any order, so the state they lead
-- to is the highest of them, whichever came last.

create table public.delivery_events (
    event_id text primary key,
    type text not null,
    notification_id uuid,
    event_time timestamptz,
    receive_time timestamptz not null default now()
);

comment on table public.delivery_events is 'Events reported by the provider, each once, however often it was reported.';

create index delivery_events_of_notification on public.delivery_events (notification_id);
create index delivery_events_received on public.delivery_events (receive_time);

alter table public.delivery_events enable row level security;
revoke all on table public.delivery_events from public, anon, authenticated;
grant select, insert, update, delete on table public.delivery_events to service_role;

create function internal.delivery_rank(p_state text)
    returns integer
    language sql
    immutable
    -- What was given up, called off or is still waiting is out after all when the provider speaks of it.
    return coalesce(
        array_position(array['SENT', 'DELAYED', 'SUPPRESSED', 'DEAD', 'DELIVERED', 'BOUNCED', 'COMPLAINED'], p_state), 0);

comment on function internal.delivery_rank is
    'The order of states that an email has once it is out; 0 for those before.';

create function internal.rank_before_event(n public.notifications)
    returns integer
    language sql
    immutable
    -- DEAD and SUPPRESSED of an email that never was out are our own words, not the provider's.
    return case when n.sent_time is null then 0 else internal.delivery_rank(n.state) end;

comment on function internal.rank_before_event is 'How far the provider''s word has brought an email.';

create function internal.notification_of_event(p_notification_id uuid, p_provider_message_id text)
    returns uuid
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return coalesce(
        (select n.id from public.notifications n where n.id = p_notification_id),
        (select n.id from public.notifications n where n.provider_message_id = p_provider_message_id limit 1));
end
$$;

comment on function internal.notification_of_event is
    'The email that an event is about: by our id, or by the provider''s.';

create function public.record_delivery_event(
    p_event_id text,
    p_type text,
    p_state text default null,
    p_suppression text default null,
    p_event_time timestamptz default null,
    p_notification_id uuid default null,
    p_provider_message_id text default null,
    p_address text default null,
    p_digests boolean default false
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    told public.notifications;
begin
    insert into public.delivery_events (event_id, type, event_time, notification_id)
    values (p_event_id, p_type, p_event_time, p_notification_id)
    on conflict do nothing;
    if found then
        perform internal.suppress_address(p_address, p_suppression)
        where p_suppression is not null and p_address is not null;
        update public.notifications n set
            state = p_state,
            sent_time = coalesce(n.sent_time, p_event_time, now()),
            provider_message_id = coalesce(n.provider_message_id, p_provider_message_id),
            -- Whoever has it on lease learns that it is out.
            epoch = n.epoch + 1,
            lease_owner = null,
            lease_expire_time = null
        where n.id = internal.notification_of_event(p_notification_id, p_provider_message_id)
            and p_state is not null and internal.rank_before_event(n) < internal.delivery_rank(p_state);
    end if;
    select * into told from public.notifications n
    where n.id = internal.notification_of_event(p_notification_id, p_provider_message_id);
    return jsonb_build_object('notification', case
        when told.id is not null and (p_digests or told.kind <> 'DIGEST') then internal.notification_json(told) end);
end
$$;

comment on function public.record_delivery_event is
    'Take an event in, once: raise the state of its email, suppress its address. Return {"notification": ... or '
    'null}; null for a digest without p_digests.';

create function public.purge_delivery_events(p_limit integer default 1000)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    purged integer;
begin
    delete from public.delivery_events e
    where e.event_id in (
        select o.event_id from public.delivery_events o
        where o.receive_time < now() - interval '30 days'
        order by o.receive_time
        limit p_limit
        for update skip locked);
    get diagnostics purged = row_count;
    return jsonb_build_object('purged', purged);
end
$$;

comment on function public.purge_delivery_events is
    'Delete at most p_limit events of more than 30 days ago: the provider repeats none that old. Return {"purged": '
    'n}.';

revoke execute on function
    public.record_delivery_event, public.purge_delivery_events
    from public, anon, authenticated;
grant execute on function public.record_delivery_event, public.purge_delivery_events to service_role;
