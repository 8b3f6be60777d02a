-- What happens to a person's matches and meetups, numbered so that a reader can tell the next event from a gap.
--
-- A change of a match notes its events in a setting of its transaction, which is undone as far as the transaction is. As
-- the transaction commits, the feeds of all its people are locked in the order of user_id, and the events are numbered
-- and written: so per person the order of numbers is the order of commits, no reader ever sees a number before a smaller
-- one, and a holder of a feed waits for nothing but a feed further on.

create table public.match_event_feeds (
    user_id uuid primary key references public.user_profiles on delete cascade,
    -- Beginning with the time, so that a feed made anew never repeats the numbers of one that was erased.
    last_sequence bigint not null default (extract(epoch from clock_timestamp()) * 1000000)::bigint
) with (fillfactor = 80);

comment on table public.match_event_feeds is 'One row a person: the number of the person''s last event.';

alter table public.match_event_feeds enable row level security;
revoke all on table public.match_event_feeds from public, anon, authenticated;
grant select, insert, update, delete on table public.match_event_feeds to service_role;

create table public.match_events (
    user_id uuid not null,
    sequence bigint not null,
    kind text not null check (kind in (
        'REQUESTED', 'ACCEPTED', 'DECLINED', 'CANCELLED', 'EXPIRED', 'ENDED',
        'MEETUP_SCHEDULED', 'MEETUP_RESCHEDULED', 'MEETUP_CANCELLED', 'MEETUP_COMPLETED')),
    event_time timestamptz not null,
    match_id uuid not null references public.matches on delete cascade,
    match_state text not null,
    respond_time timestamptz,
    meetup_id uuid,
    primary key (user_id, sequence)
);

comment on table public.match_events is
    'What happened to a person''s matches and meetups, one row for each of the two people; kept for a week.';
comment on column public.match_events.sequence is 'One more than that of the person''s event before.';
comment on column public.match_events.match_state is 'The state of the match after the event.';

create index match_events_aging on public.match_events (event_time);
create index match_events_of_match on public.match_events (match_id);

alter table public.match_events enable row level security;
revoke all on table public.match_events from public, anon, authenticated;
grant select, insert, update, delete on table public.match_events to service_role;

create function internal.open_match_event_feeds()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    insert into public.match_event_feeds (user_id) select p.id from new_profiles p order by p.id;
    return null;
end
$$;

comment on function internal.open_match_event_feeds is 'Trigger: gives each new person a feed.';

create trigger open_match_event_feeds
    after insert on public.user_profiles
    referencing new table as new_profiles
    for each statement execute function internal.open_match_event_feeds();

create function internal.record_match_events(p_events jsonb[])
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    if p_events <> '{}' then
        -- One line an event: text of jsonb has no line breaks, and to append needs no parsing of what is there.
        perform set_config(
            'wingmanmatch.match_events',
            concat_ws(
                e'\n',
                nullif(current_setting('wingmanmatch.match_events', true), ''),
                array_to_string(p_events, e'\n')),
            true);
    end if;
end
$$;

comment on function internal.record_match_events is
    'Records events (match_event) for the feeds of their matches'' people. Called by triggers of tables of which another '
    'trigger, deferred, calls publish_match_events.';

create function internal.match_event(p_match public.matches, p_kind text, p_meetup_id uuid default null)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object(
        'people', array_remove(array[p_match.requester_id, p_match.invitee_id], null),
        'kind', p_kind,
        'match_id', p_match.id,
        'match_state', p_match.state,
        'respond_time', p_match.respond_time,
        'meetup_id', p_meetup_id);
end
$$;

comment on function internal.match_event is 'Returns an event of a match as it is now.';

create function internal.record_matches_made()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    perform internal.record_match_events(array(
        select internal.match_event(n, case n.state when 'PENDING' then 'REQUESTED' else n.state end)
        from new_matches n));
    return null;
end
$$;

comment on function internal.record_matches_made is 'Trigger: records that matches were made.';

create function internal.record_matches_changed()
    returns trigger
    language plpgsql
    set search_path = ''
    -- Nobody knows how large the two tables are before they are joined, and an erasure makes them large.
    set enable_hashjoin = on
    set enable_nestloop = off
as $$
begin
    perform internal.record_match_events(array(
        select internal.match_event(n, case n.state when 'PENDING' then 'REQUESTED' else n.state end)
        from new_matches n
        join old_matches o on o.id = n.id
        where o.state is distinct from n.state));
    return null;
end
$$;

comment on function internal.record_matches_changed is 'Trigger: records that matches changed their state.';

-- For each statement, since an erasure may end thousands: noted one by one, each would copy all those before it.
create trigger record_matches_made
    after insert on public.matches
    referencing new table as new_matches
    for each statement execute function internal.record_matches_made();

create trigger record_matches_changed
    after update on public.matches
    referencing old table as old_matches new table as new_matches
    for each statement execute function internal.record_matches_changed();

create function internal.publish_match_events(p_also_lock uuid default null)
    returns void
    language plpgsql
    set search_path = ''
    -- To plan anew for each array costs more than to run.
    set plan_cache_mode = force_generic_plan
as $$
declare
    noted constant jsonb[] := array(
        select line::jsonb
        from string_to_table(nullif(current_setting('wingmanmatch.match_events', true), ''), e'\n') line);
    people constant uuid[] := array(
        select person::uuid from unnest(noted) event, jsonb_array_elements_text(event -> 'people') person);
begin
    perform set_config('wingmanmatch.match_events', '', true);
    perform from public.match_event_feeds f
    where f.user_id = any (people || p_also_lock)
    order by f.user_id
    for no key update;
    update public.match_event_feeds f set last_sequence = f.last_sequence + fresh.events
    from (select person, count(*) as events from unnest(people) person group by person) fresh
    where f.user_id = fresh.person;
    -- Somebody erased meanwhile has no feed, and gets no events. Each feed is found by its index, since an erasure may
    -- publish to thousands.
    insert into public.match_events (
        user_id, sequence, kind, event_time, match_id, match_state, respond_time, meetup_id)
    select
        f.user_id,
        f.last_sequence - count(*) over (partition by f.user_id)
            + row_number() over (partition by f.user_id order by each.position),
        each.event ->> 'kind',
        -- Read under the lock, so that numbers and times rise together.
        clock_timestamp(),
        (each.event ->> 'match_id')::uuid,
        each.event ->> 'match_state',
        (each.event ->> 'respond_time')::timestamptz,
        (each.event ->> 'meetup_id')::uuid
    from unnest(noted) with ordinality each (event, position)
    cross join jsonb_array_elements_text(each.event -> 'people') person
    join public.match_event_feeds f on f.user_id = person::uuid;
    perform pg_notify('match_events', f.user_id::text)
    from public.match_event_feeds f
    where f.user_id = any (people);
end
$$;

comment on function internal.publish_match_events is
    'Numbers and writes the events that the transaction noted, and wakes their readers. Waits for feeds, in their '
    'order, and that of p_also_lock; the caller takes no other lock after it.';

create function internal.publish_match_events_at_commit()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    -- The first call publishes them all.
    if current_setting('wingmanmatch.match_events', true) <> '' then
        perform internal.publish_match_events();
    end if;
    return null;
end
$$;

comment on function internal.publish_match_events_at_commit is
    'Trigger, deferred: publishes the transaction''s events.';

create constraint trigger publish_match_events
    after insert or update of state on public.matches
    deferrable initially deferred
    for each row execute function internal.publish_match_events_at_commit();

create constraint trigger publish_meetup_events
    after insert or update of state, sequence on public.meetups
    deferrable initially deferred
    for each row execute function internal.publish_match_events_at_commit();

create function internal.match_event_json(p_event public.match_events, p_match public.matches)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return jsonb_build_object(
        'sequence', p_event.sequence,
        'kind', p_event.kind,
        'event_time', p_event.event_time,
        'meetup_id', p_event.meetup_id,
        'match', internal.match_json(p_match)
            || jsonb_build_object('state', p_event.match_state, 'respond_time', p_event.respond_time));
end
$$;

comment on function internal.match_event_json is 'Returns an event with the match as it was after it.';

create function public.read_match_events(p_feeds jsonb, p_limit integer default 100)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    -- One statement, so that a feed's number and its events are of the same moment.
    return (
        select jsonb_build_object('feeds', coalesce(jsonb_agg(jsonb_build_object(
            'user_id', asked.user_id, 'after', asked.after, 'last_sequence', f.last_sequence, 'events', page.events)),
            '[]'))
        from jsonb_to_recordset(p_feeds) asked (user_id uuid, after bigint)
        left join public.match_event_feeds f on f.user_id = asked.user_id
        cross join lateral (
            select coalesce(jsonb_agg(internal.match_event_json(e, m) order by e.sequence), '[]') as events
            from (
                select * from public.match_events each
                where each.user_id = asked.user_id and each.sequence > asked.after
                order by each.sequence
                limit p_limit
            ) e
            join public.matches m on m.id = e.match_id
        ) page
        where f.last_sequence is null or asked.after is null or f.last_sequence <> asked.after
    );
end
$$;

comment on function public.read_match_events is
    'Takes [{"user_id": ..., "after": sequence or null for now}], returns {"feeds": [{"user_id", "after", '
    '"last_sequence", "events"}]}: those in which something follows or nothing was known; last_sequence is null for '
    'nobody.';

create function public.purge_match_events(p_limit integer default 1000)
    returns jsonb
    language plpgsql
    set search_path = ''
as $$
declare
    purged integer;
begin
    delete from public.match_events e
    using (
        select a.user_id, a.sequence from public.match_events a
        where a.event_time <= now() - interval '7 days'
        order by a.event_time
        limit p_limit
        for update skip locked
    ) aged
    where (e.user_id, e.sequence) = (aged.user_id, aged.sequence);
    get diagnostics purged = row_count;
    return jsonb_build_object('purged', purged);
end
$$;

comment on function public.purge_match_events is
    'Deletes at most p_limit events that are past their week, the oldest first. Returns {"purged": n}.';

create function internal.meetup_event_of(p_state text)
    returns text
    language sql
    immutable
    return case p_state
        when 'SCHEDULED' then 'MEETUP_RESCHEDULED'
        when 'CANCELLED' then 'MEETUP_CANCELLED'
        when 'COMPLETED' then 'MEETUP_COMPLETED'
    end;

comment on function internal.meetup_event_of is
    'Returns the event of a change after which a meetup is in this state; null where there is none.';

create function internal.record_meetup_change()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
declare
    kind constant text := case tg_op when 'INSERT' then 'MEETUP_SCHEDULED' else internal.meetup_event_of(new.state) end;
begin
    if kind is not null then
        perform internal.record_match_events(array(
            select internal.match_event(m, kind, new.id) from public.matches m where m.id = new.match_id));
    end if;
    return null;
end
$$;

comment on function internal.record_meetup_change is
    'Trigger: records that a meetup was scheduled, moved or came to an end.';

create trigger record_meetup_made
    after insert on public.meetups
    for each row execute function internal.record_meetup_change();

create trigger record_meetup_change
    after update of state, sequence on public.meetups
    for each row when ((old.state, old.sequence) is distinct from (new.state, new.sequence))
    execute function internal.record_meetup_change();

revoke execute on function public.read_match_events, public.purge_match_events from public, anon, authenticated;
grant execute on function public.read_match_events, public.purge_match_events to service_role;
