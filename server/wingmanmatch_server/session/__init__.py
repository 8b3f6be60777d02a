"""What a back end remembers of a signed-in person for a while, in Redis.

    service.py  the gRPC face
    store.py    what it asks of Redis, one method an atomic call
    token.py    the secret that opens a session, and what of it is stored
    keys.py     how the keys are named, and why each call stays in one slot of a cluster
    *.lua       the calls; prelude.lua stands before each of the others

`docs/sessions.md` tells the whole design.
"""
