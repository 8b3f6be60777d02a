-- Emails to send, one row each, written by the transaction that causes them.
--
--   PENDING ──claim──▶ SENDING ──finish──▶ SENT ──▶ DELIVERED, DELAYED, BOUNCED, COMPLAINED
--      ▲                  │
--      └──────retry───────┘      asides: CANCELLED, EXPIRED, SUPPRESSED, DEAD, REVIEW, DIGESTED
--
-- An address gets only so many emails in a time (44_address_limits.sql). What is beyond is held: it stays PENDING, due
-- never, until the email of kind DIGEST that digest_id names says that it waits; then it is DIGESTED.
--
-- A claim is a lease with an epoch. Who lost the lease carries an old epoch and can change nothing any more. Only the
-- database's clock counts.

create table public.notifications (
    id uuid primary key default gen_random_uuid(),
    kind text not null check (kind in (
        'MATCH_INVITATION', 'MATCH_ACCEPTANCE', 'MATCH_DECLINE', 'SESSION_REMINDER',
        'MEETUP_SCHEDULED', 'MEETUP_MOVED', 'MEETUP_CANCELLED', 'DIGEST')),
    state text not null default 'PENDING' check (state in (
        'PENDING', 'SENDING', 'SENT', 'CANCELLED', 'EXPIRED', 'DEAD', 'REVIEW', 'SUPPRESSED',
        'DELIVERED', 'DELAYED', 'BOUNCED', 'COMPLAINED', 'DIGESTED')),
    user_id uuid,
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
    deferral_count integer not null default 0,
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
    digest_id uuid,
    check ((state = 'SENDING') = (lease_owner is not null and lease_expire_time is not null))
) with (fillfactor = 80);

comment on table public.notifications is 'Emails to send: one row each, kept after they are sent.';
comment on column public.notifications.dedupe_key is 'Names the cause; a second row of one cause cannot exist.';
comment on column public.notifications.next_attempt_time is 'From when a PENDING row is due.';
comment on column public.notifications.attempt_count is
    'Deliveries begun whose end says something about the email; the others are counted as deferrals.';
comment on column public.notifications.ambiguous is
    'Some attempt may have reached the recipient without our knowing.';
comment on column public.notifications.epoch is 'Incremented whenever the row changes hands: an older one proves nothing.';
comment on column public.notifications.generation is
    'Part of the idempotency key; raised for a second email on purpose.';
comment on column public.notifications.rendered is 'The email as first rendered; every attempt sends exactly this.';
comment on column public.notifications.deferral_count is
    'Deliveries that came to nothing through no fault of the email.';
comment on column public.notifications.digest_id is
    'The email of kind DIGEST that says, or said, that this one waits; null for an email sent by itself.';

create index notifications_due on public.notifications (next_attempt_time, id) where state = 'PENDING';
create index notifications_leased on public.notifications (lease_expire_time) where state = 'SENDING';
create index notifications_of_user on public.notifications (user_id, create_time desc, id desc);
create index notifications_of_match on public.notifications (match_id) where state = 'PENDING';
create index notifications_by_time on public.notifications (create_time desc, id desc);
create index notifications_by_provider on public.notifications (provider_message_id) where provider_message_id is not null;
create index notifications_to_address on public.notifications (lower(recipient_email));
create index notifications_about_match on public.notifications (match_id) where match_id is not null;
create index notifications_waiting_of_user on public.notifications (user_id) where state = 'PENDING';
create index notifications_waiting_digests on public.notifications (lower(recipient_email))
    where kind = 'DIGEST' and state = 'PENDING';
create index notifications_of_digest on public.notifications (digest_id) where digest_id is not null;

alter table public.notifications enable row level security;
revoke all on table public.notifications from public, anon, authenticated;
grant select, insert, update, delete on table public.notifications to service_role;
-- The recipient's address may be another person's than the user's, so no column that holds it is readable.
grant select (id, kind, state, user_id, match_id, send_time, expire_time, create_time, sent_time)
    on table public.notifications to authenticated;
create policy notifications_own on public.notifications
    for select to authenticated using (user_id = (select auth.uid()));

create function internal.notification_kinds()
    returns text[]
    language sql
    immutable
    return array[
        'MATCH_INVITATION', 'MATCH_ACCEPTANCE', 'MATCH_DECLINE', 'SESSION_REMINDER',
        'MEETUP_SCHEDULED', 'MEETUP_MOVED', 'MEETUP_CANCELLED'];

comment on function internal.notification_kinds is
    'Every kind of email but DIGEST, in the order in which callers see them.';

create function internal.enqueue_notification(
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
    select p.email, p.first_name, p.locale, p.time_zone into recipient
    from public.user_profiles p where p.id = p_user_id;
    if not found and p_recipient_email is null then
        perform internal.raise_error('WM404', 'PROFILE_NOT_FOUND', 'the person to notify has no profile',
            jsonb_build_object('user_id', p_user_id));
    end if;

    insert into public.notifications (
        kind, user_id, recipient_email, recipient_name, locale, payload, match_id, dedupe_key,
        send_time, next_attempt_time, expire_time)
    values (
        p_kind, p_user_id, coalesce(p_recipient_email, recipient.email), coalesce(recipient.first_name, ''),
        coalesce(recipient.locale, 'en'),
        jsonb_build_object('time_zone', coalesce(recipient.time_zone, 'UTC')) || p_payload,
        p_match_id, p_dedupe_key, p_send_time, p_send_time, p_expire_time)
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

comment on function internal.enqueue_notification is
    'Add an email to the caller''s transaction and return its id; a known dedupe_key returns the first one''s. Times '
    'in it are shown in the person''s zone unless the payload names a time_zone.';

create function internal.cancel_notifications(p_match_id uuid, p_kind text default null)
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

comment on function internal.cancel_notifications is
    'Cancel a match''s waiting emails and return how many; one that is being sent is left to the check before '
    'sending.';

create function internal.visible_state(n public.notifications)
    returns text
    language sql
    stable
    return case
        when n.state = 'DIGESTED' then 'CANCELLED'
        when n.state = 'PENDING' and n.send_time > now() then 'SCHEDULED'
        else n.state
    end;

comment on function internal.visible_state is
    'The state of an email in the terms of servers that know no digests: what is not due yet is SCHEDULED, and what a '
    'digest stands for is CANCELLED.';

create function internal.exact_state(n public.notifications)
    returns text
    language sql
    stable
    return case
        when n.state = 'DIGESTED' then 'DIGESTED'
        when n.state = 'PENDING' and n.digest_id is not null then 'HELD'
        else internal.visible_state(n)
    end;

comment on function internal.exact_state is 'The state of an email as callers see it, HELD and DIGESTED included.';

create function internal.notification_json(n public.notifications)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select jsonb_build_object(
        'id', n.id,
        'kind', n.kind,
        'state', internal.visible_state(n),
        'exact_state', internal.exact_state(n),
        'digest_id', n.digest_id,
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

comment on function internal.notification_json is
    'A notification as callers may see it: without address and content.';

create function internal.require_notification(p_notification_id uuid)
    returns public.notifications
    language plpgsql
    set search_path = ''
as $$
declare
    found_one public.notifications;
begin
    select * into found_one from public.notifications n where n.id = p_notification_id for update;
    if not found then
        perform internal.raise_error('WM404', 'NOTIFICATION_NOT_FOUND', 'no such notification',
            jsonb_build_object('notification_id', p_notification_id));
    end if;
    return found_one;
end
$$;

comment on function internal.require_notification is
    'Return one notification, locked. Raises WM404 NOTIFICATION_NOT_FOUND.';

create function internal.raise_notification_state(n public.notifications, p_reason text, p_message text)
    returns void
    language sql
    set search_path = ''
as $$
    select internal.raise_error('WM409', p_reason, p_message,
        jsonb_build_object('notification_id', n.id, 'state', n.state))
$$;

comment on function internal.raise_notification_state is 'Raise WM409 about the state that a notification is in.';

create function internal.require_room_in_queue(p_queue_limit integer)
    returns void
    language plpgsql
    stable
    set search_path = ''
    -- Without knowing the limit the planner would count every waiting email.
    set plan_cache_mode = force_custom_plan
as $$
begin
    if exists (
        select from public.notifications n where n.state = 'PENDING' and n.next_attempt_time <= now()
        offset p_queue_limit - 1 limit 1
    ) then
        perform internal.raise_error('WM429', 'NOTIFICATION_QUEUE_FULL', 'too many mails wait to be sent',
            jsonb_build_object('retry_after_seconds', '30', 'limit', p_queue_limit::text));
    end if;
end
$$;

comment on function internal.require_room_in_queue is
    'Raise WM429 NOTIFICATION_QUEUE_FULL if so many emails are due and wait. Reads at most that many index entries.';

create function public.send_notification(
    p_kind text,
    p_payload jsonb,
    p_user_id uuid default null,
    p_recipient_email text default null,
    p_recipient_name text default null,
    p_locale text default null,
    p_time_zone text default null,
    p_send_time timestamptz default null,
    p_expire_time timestamptz default null,
    p_queue_limit integer default 10000,
    p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    nobody constant uuid := '00000000-0000-0000-0000-000000000000';
    answer jsonb;
    person public.user_profiles;
    due constant timestamptz := greatest(coalesce(p_send_time, now()), now());
    written public.notifications;
begin
    -- So that no email is written to somebody who is just being erased.
    perform internal.hold_user_id(p_user_id);
    answer := internal.recall_answer('send_notification', coalesce(p_user_id, nobody), p_request_id,
        jsonb_build_array(p_kind, p_payload, p_recipient_email, p_recipient_name, p_locale, p_time_zone,
            extract(epoch from p_send_time), extract(epoch from p_expire_time)));
    if answer is not null then
        return answer;
    end if;
    perform internal.require(p_kind = any (internal.notification_kinds()), 'content', 'content must be a kind of mail');
    select * into person from public.user_profiles p where p.id = p_user_id;
    if not found and p_recipient_email is null then
        perform internal.raise_error('WM404', 'PROFILE_NOT_FOUND', 'the person to notify has no profile',
            jsonb_build_object('user_id', p_user_id));
    end if;
    perform internal.require_room_in_queue(p_queue_limit);

    insert into public.notifications (
        kind, user_id, recipient_email, recipient_name, locale, payload, dedupe_key, send_time, next_attempt_time,
        expire_time, state)
    values (
        p_kind, p_user_id, coalesce(p_recipient_email, person.email),
        coalesce(p_recipient_name, person.first_name, ''), coalesce(p_locale, person.locale, 'en'),
        p_payload || jsonb_build_object('time_zone', coalesce(p_time_zone, person.time_zone, 'UTC')),
        'sent/' || gen_random_uuid(), due, due, p_expire_time,
        case when internal.is_opted_out(p_user_id, p_kind, coalesce(p_recipient_email, person.email))
            then 'SUPPRESSED' else 'PENDING' end)
    returning * into written;
    perform pg_notify('notifications', '');
    return internal.remember_answer('send_notification', coalesce(p_user_id, nobody), p_request_id,
        jsonb_build_object('notification', internal.notification_json(written)));
end
$$;

comment on function public.send_notification is
    'Store an email to a person or an address and return {"notification": ...}; one that is not wanted, as '
    'SUPPRESSED. Raises WM404 PROFILE_NOT_FOUND, WM429 NOTIFICATION_QUEUE_FULL, WM400 FIELD_INVALID, WM400 '
    'REQUEST_ID_REUSED.';

create function public.check_send(
    p_user_id uuid default null,
    p_recipient_email text default null,
    p_queue_limit integer default 10000,
    p_request_id uuid default null
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    answered constant boolean := public.get_send_answered(p_user_id, p_request_id)::boolean;
    address constant text := coalesce(
        p_recipient_email, (select p.email from public.user_profiles p where p.id = p_user_id));
begin
    if not answered then
        if address is null then
            perform internal.raise_error('WM404', 'PROFILE_NOT_FOUND', 'the person to notify has no profile',
                jsonb_build_object('user_id', p_user_id));
        end if;
        perform internal.require_room_in_queue(p_queue_limit);
    end if;
    return jsonb_build_object(
        'answered', answered, 'address_hash', internal.hash_address(coalesce(address, '')));
end
$$;

comment on function public.check_send is
    'Returns {"answered": whether send_notification has an answer to the request, "address_hash": ...}, and charges '
    'nothing. Raises, unless it has, WM404 PROFILE_NOT_FOUND and WM429 NOTIFICATION_QUEUE_FULL as send_notification would.';

create function public.get_send_answered(p_user_id uuid, p_request uuid)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select to_jsonb(exists (
        select from public.request_keys k
        where k.scope = 'send_notification' and k.user_id = coalesce(p_user_id, '00000000-0000-0000-0000-000000000000')
            and k.request_id = p_request and k.answer is not null and k.expire_time > now()))
$$;

comment on function public.get_send_answered is
    'Returns whether send_notification has an answer to p_request for the person, or for none, whatever the '
    'arguments.';

create function public.get_notification(
    p_notification_id uuid, p_user_id uuid default null, p_digests boolean default false
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    found_one jsonb;
begin
    select internal.notification_json(n) into found_one from public.notifications n
    where n.id = p_notification_id and (p_user_id is null or n.user_id = p_user_id)
        and (p_digests or n.kind <> 'DIGEST');
    if found_one is null then
        perform internal.raise_error('WM404', 'NOTIFICATION_NOT_FOUND', 'no such notification',
            jsonb_build_object('notification_id', p_notification_id));
    end if;
    return jsonb_build_object('notification', found_one);
end
$$;

comment on function public.get_notification is
    'Return {"notification": ...}; with p_user_id only an email to that person, without p_digests no digest. Raises '
    'WM404 NOTIFICATION_NOT_FOUND.';

create function public.list_notifications(
    p_user_id uuid default null,
    p_states text[] default null,
    p_kinds text[] default null,
    p_match_id uuid default null,
    p_page_size integer default 0,
    p_after uuid default null,
    p_position jsonb default null,
    p_digests boolean default false
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
    -- Which index is best depends on what is asked for.
    set plan_cache_mode = force_custom_plan
as $$
declare
    page_size constant integer := internal.require_page_size(p_page_size, 20);
    after_time timestamptz := (p_position ->> 'create_time')::timestamptz;
    after_id uuid := (p_position ->> 'id')::uuid;
    found_ones public.notifications[];
    last public.notifications;
begin
    if p_after is not null then
        select n.create_time, n.id into after_time, after_id from public.notifications n
        where n.id = p_after and (p_user_id is null or n.user_id = p_user_id);
        if after_time is null then
            perform internal.raise_invalid('page_token', 'page_token is of another list', 'PAGE_TOKEN_INVALID');
        end if;
    end if;
    found_ones := array(
        select t from public.notifications t
        where (p_user_id is null or t.user_id = p_user_id)
            and (p_match_id is null or t.match_id = p_match_id)
            and (p_kinds is null or t.kind = any (p_kinds))
            and (p_digests or t.kind <> 'DIGEST')
            and (p_states is null
                or case when p_digests then internal.exact_state(t) else internal.visible_state(t) end = any (p_states))
            and (after_id is null or (t.create_time, t.id) < (after_time, after_id))
        order by t.create_time desc, t.id desc
        limit page_size + 1);
    last := found_ones[page_size];
    return jsonb_build_object(
        'notifications', (
            select coalesce(jsonb_agg(internal.notification_json(n) order by n.create_time desc, n.id desc), '[]')
            from unnest(found_ones[1:page_size]) n),
        'next_after', case when cardinality(found_ones) > page_size then last.id end,
        'next_position', case when cardinality(found_ones) > page_size then
            jsonb_build_object('create_time', last.create_time, 'id', last.id) end);
end
$$;

comment on function public.list_notifications is
    'Returns {"notifications": [...], "next_position": object or null}: emails, newest first, of one person or of all; '
    'p_position is next_position of the page before. With p_digests digests are among them, and p_states are exact '
    'states. p_after and next_after are those of earlier servers.';

create function public.cancel_notification(p_notification_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer('cancel_notification', p_notification_id, p_request_id, '[]');
    asked public.notifications;
begin
    if answer is not null then
        return answer;
    end if;
    asked := internal.require_notification(p_notification_id);
    if asked.state = 'SENDING' or (asked.state = 'PENDING' and asked.ambiguous) then
        -- It may be out already, or be at this very moment: that it will not be sent cannot be promised.
        perform internal.raise_notification_state(asked, 'NOTIFICATION_IN_FLIGHT', 'the mail may be on its way');
    elsif asked.state = 'PENDING' then
        update public.notifications n set state = 'CANCELLED' where n.id = p_notification_id returning * into asked;
        perform internal.cancel_held(asked) where asked.kind = 'DIGEST';
    elsif asked.state <> 'CANCELLED' then
        perform internal.raise_notification_state(
            asked, 'NOTIFICATION_STATE_INVALID', 'only a mail that waits can be cancelled');
    end if;
    return internal.remember_answer('cancel_notification', p_notification_id, p_request_id,
        jsonb_build_object('notification', internal.notification_json(asked)));
end
$$;

comment on function public.cancel_notification is
    'Call an email off; once this returns it will not be sent. Return {"notification": ...}. Raises WM404 '
    'NOTIFICATION_NOT_FOUND, WM409 NOTIFICATION_IN_FLIGHT, WM409 NOTIFICATION_STATE_INVALID, WM400 '
    'REQUEST_ID_REUSED.';

create function public.retry_notification(p_notification_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := internal.recall_answer('retry_notification', p_notification_id, p_request_id, '[]');
    asked public.notifications;
begin
    if answer is not null then
        return answer;
    end if;
    asked := internal.require_notification(p_notification_id);
    if asked.state not in ('DEAD', 'REVIEW') then
        perform internal.raise_notification_state(
            asked, 'NOTIFICATION_STATE_INVALID', 'only a mail that was given up can be sent again');
    end if;
    -- A new generation is a new key: the old one may be forgotten, or stand for content that was refused.
    update public.notifications n set
        state = 'PENDING',
        generation = n.generation + 1,
        rendered = null,
        ambiguous = false,
        first_attempt_time = null,
        next_attempt_time = now(),
        last_error = null
    where n.id = p_notification_id returning * into asked;
    perform pg_notify('notifications', '');
    return internal.remember_answer('retry_notification', p_notification_id, p_request_id,
        jsonb_build_object('notification', internal.notification_json(asked)));
end
$$;

comment on function public.retry_notification is
    'Send an email in DEAD or REVIEW again, as an email of its own. Return {"notification": ...}. Raises WM404 '
    'NOTIFICATION_NOT_FOUND, WM409 NOTIFICATION_STATE_INVALID, WM400 REQUEST_ID_REUSED.';

revoke execute on function
    public.send_notification, public.check_send, public.get_send_answered, public.get_notification, public.list_notifications,
    public.cancel_notification, public.retry_notification
    from public, anon, authenticated;
grant execute on function
    public.send_notification, public.check_send, public.get_send_answered, public.get_notification, public.list_notifications,
    public.cancel_notification, public.retry_notification
    to service_role;
