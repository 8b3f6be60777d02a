"""Challenges: the public catalogue, what people take on of it, and the links by which they show it.

    service.py    the gRPC face
    catalogue.py  the catalogue, read once for however many ask
    copies.py     copies of it in Redis
    store.py      what it asks of the database, one method a transaction
    rows.py       what the database returns

The rules themselves are SQL functions in `supabase/schemas/`; `docs/challenges.md` says how it fits together.
"""
