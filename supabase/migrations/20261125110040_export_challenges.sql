-- A person's export has the challenges that they took on, and their share links.

create or replace function public.export_records(p_user_id uuid, p_kind text)
    returns setof public.export_record
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    case p_kind
        when 'PROFILE' then return query select * from public.export_profile(p_user_id);
        when 'MATCH' then return query select * from public.export_matches(p_user_id);
        when 'BLOCK' then return query select * from public.export_blocks(p_user_id);
        when 'MEETUP' then return query select * from public.export_meetups(p_user_id);
        when 'USER_CHALLENGE' then return query select * from public.export_user_challenges(p_user_id);
        when 'SHARE_LINK' then return query select * from public.export_share_links(p_user_id);
        when 'NOTIFICATION' then return query select * from public.export_notifications(p_user_id);
        when 'NOTIFICATION_PREFERENCES' then
            return query select * from public.export_notification_preferences(p_user_id);
        else null;
    end case;
end
$$;
