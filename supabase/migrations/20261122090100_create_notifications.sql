-- Mails that must go out, one row each, written by the transaction that causes them.
--
--   PENDING ──claim──▶ SENDING ──finish──▶ SENT ──▶ DELIVERED, DELAYED, BOUNCED, COMPLAINED
--      ▲                  │
--      └──────retry───────┘      asides: CANCELLED, EXPIRED, SUPPRESSED, DEAD, REVIEW
--
-- A claim is a lease with an epoch. Who lost the lease carries an old epoch and can change nothing any more. Only the
-- database's clock counts.

create table public.notifications (
    id uuid primary key default gen_random_uuid(),
    kind text not null check (kind in (
        'MATCH_INVITATION', 'MATCH_ACCEPTANCE', 'MATCH_DECLINE', 'SESSION_REMINDER',
        'MEETUP_SCHEDULED', 'MEETUP_MOVED', 'MEETUP_CANCELLED')),
    state text not null default 'PENDING' check (state in (
        'PENDING', 'SENDING', 'SENT', 'CANCELLED', 'EXPIRED', 'DEAD', 'REVIEW', 'SUPPRESSED',
        'DELIVERED', 'DELAYED', 'BOUNCED', 'COMPLAINED')),
    user_id uuid not null,
    recipient_email text not null,
    recipient_name text not null,
    locale text not null,
    payload jsonb not null,
    match_id uuid,
    dedupe_key text not null unique,
    send_time timestamptz not null,
    expire_time timestamptz,
    create_time timestamptz not null default now(),
    sent_time timestamptz,
    attempt_count integer not null default 0,
    next_attempt_time timestamptz not null,
    first_attempt_time timestamptz,
    ambiguous boolean not null default false,
    epoch bigint not null default 0,
    lease_owner text,
    lease_expire_time timestamptz,
    generation integer not null default 1,
    rendered jsonb,
    provider_message_id text,
    last_error text,
    check ((state = 'SENDING') = (lease_owner is not null and lease_expire_time is not null))
) with (fillfactor = 80);

comment on table public.notifications is 'Mails that must go out: one row each, kept after they are out.';
comment on column public.notifications.dedupe_key is 'Names the cause; a second row of one cause cannot exist.';
comment on column public.notifications.next_attempt_time is 'From when a PENDING row is due.';
comment on column public.notifications.attempt_count is 'Deliveries begun, whatever became of them.';
comment on column public.notifications.ambiguous is 'Some attempt may have reached the recipient without our knowing.';
comment on column public.notifications.epoch is 'Raised whenever the row changes hands: an older one proves nothing.';
comment on column public.notifications.generation is 'Part of the idempotency key; raised for a second mail on purpose.';
comment on column public.notifications.rendered is 'The mail as first rendered; every attempt sends exactly this.';

create index notifications_due on public.notifications (next_attempt_time, id) where state = 'PENDING';
create index notifications_leased on public.notifications (lease_expire_time) where state = 'SENDING';
create index notifications_of_user on public.notifications (user_id, create_time desc, id desc);
create index notifications_of_match on public.notifications (match_id) where state = 'PENDING';

alter table public.notifications enable row level security;
revoke all on table public.notifications from public, anon, authenticated;
grant select, insert, update, delete on table public.notifications to service_role;
-- The recipient's address may be another person's than the user's, so no column that holds it is readable.
grant select (id, kind, state, user_id, match_id, send_time, expire_time, create_time, sent_time)
    on table public.notifications to authenticated;
create policy notifications_own on public.notifications
    for select to authenticated using (user_id = (select auth.uid()));

create function public.enqueue_notification(
    p_kind text,
    p_user_id uuid,
    p_payload jsonb,
    p_dedupe_key text,
    p_match_id uuid default null,
    p_recipient_email text default null,
    p_send_time timestamptz default now(),
    p_expire_time timestamptz default null
)
    returns uuid
    language plpgsql
    set search_path = ''
as $$
declare
    recipient record;
    notification_id uuid;
begin
    select p.email, p.first_name, p.locale into recipient from public.user_profiles p where p.id = p_user_id;
    if not found and p_recipient_email is null then
        perform public.raise_error('WM404', 'PROFILE_NOT_FOUND', 'the person to notify has no profile',
            jsonb_build_object('user_id', p_user_id));
    end if;

    insert into public.notifications (
        kind, user_id, recipient_email, recipient_name, locale, payload, match_id, dedupe_key,
        send_time, next_attempt_time, expire_time)
    values (
        p_kind, p_user_id, coalesce(p_recipient_email, recipient.email), coalesce(recipient.first_name, ''),
        coalesce(recipient.locale, 'en'), p_payload, p_match_id, p_dedupe_key, p_send_time, p_send_time, p_expire_time)
    on conflict (dedupe_key) do nothing
    returning id into notification_id;

    if notification_id is null then
        select n.id into strict notification_id from public.notifications n where n.dedupe_key = p_dedupe_key;
    else
        perform pg_notify('notifications', '');
    end if;
    return notification_id;
end
$$;

comment on function public.enqueue_notification is
    'Add a mail to the caller''s transaction and return its id; a known dedupe_key returns the first one''s.';

create function public.cancel_notifications(p_match_id uuid, p_kind text default null)
    returns integer
    language plpgsql
    set search_path = ''
as $$
declare
    cancelled integer;
begin
    update public.notifications n set state = 'CANCELLED'
    where n.match_id = p_match_id and n.state = 'PENDING' and (p_kind is null or n.kind = p_kind);
    get diagnostics cancelled = row_count;
    return cancelled;
end
$$;

comment on function public.cancel_notifications is
    'Cancel a match''s waiting mails and return how many; one that is being sent is left to the check before sending.';

create function public.past_safe_retry(p_first_attempt_time timestamptz)
    returns boolean
    language sql
    stable
    set search_path = ''
as $$
    -- Providers remember an idempotency key for 24 hours; an hour of it is kept for clocks and slow requests.
    select coalesce(p_first_attempt_time < now() - interval '23 hours', false)
$$;

comment on function public.past_safe_retry is
    'Whether the provider may have forgotten the idempotency key of a mail first attempted then.';

create function public.claim_notifications(p_owner text, p_limit integer, p_lease_seconds double precision)
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
        select t.id, t.kind, t.epoch, t.recipient_email, t.recipient_name, t.locale, t.payload, t.match_id,
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

comment on function public.claim_notifications is
    'Lease up to p_limit due mails, abandoned ones first, and say in how many seconds the next one is due.';

create function public.match_state_spoken_of(p_kind text)
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

comment on function public.match_state_spoken_of is
    'The state that a match must still have for a mail of this kind to be true; null where any will do.';

create function public.refusal_of(p_notification public.notifications)
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
    if p_notification.match_id is null or expected is null
        or exists (select from public.matches m where m.id = p_notification.match_id and m.state = expected) then
        return null;
    end if;
    return 'CANCELLED';
end
$$;

comment on function public.refusal_of is
    'The state for a mail that must not go out any more, because it is late or no longer true; null where it may.';

create function public.store_rendered_notification(
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

    refusal := public.refusal_of(mine);
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

comment on function public.store_rendered_notification is
    'Last check before sending: keep the first attempt''s content and return it with its key, or {"send": false}.';

create function public.finish_notification(
    p_id uuid,
    p_epoch bigint,
    p_outcome text,
    p_provider_message_id text default null,
    p_error text default null,
    p_retry_seconds double precision default 60
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    reached text;
begin
    if p_outcome not in ('ACCEPTED', 'NOT_ACCEPTED', 'AMBIGUOUS', 'BAD_MESSAGE') then
        raise exception 'unknown outcome %', p_outcome;
    end if;
    update public.notifications n set
        state = case
            when p_outcome = 'ACCEPTED' then 'SENT'
            when p_outcome = 'BAD_MESSAGE' then 'DEAD'
            when not public.past_safe_retry(n.first_attempt_time) then 'PENDING'
            when n.ambiguous or p_outcome = 'AMBIGUOUS' then 'REVIEW'
            else 'DEAD' end,
        ambiguous = n.ambiguous or p_outcome = 'AMBIGUOUS',
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
    'Record the outcome of an attempt and return the state reached; null, and nothing changed, if another has the row.';

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
        -- Content of an earlier attempt counts as doubt too: too much of it costs a look, too little a second mail.
        ambiguous = n.ambiguous or n.rendered is not null,
        epoch = n.epoch + 1,
        lease_owner = null,
        lease_expire_time = null
    where n.state = 'SENDING' and n.lease_owner = p_owner;
    get diagnostics released = row_count;
    if released > 0 then
        perform pg_notify('notifications', '');
    end if;
    return to_jsonb(released);
end
$$;

comment on function public.release_notifications is
    'Give back what an owner has leased, for others to take at once, and return how many.';

create function public.notification_json(n public.notifications)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select jsonb_build_object(
        'id', n.id,
        'kind', n.kind,
        'state', case when n.state = 'PENDING' and n.send_time > now() then 'SCHEDULED' else n.state end,
        'user_id', n.user_id,
        'match_id', n.match_id,
        'send_time', n.send_time,
        'expire_time', n.expire_time,
        'create_time', n.create_time,
        'sent_time', n.sent_time,
        'attempt_count', n.attempt_count,
        'provider_message_id', n.provider_message_id,
        'last_error', n.last_error)
$$;

comment on function public.notification_json is
    'A notification as callers may see it: without address and content.';

create function public.get_notification(p_notification_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    found_one jsonb;
begin
    select public.notification_json(n) into found_one from public.notifications n where n.id = p_notification_id;
    if found_one is null then
        perform public.raise_error('WM404', 'NOTIFICATION_NOT_FOUND', 'no such notification',
            jsonb_build_object('notification_id', p_notification_id));
    end if;
    return jsonb_build_object('notification', found_one);
end
$$;

comment on function public.get_notification is 'Return one notification, or raise NOTIFICATION_NOT_FOUND.';

create function public.list_notifications(p_user_id uuid, p_page_size integer default 0, p_after uuid default null)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    page_size constant integer := public.require_page_size(p_page_size, 20);
    cursor_time timestamptz;
    page jsonb;
begin
    if p_after is not null then
        select n.create_time into cursor_time from public.notifications n
        where n.id = p_after and n.user_id = p_user_id;
        if cursor_time is null then
            perform public.raise_invalid('page_token', 'page_token is of another list', 'PAGE_TOKEN_INVALID');
        end if;
    end if;

    select coalesce(jsonb_agg(public.notification_json(n) order by n.create_time desc, n.id desc), '[]') into page
    from (
        select * from public.notifications t
        where t.user_id = p_user_id and (p_after is null or (t.create_time, t.id) < (cursor_time, p_after))
        order by t.create_time desc, t.id desc limit page_size
    ) n;
    return jsonb_build_object(
        'notifications', page,
        'next_after', case when jsonb_array_length(page) = page_size then page -> -1 -> 'id' end);
end
$$;

comment on function public.list_notifications is
    'A person''s notifications, newest first; next_after continues the list and is null where a page is not full.';

revoke execute on function
    public.enqueue_notification, public.cancel_notifications, public.past_safe_retry, public.claim_notifications,
    public.match_state_spoken_of, public.refusal_of, public.store_rendered_notification, public.finish_notification,
    public.release_notifications, public.notification_json, public.get_notification, public.list_notifications
    from public, anon, authenticated;
grant execute on function
    public.enqueue_notification, public.cancel_notifications, public.past_safe_retry, public.claim_notifications,
    public.match_state_spoken_of, public.refusal_of, public.store_rendered_notification, public.finish_notification,
    public.release_notifications, public.notification_json, public.get_notification, public.list_notifications
    to service_role;
