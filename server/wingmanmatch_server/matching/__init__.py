"""Profiles, candidates, and the matches between people.

    service.py   the gRPC face
    messages.py  what the wire and the store call the same things
    store.py     what it asks of the database, one method a transaction
    rows.py      what the database returns
    watch.py     hands the events of matches to those who watch
    stream.py    one reader of one person's events
    erasure.py   removes a person, also from outside the database
    export.py    all that is stored about a person

The rules themselves are SQL functions in `supabase/schemas/`.
"""
