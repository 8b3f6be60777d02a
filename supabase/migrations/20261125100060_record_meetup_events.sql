-- Meet-ups in the feeds of their people, numbered and published as the events of matches are.

create function public.meetup_event_of(p_state text)
    returns text
    language sql
    immutable
    return case p_state
        when 'SCHEDULED' then 'MEETUP_RESCHEDULED'
        when 'CANCELLED' then 'MEETUP_CANCELLED'
        when 'COMPLETED' then 'MEETUP_COMPLETED'
    end;

comment on function public.meetup_event_of is
    'Returns the event of a change after which a meet-up is in this state; null where there is none.';

create function public.record_meetup_change()
    returns trigger
    language plpgsql
    set search_path = ''
as $$
declare
    kind constant text := case tg_op when 'INSERT' then 'MEETUP_SCHEDULED' else public.meetup_event_of(new.state) end;
begin
    if kind is not null then
        perform public.record_match_event(m, kind, new.id) from public.matches m where m.id = new.match_id;
    end if;
    return null;
end
$$;

comment on function public.record_meetup_change is 'Trigger: records that a meet-up was scheduled, moved or came to an end.';

create trigger record_meetup_made
    after insert on public.meetups
    for each row execute function public.record_meetup_change();
create trigger record_meetup_change
    after update of state, sequence on public.meetups
    for each row when ((old.state, old.sequence) is distinct from (new.state, new.sequence))
    execute function public.record_meetup_change();

create constraint trigger publish_meetup_events
    after insert or update of state, sequence on public.meetups
    deferrable initially deferred
    for each row execute function public.publish_match_events_at_commit();

revoke execute on function public.meetup_event_of, public.record_meetup_change from public, anon, authenticated;
grant execute on function public.meetup_event_of, public.record_meetup_change to service_role;
