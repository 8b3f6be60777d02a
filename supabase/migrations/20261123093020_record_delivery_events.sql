-- What the provider tells of a mail that is out. Events come more than once and in any order, so the state they lead to
-- is the highest of them, whichever came last.

create function public.delivery_rank(p_state text)
    returns integer
    language sql
    immutable
    -- What was given up, called off or is still waiting is out after all when the provider speaks of it.
    return coalesce(
        array_position(array['SENT', 'DELAYED', 'SUPPRESSED', 'DEAD', 'DELIVERED', 'BOUNCED', 'COMPLAINED'], p_state), 0);

comment on function public.delivery_rank is 'The order of states that a mail has once it is out; 0 for those before.';

create function public.suppress_address(p_address text, p_cause text)
    returns void
    language sql
    set search_path = ''
as $$
    insert into public.suppressed_addresses (address_hash, cause) values (public.hash_of_address(p_address), p_cause)
    on conflict do nothing
$$;

comment on function public.suppress_address is 'Let an address get no mail from now on; the first cause stays.';

create function public.record_delivery_event(
    p_event_id text,
    p_type text,
    p_state text default null,
    p_suppression text default null,
    p_event_time timestamptz default null,
    p_notification_id uuid default null,
    p_provider_message_id text default null,
    p_address text default null
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
        perform public.suppress_address(p_address, p_suppression)
        where p_suppression is not null and p_address is not null;
        update public.notifications n set
            state = p_state,
            sent_time = coalesce(n.sent_time, p_event_time, now()),
            provider_message_id = coalesce(n.provider_message_id, p_provider_message_id),
            -- Whoever has it on lease learns that it is out.
            epoch = n.epoch + 1,
            lease_owner = null,
            lease_expire_time = null
        where n.id = public.notification_of_event(p_notification_id, p_provider_message_id)
            and p_state is not null and public.rank_before_event(n) < public.delivery_rank(p_state);
    end if;
    select * into told from public.notifications n
    where n.id = public.notification_of_event(p_notification_id, p_provider_message_id);
    return jsonb_build_object('notification', case when told.id is not null then public.notification_json(told) end);
end
$$;

comment on function public.record_delivery_event is
    'Take an event in, once: raise the state of its mail, suppress its address. Return {"notification": ... or null}.';

create function public.notification_of_event(p_notification_id uuid, p_provider_message_id text)
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

comment on function public.notification_of_event is 'The mail that an event is about: by our id, or by the provider''s.';

create function public.rank_before_event(n public.notifications)
    returns integer
    language sql
    immutable
    -- DEAD and SUPPRESSED of a mail that never was out are our own words, not the provider's.
    return case when n.sent_time is null then 0 else public.delivery_rank(n.state) end;

comment on function public.rank_before_event is 'How far the provider''s word has brought a mail.';

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
        where o.receive_time < now() - interval '30 days' order by o.receive_time limit p_limit);
    get diagnostics purged = row_count;
    return jsonb_build_object('purged', purged);
end
$$;

comment on function public.purge_delivery_events is
    'Delete at most p_limit events of more than 30 days ago: the provider repeats none that old. Return {"purged": n}.';

revoke execute on function
    public.delivery_rank, public.suppress_address, public.record_delivery_event, public.notification_of_event,
    public.rank_before_event, public.purge_delivery_events
    from public, anon, authenticated;
grant execute on function
    public.delivery_rank, public.suppress_address, public.record_delivery_event, public.notification_of_event,
    public.rank_before_event, public.purge_delivery_events
    to service_role;
