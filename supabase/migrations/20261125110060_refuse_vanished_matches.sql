-- A match whose people are both erased is deleted, also while a call about it waits for them. What finds it no longer
-- pending then finds no match at all, and must not go on as if nothing were wrong.

create or replace function public.raise_match_not_pending(p_match_id uuid)
    returns void
    language plpgsql
    set search_path = ''
as $$
begin
    perform public.raise_error('WM409', 'MATCH_NOT_PENDING', 'the match is no longer pending',
        jsonb_build_object('match_id', m.id, 'state', public.state_now(m)))
    from public.matches m
    where m.id = p_match_id;
    perform public.raise_error('WM404', 'MATCH_NOT_FOUND', 'no such match exists for this person',
        jsonb_build_object('match_id', p_match_id));
end
$$;

comment on function public.raise_match_not_pending is
    'Raises WM409 MATCH_NOT_PENDING with the state of the match, or WM404 MATCH_NOT_FOUND if it is gone.';
