-- What waits to be sent stays true: mails about a meet-up speak of the meet-up as it is, and go to the person as the
-- profile has it on the day on which they go.

create function public.is_true_of_meetup(p_notification public.notifications)
    returns boolean
    language sql
    stable
    set search_path = ''
as $$
    select not p_notification.payload ? 'meetup_id' or exists (
        select from public.meetups m
        where m.id = (p_notification.payload ->> 'meetup_id')::uuid
            and public.meetup_state_now(m) = case p_notification.kind
                when 'MEETUP_CANCELLED' then 'CANCELLED' else 'SCHEDULED' end
            -- What was changed once more is told by a later mail.
            and m.sequence = coalesce((p_notification.payload ->> 'sequence')::integer, m.sequence))
$$;

comment on function public.is_true_of_meetup is
    'Whether the meet-up of a mail''s payload, {"meetup_id": ..., "sequence": ...}, still is what the mail says; true for '
    'a mail without one.';

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
    if not public.is_true_of_meetup(p_notification) then
        return 'CANCELLED';
    end if;
    if public.is_unwanted(p_notification.user_id, p_notification.kind, p_notification.recipient_email) then
        return 'SUPPRESSED';
    end if;
    return null;
end
$$;

create or replace function public.enqueue_notification(
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
        perform public.raise_error('WM404', 'PROFILE_NOT_FOUND', 'the person to notify has no profile',
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

comment on function public.enqueue_notification is
    'Add a mail to the caller''s transaction and return its id; a known dedupe_key returns the first one''s. Times in it '
    'are told in the person''s zone unless the payload names a time_zone.';

create function public.readdress_notifications()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    update public.notifications n set
        -- What was given for the one mail, and is not what the profile said, stays as it was given.
        recipient_email = case n.recipient_email when old.email then new.email else n.recipient_email end,
        recipient_name = case n.recipient_name when old.first_name then new.first_name else n.recipient_name end,
        locale = case n.locale when old.locale then new.locale else n.locale end,
        payload = case n.payload ->> 'time_zone'
            when old.time_zone then n.payload || jsonb_build_object('time_zone', new.time_zone) else n.payload end
    where n.id in (
        -- What is locked is being sent or dropped. As nothing here waits, nobody waits in a circle.
        select w.id from public.notifications w
        where w.user_id = new.id and w.state = 'PENDING' and w.rendered is null
        for update skip locked);
    return null;
end
$$;

comment on function public.readdress_notifications is
    'Lets mails that wait follow a person to another address, name, language or time zone. What was rendered stays.';

create index notifications_waiting_of_user on public.notifications (user_id) where state = 'PENDING';

-- Deferred, so that it comes after every lock that the transaction waits for.
create constraint trigger readdress_notifications
    after update of email, first_name, locale, time_zone on public.user_profiles
    deferrable initially deferred
    for each row
    when ((old.email, old.first_name, old.locale, old.time_zone)
        is distinct from (new.email, new.first_name, new.locale, new.time_zone))
    execute function public.readdress_notifications();

revoke execute on function
    public.is_true_of_meetup, public.refusal_of, public.enqueue_notification, public.readdress_notifications
    from public, anon, authenticated;
grant execute on function
    public.is_true_of_meetup, public.refusal_of, public.enqueue_notification, public.readdress_notifications
    to service_role;
