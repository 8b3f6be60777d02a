"""Who calls: the credentials that a call may carry, and what each allows.

api_keys.py       keys of calling back ends, by hash
user_tokens.py    JWTs of Supabase's users
published_keys.py the keys by which a project signs them, fetched again and again
certificates.py   the server's own certificate, and the names in its clients'
authenticator.py  one answer out of all of them
"""
