-- Who asks for a mail again by the same request_id is to get the first answer, however many mails the recipient has had.

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
    'Returns whether send_notification has an answer to p_request for the person, or for none, whatever the arguments.';

revoke execute on function public.get_send_answered from public, anon, authenticated;
grant execute on function public.get_send_answered to service_role;
