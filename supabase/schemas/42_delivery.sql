-- Delivering emails: claims, the last check before sending, outcomes, and pauses.
--
-- A provider that asks for quiet is left alone by every replica until its time is up, and says why. A pause is one row
-- that claims and clearances look at first, so that what waits through it costs neither attempts nor leases. What waits
-- to be sent stays true: an email about a meetup speaks of the meetup as it is, and goes to the person as the profile
-- has it on the day on which it goes.

create table public.delivery_pauses (
    channel text primary key default 'EMAIL' check (channel = 'EMAIL'),
    reason text not null check (reason in ('THROTTLED', 'QUOTA', 'CONFIG')),
    error text,
    until_time timestamptz not null,
    update_time timestamptz not null default now()
);

comment on table public.delivery_pauses is
    'Until when nothing is sent, for all replicas; a row of the past means nothing.';
comment on column public.delivery_pauses.error is 'The provider''s name for what it refused.';

alter table public.delivery_pauses enable row level security;
revoke all on table public.delivery_pauses from public, anon, authenticated;
grant select, insert, update, delete on table public.delivery_pauses to service_role;

create function internal.delivery_pause_seconds()
    returns double precision
    language sql
    stable
    set search_path = ''
as $$
    select extract(epoch from d.until_time - now())::double precision
    from public.delivery_pauses d where d.until_time > now()
$$;

comment on function internal.delivery_pause_seconds is
    'For how long nothing is sent; null where nothing stands against it.';

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

create function internal.pause_deliveries(p_reason text, p_error text, p_seconds double precision)
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

comment on function internal.pause_deliveries is 'Send nothing for so many seconds, unless a longer pause stands.';

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
    'End a pause whose cause a person may have mended; one that the provider timed itself stays. Return whether one '
    'was.';

create function internal.past_safe_retry(p_first_attempt_time timestamptz)
    returns boolean
    language sql
    stable
    set search_path = ''
as $$
    -- Providers remember an idempotency key for 24 hours; an hour of it is kept for clocks and slow requests.
    select coalesce(p_first_attempt_time < now() - interval '23 hours', false)
$$;

comment on function internal.past_safe_retry is
    'Whether the provider may have forgotten the idempotency key of an email first attempted then.';

create function internal.match_state_for_kind(p_kind text)
    returns text
    language sql
    immutable
    set search_path = ''
as $$
    select case p_kind
        when 'MATCH_INVITATION' then 'PENDING'
        when 'MATCH_ACCEPTANCE' then 'ACCEPTED'
        when 'MATCH_DECLINE' then 'DECLINED'
        when 'SESSION_REMINDER' then 'ACCEPTED'
    end
$$;

comment on function internal.match_state_for_kind is
    'The state that a match must still have for an email of this kind to be true; null where any will do.';

create function internal.is_current_for_meetup(p_notification public.notifications)
    returns boolean
    language sql
    stable
    set search_path = ''
as $$
    select not p_notification.payload ? 'meetup_id' or exists (
        select from public.meetups m
        where m.id = (p_notification.payload ->> 'meetup_id')::uuid
            and internal.meetup_state_now(m) = case p_notification.kind
                when 'MEETUP_CANCELLED' then 'CANCELLED' else 'SCHEDULED' end
            -- A later change has an email of its own.
            and m.sequence = coalesce((p_notification.payload ->> 'sequence')::integer, m.sequence))
$$;

comment on function internal.is_current_for_meetup is
    'Whether the meetup of an eemail''s payload, {"meetup_id": ..., "sequence": ...}, still is what the email says; '
    'true for an email without one.';

create function internal.reason_not_to_send(p_notification public.notifications)
    returns text
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    expected constant text := internal.match_state_for_kind(p_notification.kind);
begin
    if p_notification.expire_time <= now() then
        return 'EXPIRED';
    end if;
    if p_notification.match_id is not null and expected is not null
        and not exists (select from public.matches m where m.id = p_notification.match_id and m.state = expected) then
        return 'CANCELLED';
    end if;
    if not internal.is_current_for_meetup(p_notification) then
        return 'CANCELLED';
    end if;
    if internal.is_opted_out(p_notification.user_id, p_notification.kind, p_notification.recipient_email) then
        return 'SUPPRESSED';
    end if;
    return null;
end
$$;

comment on function internal.reason_not_to_send is
    'The state for an email that must not go out any more, because it is late, not true any longer or not wanted; '
    'null where it may.';

create function internal.lease_due_notifications(
    p_owner text, p_limit integer, p_lease_seconds double precision, p_digests boolean
)
    returns jsonb
    language plpgsql
    set search_path = ''
    -- Without knowing the limit the planner reads and sorts every waiting email.
    set plan_cache_mode = force_custom_plan
as $$
declare
    taken uuid[];
    claimed jsonb;
    held jsonb;
    next_due timestamptz;
begin
    -- Materialized, so that each scan runs once and its limit holds while other claimers skip the rows it locked.
    with abandoned as materialized (
        select n.id, n.lease_expire_time as due_time, false as waits
        from public.notifications n
        where n.state = 'SENDING' and n.lease_expire_time <= now()
        order by n.lease_expire_time limit p_limit for update skip locked
    ), due as materialized (
        select n.id, n.next_attempt_time as due_time, true as waits
        from public.notifications n
        where n.state = 'PENDING' and n.next_attempt_time <= now() and (p_digests or n.kind <> 'DIGEST')
        order by n.next_attempt_time, n.id limit p_limit for update skip locked
    )
    select coalesce(array_agg(c.id order by c.waits, c.due_time, c.id), '{}') into taken
    from (select * from abandoned union all select * from due limit p_limit) c;

    perform internal.lock_addresses(taken);
    for place in 1 .. cardinality(taken) loop
        perform internal.take_notification(n, p_owner, p_lease_seconds, p_digests)
        from public.notifications n where n.id = taken[place];
    end loop;

    select coalesce(jsonb_agg(to_jsonb(c) order by c.send_time, c.id), '[]') into claimed
    from (
        select t.id, t.kind, t.epoch, t.user_id, t.recipient_email, t.recipient_name, t.locale, t.payload, t.match_id,
            t.send_time, t.create_time, t.rendered
        from public.notifications t where t.id = any (taken) and t.state = 'SENDING'
    ) c;
    select coalesce(jsonb_agg(n.kind), '[]') into held
    from public.notifications n where n.id = any (taken) and n.state = 'PENDING' and n.digest_id is not null;

    select min(d.due_time) into next_due from (
        (select n.next_attempt_time as due_time from public.notifications n
          where n.state = 'PENDING' and n.next_attempt_time < 'infinity' and (p_digests or n.kind <> 'DIGEST')
          order by n.next_attempt_time limit 1)
        union all
        (select n.lease_expire_time from public.notifications n
          where n.state = 'SENDING' order by n.lease_expire_time limit 1)
    ) d;
    return jsonb_build_object(
        'notifications', claimed,
        'held_kinds', held,
        'next_due_seconds',
        case when next_due is not null then extract(epoch from greatest(next_due - now(), interval '0')) end);
end
$$;

comment on function internal.lease_due_notifications is
    'Lease up to p_limit due emails, abandoned ones first, as far as their addresses may get more; the others are held '
    'or wait. Return them, the kinds of those held, and in how many seconds the next one is due.';

create function public.claim_notifications(
    p_owner text, p_limit integer, p_lease_seconds double precision, p_digests boolean default false
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    pause constant double precision := internal.delivery_pause_seconds();
begin
    if pause is not null then
        return jsonb_build_object('notifications', '[]'::jsonb, 'next_due_seconds', pause, 'paused', true);
    end if;
    return internal.lease_due_notifications(p_owner, p_limit, p_lease_seconds, p_digests)
        || jsonb_build_object('paused', false);
end
$$;

comment on function public.claim_notifications is
    'Lease due emails as lease_due_notifications does; none, and due when the pause ends, while deliveries are '
    'paused. Digests are left to callers who can render them, as p_digests says.';

create function public.release_notifications(p_owner text)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    released integer;
begin
    update public.notifications n set
        state = 'PENDING',
        -- Content of an earlier attempt counts as doubt too: too much of it costs a look, too little a second email.
        ambiguous = n.ambiguous or n.rendered is not null,
        epoch = n.epoch + 1,
        lease_owner = null,
        lease_expire_time = null
    where n.id in (
        -- What is locked is being ended by somebody else. As nothing here waits, there is no circular wait.
        select w.id from public.notifications w
        where w.state = 'SENDING' and w.lease_owner = p_owner
        for update skip locked);
    get diagnostics released = row_count;
    if released > 0 then
        perform pg_notify('notifications', '');
    end if;
    return to_jsonb(released);
end
$$;

comment on function public.release_notifications is
    'Give back what an owner has leased, for others to take at once, and return how many. What somebody else is just '
    'changing is left to them, or to the end of its lease.';

create function internal.clear_notification(
    p_id uuid, p_epoch bigint, p_rendered jsonb, p_lease_seconds double precision default 60
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    mine public.notifications;
    refusal text;
begin
    select * into mine from public.notifications n
    where n.id = p_id and n.epoch = p_epoch and n.state = 'SENDING' for update;
    if not found then
        return jsonb_build_object('send', false);
    end if;

    refusal := internal.reason_not_to_send(mine);
    if refusal is not null then
        update public.notifications n set state = refusal, lease_owner = null, lease_expire_time = null
        where n.id = p_id;
        return jsonb_build_object('send', false);
    end if;

    update public.notifications n set
        rendered = coalesce(n.rendered, p_rendered),
        first_attempt_time = coalesce(n.first_attempt_time, now()),
        attempt_count = n.attempt_count + 1,
        lease_expire_time = now() + make_interval(secs => p_lease_seconds)
    where n.id = p_id returning * into mine;
    return jsonb_build_object(
        'send', true,
        'rendered', mine.rendered,
        'idempotency_key', format('ntf/%s/g%s', mine.id, mine.generation),
        'attempt_count', mine.attempt_count);
end
$$;

comment on function internal.clear_notification is
    'Last check before sending: keep the first attempt''s content and return it with its key, or {"send": false}.';

create function public.store_rendered_notification(
    p_id uuid, p_epoch bigint, p_rendered jsonb, p_lease_seconds double precision default 60
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    if internal.delivery_pause_seconds() is null then
        return internal.clear_notification(p_id, p_epoch, p_rendered, p_lease_seconds);
    end if;
    update public.notifications n set
        state = 'PENDING',
        epoch = n.epoch + 1,
        deferral_count = n.deferral_count + 1,
        lease_owner = null,
        lease_expire_time = null
    where n.id = p_id and n.epoch = p_epoch and n.state = 'SENDING';
    return jsonb_build_object('send', false);
end
$$;

comment on function public.store_rendered_notification is
    'Clear an email for sending as clear_notification does; while deliveries are paused, put it back to wait '
    'instead.';

create function public.finish_notification(
    p_id uuid,
    p_epoch bigint,
    p_outcome text,
    p_provider_message_id text default null,
    p_error text default null,
    p_retry_seconds double precision default 60,
    p_pause_seconds double precision default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    deferred constant boolean := p_outcome in ('THROTTLED', 'QUOTA', 'CONFIG', 'IN_FLIGHT', 'WITHHELD');
    doubtful constant boolean := p_outcome in ('AMBIGUOUS', 'IN_FLIGHT');
    reached text;
begin
    if not deferred and not doubtful and p_outcome not in ('ACCEPTED', 'NOT_ACCEPTED', 'BAD_MESSAGE', 'KEY_MISMATCH') then
        raise exception 'unknown outcome %', p_outcome;
    end if;
    if p_pause_seconds is not null then
        perform internal.pause_deliveries(
            case when p_outcome in ('QUOTA', 'CONFIG') then p_outcome else 'THROTTLED' end, p_error, p_pause_seconds);
    end if;

    update public.notifications n set
        state = case
            when p_outcome = 'ACCEPTED' then 'SENT'
            when p_outcome = 'BAD_MESSAGE' then 'DEAD'
            when p_outcome = 'KEY_MISMATCH' then 'REVIEW'
            when not internal.past_safe_retry(n.first_attempt_time) then 'PENDING'
            when n.ambiguous or doubtful then 'REVIEW'
            when deferred then 'PENDING'
            else 'DEAD' end,
        ambiguous = n.ambiguous or doubtful,
        attempt_count = n.attempt_count - deferred::integer,
        deferral_count = n.deferral_count + deferred::integer,
        -- Waiting in a queue that stands still must not use up the time for trying.
        first_attempt_time = case
            when deferred and not doubtful and not n.ambiguous and n.attempt_count = 1 then null
            else n.first_attempt_time end,
        -- What was refused for our settings is rendered again with other ones, under a key of its own: nothing of it is out.
        rendered = case when p_outcome = 'CONFIG' and not n.ambiguous then null else n.rendered end,
        generation = n.generation + (p_outcome = 'CONFIG' and not n.ambiguous)::integer,
        sent_time = case when p_outcome = 'ACCEPTED' then now() end,
        provider_message_id = p_provider_message_id,
        last_error = p_error,
        next_attempt_time = now() + make_interval(secs => p_retry_seconds),
        lease_owner = null,
        lease_expire_time = null
    where n.id = p_id and n.epoch = p_epoch and n.state = 'SENDING'
    returning n.state into reached;
    return to_jsonb(reached);
end
$$;

comment on function public.finish_notification is
    'Record the outcome of an attempt and return the state reached; null, and the row unchanged, if another has it.';

revoke execute on function
    public.get_delivery_pause, public.resume_deliveries, public.claim_notifications, public.release_notifications,
    public.store_rendered_notification, public.finish_notification
    from public, anon, authenticated;
grant execute on function
    public.get_delivery_pause, public.resume_deliveries, public.claim_notifications, public.release_notifications,
    public.store_rendered_notification, public.finish_notification
    to service_role;
