-- A provider of mail that asks for quiet is left alone by every replica until its time is up, and says why.
--
-- A pause is one row that claims and clearances look at first, so that what waits through it costs neither attempts nor
-- leases.

create table public.delivery_pauses (
    channel text primary key default 'EMAIL' check (channel = 'EMAIL'),
    reason text not null check (reason in ('THROTTLED', 'QUOTA', 'CONFIG')),
    error text,
    until_time timestamptz not null,
    update_time timestamptz not null default now()
);

comment on table public.delivery_pauses is 'Until when nothing is sent, for all replicas; a row of the past means nothing.';
comment on column public.delivery_pauses.error is 'The provider''s name for what it refused.';

alter table public.delivery_pauses enable row level security;
revoke all on table public.delivery_pauses from public, anon, authenticated;
grant select, insert, update, delete on table public.delivery_pauses to service_role;

create function public.delivery_pause_seconds()
    returns double precision
    language sql
    stable
    set search_path = ''
as $$
    select extract(epoch from d.until_time - now())::double precision
    from public.delivery_pauses d where d.until_time > now()
$$;

comment on function public.delivery_pause_seconds is 'For how long nothing is sent; null where nothing stands against it.';

create function public.get_delivery_pause()
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select jsonb_build_object('reason', d.reason, 'error', d.error, 'until_time', d.until_time)
    from public.delivery_pauses d where d.until_time > now()
$$;

comment on function public.get_delivery_pause is 'The pause that stands; null where none does.';

create function public.pause_deliveries(p_reason text, p_error text, p_seconds double precision)
    returns void
    language sql
    set search_path = ''
as $$
    insert into public.delivery_pauses as d (reason, error, until_time)
    values (p_reason, p_error, now() + make_interval(secs => p_seconds))
    on conflict (channel) do update set
        reason = excluded.reason,
        error = excluded.error,
        until_time = excluded.until_time,
        update_time = excluded.update_time
    -- A short pause does not end a long one.
    where d.until_time < excluded.until_time
$$;

comment on function public.pause_deliveries is 'Send nothing for so many seconds, unless a longer pause stands.';

create function public.resume_deliveries()
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    delete from public.delivery_pauses d where d.reason in ('CONFIG', 'QUOTA');
    if found then
        perform pg_notify('notifications', '');
    end if;
    return to_jsonb(found);
end
$$;

comment on function public.resume_deliveries is
    'End a pause whose cause a person may have mended; one that the provider timed itself stays. Return whether one was.';

revoke execute on function
    public.delivery_pause_seconds, public.get_delivery_pause, public.pause_deliveries, public.resume_deliveries
    from public, anon, authenticated;
grant execute on function
    public.delivery_pause_seconds, public.get_delivery_pause, public.pause_deliveries, public.resume_deliveries
    to service_role;
