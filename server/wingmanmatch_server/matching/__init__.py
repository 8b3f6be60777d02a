"""Profiles, candidates, and the matches between people.

    service.py  the gRPC face
    store.py    what it asks of the database, one method a transaction
    expiry.py   ends invitations that nobody answered

The rules themselves are SQL functions in `supabase/migrations/`.
"""
