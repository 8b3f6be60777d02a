-- Who may execute the functions of the schema internal: the service role, and for what anybody may read the anonymous one.

revoke execute on all functions in schema internal from public;
grant execute on all functions in schema internal to service_role;
grant execute on function internal.challenge_json to anon;
