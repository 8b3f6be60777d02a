-- oldest-server: 20261128120100
-- transaction: none
--
-- The true places that match_pool still holds become stand-ins. A thousand people at a time, locked in the order of
-- their ids as everywhere, so that nobody waits long and nothing waits in a circle. Begun again it does no harm: the
-- stand-in of a stand-in is itself. Stand-ins of CITY_ONLY are as they were.

do $$
declare
    last_id uuid := '00000000-0000-0000-0000-000000000000';
    ids uuid[];
begin
    -- Waits for whoever began before the functions of the last file were there and has a true place to commit.
    lock table public.match_pool in share row exclusive mode;
    commit;
    loop
        ids := array(select m.user_id from public.match_pool m where m.user_id > last_id order by m.user_id limit 1000);
        exit when cardinality(ids) = 0;
        last_id := ids[cardinality(ids)];
        perform internal.lock_people(ids);
        update public.match_pool m
        set latitude = (internal.stand_in(m.user_id, m.latitude, m.longitude, false))[1],
            longitude = (internal.stand_in(m.user_id, m.latitude, m.longitude, false))[0]
        where m.user_id = any (ids) and not m.coarse;
        commit;
    end loop;
end
$$;
