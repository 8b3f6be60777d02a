-- What the server calls to learn whether the database answers, and whether each of its two keys is accepted.

create function public.health()
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select jsonb_build_object('role', current_user)
$$;

comment on function public.health is 'Returns {"role": the role that the caller acts as}.';

revoke execute on function public.health from public, authenticated;
grant execute on function public.health to anon, service_role;
