-- Mails that back ends ask for, and what may be done about a mail before and after it is out.

-- A mail may go to somebody who has no profile.
alter table public.notifications alter column user_id drop not null;

create index notifications_by_time on public.notifications (create_time desc, id desc);
create index notifications_by_provider on public.notifications (provider_message_id) where provider_message_id is not null;

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
    answer jsonb := public.recall_answer('send_notification', coalesce(p_user_id, nobody), p_request_id,
        jsonb_build_array(p_kind, p_payload, p_recipient_email, p_recipient_name, p_locale, p_time_zone,
            extract(epoch from p_send_time), extract(epoch from p_expire_time)));
    person public.user_profiles;
    due constant timestamptz := greatest(coalesce(p_send_time, now()), now());
    written public.notifications;
begin
    if answer is not null then
        return answer;
    end if;
    perform public.require(p_kind = any (public.notification_kinds()), 'content', 'content must be a kind of mail');
    select * into person from public.user_profiles p where p.id = p_user_id;
    if not found and p_recipient_email is null then
        perform public.raise_error('WM404', 'PROFILE_NOT_FOUND', 'the person to notify has no profile',
            jsonb_build_object('user_id', p_user_id));
    end if;
    perform public.require_room_in_queue(p_queue_limit);

    insert into public.notifications (
        kind, user_id, recipient_email, recipient_name, locale, payload, dedupe_key, send_time, next_attempt_time,
        expire_time, state)
    values (
        p_kind, p_user_id, coalesce(p_recipient_email, person.email),
        coalesce(p_recipient_name, person.first_name, ''), coalesce(p_locale, person.locale, 'en'),
        p_payload || jsonb_build_object('time_zone', coalesce(p_time_zone, person.time_zone, 'UTC')),
        'sent/' || gen_random_uuid(), due, due, p_expire_time,
        case when public.is_unwanted(p_user_id, p_kind, coalesce(p_recipient_email, person.email))
            then 'SUPPRESSED' else 'PENDING' end)
    returning * into written;
    perform pg_notify('notifications', '');
    return public.remember_answer('send_notification', coalesce(p_user_id, nobody), p_request_id,
        jsonb_build_object('notification', public.notification_json(written)));
end
$$;

comment on function public.send_notification is
    'Store a mail to a person or an address and return {"notification": ...}; one that is not wanted, as SUPPRESSED. '
    'Raises WM404 PROFILE_NOT_FOUND, WM429 NOTIFICATION_QUEUE_FULL, WM400 FIELD_INVALID, WM400 REQUEST_ID_REUSED.';

create function public.require_room_in_queue(p_queue_limit integer)
    returns void
    language plpgsql
    stable
    set search_path = ''
    -- Without knowing the limit the planner would count every waiting mail.
    set plan_cache_mode = force_custom_plan
as $$
begin
    if exists (
        select from public.notifications n where n.state = 'PENDING' and n.next_attempt_time <= now()
        offset p_queue_limit - 1 limit 1
    ) then
        perform public.raise_error('WM429', 'NOTIFICATION_QUEUE_FULL', 'too many mails wait to be sent',
            jsonb_build_object('retry_after_seconds', '30', 'limit', p_queue_limit::text));
    end if;
end
$$;

comment on function public.require_room_in_queue is
    'Raise WM429 NOTIFICATION_QUEUE_FULL if so many mails are due and wait. Reads at most that many index entries.';

create function public.require_notification(p_notification_id uuid)
    returns public.notifications
    language plpgsql
    set search_path = ''
as $$
declare
    found_one public.notifications;
begin
    select * into found_one from public.notifications n where n.id = p_notification_id for update;
    if not found then
        perform public.raise_error('WM404', 'NOTIFICATION_NOT_FOUND', 'no such notification',
            jsonb_build_object('notification_id', p_notification_id));
    end if;
    return found_one;
end
$$;

comment on function public.require_notification is 'Return one notification, locked. Raises WM404 NOTIFICATION_NOT_FOUND.';

create function public.raise_notification_state(n public.notifications, p_reason text, p_message text)
    returns void
    language sql
    set search_path = ''
as $$
    select public.raise_error('WM409', p_reason, p_message,
        jsonb_build_object('notification_id', n.id, 'state', n.state))
$$;

comment on function public.raise_notification_state is 'Raise WM409 about the state that a notification is in.';

create function public.cancel_notification(p_notification_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := public.recall_answer('cancel_notification', p_notification_id, p_request_id, '[]');
    asked public.notifications;
begin
    if answer is not null then
        return answer;
    end if;
    asked := public.require_notification(p_notification_id);
    if asked.state = 'SENDING' or (asked.state = 'PENDING' and asked.ambiguous) then
        -- It may be out already, or be at this very moment: nobody can promise that it will not be sent.
        perform public.raise_notification_state(asked, 'NOTIFICATION_IN_FLIGHT', 'the mail may be on its way');
    elsif asked.state = 'PENDING' then
        update public.notifications n set state = 'CANCELLED' where n.id = p_notification_id returning * into asked;
    elsif asked.state <> 'CANCELLED' then
        perform public.raise_notification_state(
            asked, 'NOTIFICATION_STATE_INVALID', 'only a mail that waits can be cancelled');
    end if;
    return public.remember_answer('cancel_notification', p_notification_id, p_request_id,
        jsonb_build_object('notification', public.notification_json(asked)));
end
$$;

comment on function public.cancel_notification is
    'Call a mail off; once this returns it will not be sent. Return {"notification": ...}. Raises WM404 '
    'NOTIFICATION_NOT_FOUND, WM409 NOTIFICATION_IN_FLIGHT, WM409 NOTIFICATION_STATE_INVALID, WM400 REQUEST_ID_REUSED.';

create function public.retry_notification(p_notification_id uuid, p_request_id uuid default null)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    answer jsonb := public.recall_answer('retry_notification', p_notification_id, p_request_id, '[]');
    asked public.notifications;
begin
    if answer is not null then
        return answer;
    end if;
    asked := public.require_notification(p_notification_id);
    if asked.state not in ('DEAD', 'REVIEW') then
        perform public.raise_notification_state(
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
    return public.remember_answer('retry_notification', p_notification_id, p_request_id,
        jsonb_build_object('notification', public.notification_json(asked)));
end
$$;

comment on function public.retry_notification is
    'Send a mail in DEAD or REVIEW again, as a mail of its own. Return {"notification": ...}. Raises WM404 '
    'NOTIFICATION_NOT_FOUND, WM409 NOTIFICATION_STATE_INVALID, WM400 REQUEST_ID_REUSED.';

drop function public.get_notification;

create function public.get_notification(p_notification_id uuid, p_user_id uuid default null)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    found_one jsonb;
begin
    select public.notification_json(n) into found_one from public.notifications n
    where n.id = p_notification_id and (p_user_id is null or n.user_id = p_user_id);
    if found_one is null then
        perform public.raise_error('WM404', 'NOTIFICATION_NOT_FOUND', 'no such notification',
            jsonb_build_object('notification_id', p_notification_id));
    end if;
    return jsonb_build_object('notification', found_one);
end
$$;

comment on function public.get_notification is
    'Return {"notification": ...}; with p_user_id only a mail to that person. Raises WM404 NOTIFICATION_NOT_FOUND.';

drop function public.list_notifications;

create function public.list_notifications(
    p_user_id uuid default null,
    p_states text[] default null,
    p_kinds text[] default null,
    p_match_id uuid default null,
    p_page_size integer default 0,
    p_after uuid default null
)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
    -- Which index is best depends on what is asked for.
    set plan_cache_mode = force_custom_plan
as $$
declare
    page_size constant integer := public.require_page_size(p_page_size, 20);
    cursor_time timestamptz;
    page jsonb;
begin
    if p_after is not null then
        select n.create_time into cursor_time from public.notifications n
        where n.id = p_after and (p_user_id is null or n.user_id = p_user_id);
        if cursor_time is null then
            perform public.raise_invalid('page_token', 'page_token is of another list', 'PAGE_TOKEN_INVALID');
        end if;
    end if;

    select coalesce(jsonb_agg(public.notification_json(n) order by n.create_time desc, n.id desc), '[]') into page
    from (
        select * from public.notifications t
        where (p_user_id is null or t.user_id = p_user_id)
            and (p_match_id is null or t.match_id = p_match_id)
            and (p_kinds is null or t.kind = any (p_kinds))
            and (p_states is null or public.visible_state(t) = any (p_states))
            and (p_after is null or (t.create_time, t.id) < (cursor_time, p_after))
        order by t.create_time desc, t.id desc limit page_size
    ) n;
    return jsonb_build_object(
        'notifications', page,
        'next_after', case when jsonb_array_length(page) = page_size then page -> -1 -> 'id' end);
end
$$;

comment on function public.list_notifications is
    'Mails, newest first, of one person or of all; next_after continues the list and is null where a page is not full.';

create function public.visible_state(n public.notifications)
    returns text
    language sql
    stable
    return case when n.state = 'PENDING' and n.send_time > now() then 'SCHEDULED' else n.state end;

comment on function public.visible_state is 'The state of a mail as callers see it: what is not due yet is SCHEDULED.';

revoke execute on function
    public.send_notification, public.require_room_in_queue, public.require_notification,
    public.raise_notification_state, public.cancel_notification, public.retry_notification, public.get_notification,
    public.list_notifications, public.visible_state
    from public, anon, authenticated;
grant execute on function
    public.send_notification, public.require_room_in_queue, public.require_notification,
    public.raise_notification_state, public.cancel_notification, public.retry_notification, public.get_notification,
    public.list_notifications, public.visible_state
    to service_role;
