"""Meet-ups: from an accepted match to a confirmed appointment.

    service.py  the gRPC face
    store.py    what it asks of the database, one method a transaction
    rows.py     what the database returns

The rules are SQL functions: `supabase/schemas/3*`. `docs/meetups.md` tells them in words.
"""
