-- Claims and clearances stop at a pause, and attempts end in what a provider can answer.

alter table public.notifications add column deferral_count integer not null default 0;

comment on column public.notifications.attempt_count is
    'Deliveries begun whose end says something about the mail; the others are counted as deferrals.';
comment on column public.notifications.deferral_count is 'Deliveries that came to nothing through no fault of the mail.';

-- The claim as it was, behind the look at the pause; it now also says whose mail it is.
drop function public.claim_notifications;

create function public.lease_due_notifications(p_owner text, p_limit integer, p_lease_seconds double precision)
    returns jsonb
    language plpgsql
    set search_path = ''
    -- Without knowing the limit the planner reads and sorts every waiting mail.
    set plan_cache_mode = force_custom_plan
as $$
declare
    claimed jsonb;
    next_due timestamptz;
begin
    -- Materialized, so that each scan runs once and its limit holds while other claimers skip the rows it locked.
    with abandoned as materialized (
        -- A worker vanished with a mail it may have begun to send: nobody knows whether it went out.
        select n.id, n.expire_time, n.first_attempt_time, n.ambiguous or n.rendered is not null as ambiguous
        from public.notifications n
        where n.state = 'SENDING' and n.lease_expire_time <= now()
        order by n.lease_expire_time limit p_limit for update skip locked
    ), due as materialized (
        select n.id, n.expire_time, n.first_attempt_time, n.ambiguous
        from public.notifications n
        where n.state = 'PENDING' and n.next_attempt_time <= now()
        order by n.next_attempt_time, n.id limit p_limit for update skip locked
    ), judged as (
        select c.id, c.ambiguous, case
            when c.expire_time <= now() then 'EXPIRED'
            when c.ambiguous and public.past_safe_retry(c.first_attempt_time) then 'REVIEW'
            else 'SENDING' end as verdict
        from (select * from abandoned union all select * from due limit p_limit) c
    ), taken as (
        update public.notifications n set
            state = j.verdict,
            ambiguous = j.ambiguous,
            epoch = n.epoch + 1,
            lease_owner = case when j.verdict = 'SENDING' then p_owner end,
            lease_expire_time = case when j.verdict = 'SENDING' then now() + make_interval(secs => p_lease_seconds) end
        from judged j where n.id = j.id
        returning n.*
    )
    select coalesce(jsonb_agg(to_jsonb(c) order by c.send_time, c.id), '[]') into claimed
    from (
        select t.id, t.kind, t.epoch, t.user_id, t.recipient_email, t.recipient_name, t.locale, t.payload, t.match_id,
            t.send_time, t.create_time, t.rendered
        from taken t where t.state = 'SENDING'
    ) c;

    select min(d.due_time) into next_due from (
        (select n.next_attempt_time as due_time from public.notifications n
          where n.state = 'PENDING' order by n.next_attempt_time limit 1)
        union all
        (select n.lease_expire_time from public.notifications n
          where n.state = 'SENDING' order by n.lease_expire_time limit 1)
    ) d;
    return jsonb_build_object(
        'notifications', claimed,
        'next_due_seconds',
        case when next_due is not null then extract(epoch from greatest(next_due - now(), interval '0')) end);
end
$$;

comment on function public.lease_due_notifications is
    'Lease up to p_limit due mails, abandoned ones first, and say in how many seconds the next one is due.';

create function public.claim_notifications(p_owner text, p_limit integer, p_lease_seconds double precision)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    pause constant double precision := public.delivery_pause_seconds();
begin
    if pause is not null then
        return jsonb_build_object('notifications', '[]'::jsonb, 'next_due_seconds', pause, 'paused', true);
    end if;
    return public.lease_due_notifications(p_owner, p_limit, p_lease_seconds) || jsonb_build_object('paused', false);
end
$$;

comment on function public.claim_notifications is
    'Lease due mails as lease_due_notifications does; none, and due when the pause ends, while deliveries are paused.';

alter function public.store_rendered_notification rename to clear_notification;

comment on function public.clear_notification is
    'Last check before sending: keep the first attempt''s content and return it with its key, or {"send": false}.';

create function public.store_rendered_notification(
    p_id uuid, p_epoch bigint, p_rendered jsonb, p_lease_seconds double precision default 60
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
begin
    if public.delivery_pause_seconds() is null then
        return public.clear_notification(p_id, p_epoch, p_rendered, p_lease_seconds);
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
    'Clear a mail for sending as clear_notification does; while deliveries are paused, put it back to wait instead.';

drop function public.finish_notification;

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
        perform public.pause_deliveries(
            case when p_outcome in ('QUOTA', 'CONFIG') then p_outcome else 'THROTTLED' end, p_error, p_pause_seconds);
    end if;

    update public.notifications n set
        state = case
            when p_outcome = 'ACCEPTED' then 'SENT'
            when p_outcome = 'BAD_MESSAGE' then 'DEAD'
            when p_outcome = 'KEY_MISMATCH' then 'REVIEW'
            when not public.past_safe_retry(n.first_attempt_time) then 'PENDING'
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
        -- What was refused for our settings is made anew with other ones, under a key of its own: nothing of it is out.
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
    public.lease_due_notifications, public.claim_notifications, public.store_rendered_notification, public.finish_notification
    from public, anon, authenticated;
grant execute on function
    public.lease_due_notifications, public.claim_notifications, public.store_rendered_notification, public.finish_notification
    to service_role;
