-- How many emails an address may get, and the digest that stands for the others.
--
-- An email is charged to its address when it is claimed: with all claims of that address behind one advisory lock, the
-- count is exact over all replicas, whatever their version. What the address may not get now is held until one email, the
-- digest, says that it waits. Addresses are kept as digests, and outlive the emails: deleting a profile frees nothing.

create table public.address_charges (
    notification_id uuid primary key,
    address_hash text not null,
    charge_time timestamptz not null,
    by_others boolean not null
);

comment on table public.address_charges is
    'Emails of the last day that an address got, or may have got, or is getting at this moment.';
comment on column public.address_charges.charge_time is 'When the email was claimed; once it was sent, when it was sent.';
comment on column public.address_charges.by_others is 'Whether somebody else than the recipient caused the email.';

create index address_charges_of_address on public.address_charges (address_hash, charge_time desc);
create index address_charges_by_time on public.address_charges (charge_time);

alter table public.address_charges enable row level security;
revoke all on table public.address_charges from public, anon, authenticated;
grant select, insert, update, delete on table public.address_charges to service_role;

create type internal.kind_traits as (by_others boolean, limited boolean);

create function internal.traits_of_kind(p_kind text)
    returns internal.kind_traits
    language sql
    immutable
    return case p_kind
        -- The clock causes it, not the person one will meet.
        when 'SESSION_REMINDER' then row(false, true)::internal.kind_traits
        else row(true, true)::internal.kind_traits
    end;

comment on function internal.traits_of_kind is
    'Whether emails of a kind are caused by others than the recipient, and whether they count and are held at all. What '
    'is about the security of the recipient''s own account must not be limited; there is no such kind yet.';

create function internal.is_by_others(p_notification public.notifications)
    returns boolean
    language sql
    immutable
    -- What a backend sends by send_notification is of no match, and it decides about the content.
    return (internal.traits_of_kind(p_notification.kind)).by_others or p_notification.match_id is null;

comment on function internal.is_by_others is 'Whether somebody else than the recipient caused an email.';

create function internal.address_free_time(p_address_hash text, p_by_others boolean, p_notification_id uuid)
    returns timestamptz
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (
        select max(full_until.free_time)
        from (values (interval '10 minutes', 3, true), (interval '1 hour', 10, false), (interval '24 hours', 30, false))
            allowed (span, emails, of_others)
        cross join lateral (
            select c.charge_time + allowed.span as free_time
            from public.address_charges c
            where c.address_hash = p_address_hash and c.notification_id <> p_notification_id
                and (c.by_others or not allowed.of_others)
            order by c.charge_time desc
            offset allowed.emails - 1 limit 1
        ) full_until
        where p_by_others or not allowed.of_others
    );
end
$$;

comment on function internal.address_free_time is
    'From when an address may get an email: 3 in 10 minutes that others caused, 10 an hour and 30 a day of all. Null, or '
    'a time that has passed, where it may now. The email itself does not count.';

create function internal.lock_addresses(p_notification_ids uuid[])
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform pg_advisory_xact_lock(a.key)
    from (
        select distinct hashtextextended('address/' || internal.hash_address(n.recipient_email), 0) as key
        from public.notifications n where n.id = any (p_notification_ids)
        order by key
    ) a;
end
$$;

comment on function internal.lock_addresses is
    'Wait until nobody else claims emails to the addresses of these, and keep it so until the transaction ends.';

create function internal.waiting_digest(p_notification public.notifications)
    returns uuid
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (
        select d.id from public.notifications d
        where d.kind = 'DIGEST' and d.state = 'PENDING' and d.rendered is null
            and lower(d.recipient_email) = lower(p_notification.recipient_email)
        order by d.send_time limit 1
    );
end
$$;

comment on function internal.waiting_digest is
    'The digest to the same address to which more can be added; null where there is none.';

create function internal.hold_notification(p_notification public.notifications, p_free_time timestamptz)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    digest uuid := internal.waiting_digest(p_notification);
begin
    if digest is null then
        insert into public.notifications (
            kind, user_id, recipient_email, recipient_name, locale, payload, dedupe_key, send_time, next_attempt_time)
        values (
            'DIGEST', p_notification.user_id, p_notification.recipient_email, p_notification.recipient_name,
            p_notification.locale, '{}', 'digest/' || gen_random_uuid(), p_free_time, p_free_time)
        returning id into digest;
    end if;
    update public.notifications n set
        state = 'PENDING',
        digest_id = digest,
        next_attempt_time = 'infinity',
        rendered = null,
        epoch = n.epoch + 1,
        lease_owner = null,
        lease_expire_time = null
    where n.id = p_notification.id;
end
$$;

comment on function internal.hold_notification is
    'Let an email wait for the digest to its address, which is due at p_free_time if this is its first.';

create function internal.digest_topic(p_kind text)
    returns text
    language sql
    immutable
    return case
        when p_kind = 'MATCH_INVITATION' then 'invitations'
        when p_kind in ('MATCH_ACCEPTANCE', 'MATCH_DECLINE') then 'answers'
        when p_kind = 'SESSION_REMINDER' then 'reminders'
        else 'meetup_changes'
    end;

comment on function internal.digest_topic is 'Under what a digest counts an email of a kind.';

create function internal.fill_digest(p_digest public.notifications)
    returns boolean
    language plpgsql
    set search_path = ''
as $$
declare
    unwanted constant text := internal.reason_not_to_send(p_digest);
begin
    -- The digest, or this, has followed a person to another address.
    update public.notifications n set digest_id = null, next_attempt_time = now()
    where n.id in (
        select h.id from public.notifications h
        where h.digest_id = p_digest.id and h.state = 'PENDING'
            and lower(h.recipient_email) <> lower(p_digest.recipient_email) for update skip locked);
    update public.notifications n set state = coalesce(internal.reason_not_to_send(n), unwanted, 'DIGESTED')
    where n.id in (
        -- What is locked is being changed by somebody who may want one of the rows that this claim has locked.
        select h.id from public.notifications h
        where h.digest_id = p_digest.id and h.state = 'PENDING' for update skip locked);
    update public.notifications d set payload = counted.topics
    from (
        select coalesce(jsonb_object_agg(t.topic, t.emails), '{}') as topics
        from (
            select internal.digest_topic(n.kind) as topic, count(*) as emails from public.notifications n
            where n.digest_id = p_digest.id and n.state = 'DIGESTED' group by topic
        ) t
    ) counted
    where d.id = p_digest.id;
    return not exists (select from public.notifications n where n.digest_id = p_digest.id and n.state = 'PENDING');
end
$$;

comment on function internal.fill_digest is
    'Count into a digest''s payload, {topic: emails}, what it stands for, and let that be DIGESTED; what is not true or '
    'wanted any more ends as it would have without it. Return false if some of it is locked at present.';

create function internal.release_held(p_digest public.notifications)
    returns void
    language sql
    set search_path = ''
as $$
    update public.notifications n set digest_id = null, next_attempt_time = now()
    where n.id in (
        select h.id from public.notifications h
        where h.digest_id = p_digest.id and h.state = 'PENDING' order by h.id for update)
$$;

comment on function internal.release_held is 'Let what waits for a digest be due by itself again.';

create function internal.release_held_of_deleted()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.release_held(old);
    return null;
end
$$;

comment on function internal.release_held_of_deleted is
    'Releases what waits for a digest that is deleted with a person whose address others share.';

create trigger release_held
    after delete on public.notifications
    for each row
    when (old.kind = 'DIGEST')
    execute function internal.release_held_of_deleted();

create function internal.cancel_held(p_digest public.notifications)
    returns void
    language sql
    set search_path = ''
as $$
    update public.notifications n set state = 'CANCELLED'
    where n.id in (
        select h.id from public.notifications h
        where h.digest_id = p_digest.id and h.state = 'PENDING' order by h.id for update)
$$;

comment on function internal.cancel_held is 'Cancel what waits for a digest that will not be sent.';

create function internal.lease_notification(
    p_notification public.notifications, p_owner text, p_lease_seconds double precision
)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    insert into public.address_charges as c (notification_id, address_hash, charge_time, by_others)
    select p_notification.id, internal.hash_address(p_notification.recipient_email), now(),
        internal.is_by_others(p_notification)
    where (internal.traits_of_kind(p_notification.kind)).limited
    on conflict (notification_id) do update set
        address_hash = excluded.address_hash, charge_time = excluded.charge_time;
    update public.notifications n set
        state = 'SENDING',
        -- A worker vanished with an email it may have begun to send: whether it went out is unknown.
        ambiguous = n.ambiguous or n.state = 'SENDING' and n.rendered is not null,
        digest_id = null,
        epoch = n.epoch + 1,
        lease_owner = p_owner,
        lease_expire_time = now() + make_interval(secs => p_lease_seconds)
    where n.id = p_notification.id;
end
$$;

comment on function internal.lease_notification is 'Lease an email to p_owner and charge its address.';

create function internal.set_aside(
    p_notification public.notifications, p_state text, p_due_time timestamptz default null
)
    returns void
    language sql
    set search_path = ''
as $$
    update public.notifications n set
        state = p_state,
        ambiguous = n.ambiguous or n.state = 'SENDING' and n.rendered is not null,
        next_attempt_time = coalesce(p_due_time, n.next_attempt_time),
        epoch = n.epoch + 1,
        lease_owner = null,
        lease_expire_time = null
    where n.id = p_notification.id
$$;

comment on function internal.set_aside is
    'Give a due or abandoned email another state than SENDING; with p_due_time, for then.';

create function internal.take_notification(
    p_notification public.notifications, p_owner text, p_lease_seconds double precision, p_digests boolean
)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    doubtful constant boolean := p_notification.ambiguous
        or p_notification.state = 'SENDING' and p_notification.rendered is not null;
    by_others constant boolean := internal.is_by_others(p_notification);
    free_time constant timestamptz := case when (internal.traits_of_kind(p_notification.kind)).limited
        then internal.address_free_time(
            internal.hash_address(p_notification.recipient_email), by_others, p_notification.id) end;
begin
    if p_notification.expire_time <= now() then
        perform internal.set_aside(p_notification, 'EXPIRED');
    elsif doubtful and internal.past_safe_retry(p_notification.first_attempt_time) then
        perform internal.set_aside(p_notification, 'REVIEW');
    elsif free_time > now() and (doubtful or p_notification.kind = 'DIGEST') then
        -- The one may be out, and the other stands for what is held: both wait for their turn.
        perform internal.set_aside(p_notification, 'PENDING', free_time);
    elsif p_notification.kind = 'DIGEST' then
        perform internal.take_digest(p_notification, p_owner, p_lease_seconds);
    -- While a digest waits it comes first, and more of the kind that made it necessary goes into it.
    elsif free_time > now() or (
        p_digests and by_others and not doubtful and internal.waiting_digest(p_notification) is not null) then
        perform internal.hold_notification(p_notification, free_time);
    else
        perform internal.lease_notification(p_notification, p_owner, p_lease_seconds);
    end if;
end
$$;

comment on function internal.take_notification is
    'Decide what becomes of a due or abandoned email, whose row and address the caller has locked: lease it, hold it, or '
    'end it. Where p_digests is false nobody may be there who sends digests, and only the limits hold emails.';

create function internal.take_digest(
    p_digest public.notifications, p_owner text, p_lease_seconds double precision
)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    filled public.notifications;
begin
    -- What a digest says is fixed once it was rendered.
    if p_digest.rendered is null and not internal.fill_digest(p_digest) then
        perform internal.set_aside(p_digest, 'PENDING', now() + interval '1 second');
        return;
    end if;
    select * into strict filled from public.notifications n where n.id = p_digest.id;
    if filled.payload = '{}' then
        perform internal.set_aside(filled, coalesce(internal.reason_not_to_send(filled), 'CANCELLED'));
    else
        perform internal.lease_notification(filled, p_owner, p_lease_seconds);
    end if;
end
$$;

comment on function internal.take_digest is
    'Lease a digest of what waits for it; if nothing does any more, end it. It is due again in a second if a part of '
    'that is locked.';

create function internal.settle_charge()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    if new.sent_time is not null then
        update public.address_charges c set charge_time = now() where c.notification_id = new.id;
    elsif not new.ambiguous and new.state <> 'REVIEW' then
        delete from public.address_charges c where c.notification_id = new.id;
    end if;
    return null;
end
$$;

comment on function internal.settle_charge is
    'Keeps what is charged for an email that is out or may be, and gives back what is charged for one that surely is not.';

create trigger settle_charge
    after update of state on public.notifications
    for each row
    when (old.state = 'SENDING' and new.state <> 'SENDING')
    execute function internal.settle_charge();

create function public.purge_address_charges(p_limit integer default 1000)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    purged integer;
begin
    delete from public.address_charges c
    where c.notification_id in (
        select o.notification_id from public.address_charges o
        where o.charge_time < now() - interval '24 hours'
        order by o.charge_time
        limit p_limit
        for update skip locked);
    get diagnostics purged = row_count;
    return jsonb_build_object('purged', purged);
end
$$;

comment on function public.purge_address_charges is
    'Delete at most p_limit charges of more than a day ago, which no limit counts any more. Return {"purged": n}.';

revoke execute on function public.purge_address_charges from public, anon, authenticated;
grant execute on function public.purge_address_charges to service_role;
