-- An erasure empties what is kept of the person in the histories of others, also of matches that ended long ago. So it
-- holds everybody whom the person ever met: two who once met can be erased at the same time without waiting in a circle.

create function public.partners_of(p_user_id uuid)
    returns uuid[]
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return array(
        select m.invitee_id from public.matches m where m.requester_id = p_user_id and m.invitee_id is not null
        union
        select m.requester_id from public.matches m where m.invitee_id = p_user_id and m.requester_id is not null);
end
$$;

comment on function public.partners_of is 'Returns the people with whom the person ever had a match.';

create or replace function public.lock_person_and_partners(p_user_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
declare
    partners uuid[];
begin
    for attempt in 1..5 loop
        partners := public.partners_of(p_user_id);
        begin
            perform public.lock_people(partners || p_user_id);
            if public.partners_of(p_user_id) <@ partners then
                return;
            end if;
            -- Somebody came in between. Undoing this block gives the locks back, so that they are taken in order again.
            perform public.raise_conflict();
        exception
            when sqlstate 'WM412' then
                null;
        end;
    end loop;
    perform public.raise_conflict();
end
$$;

comment on function public.lock_person_and_partners is
    'Locks the person and everybody whom the person ever met as lock_people does. Raises WM412 CONFLICT.';

drop function public.live_partners;

revoke execute on function public.partners_of from public, anon, authenticated;
grant execute on function public.partners_of to service_role;
