"""How the keys are named.

    session:{TAG}:token:HASH    a session, by the SHA-256 of its token; a hash that Redis expires
    session:{TAG}:user:ID       a person's sessions: a sorted set of `SESSION_ID:HASH` by expire_time
    session:{TAG}:request:HASH  the answer of a request that may be repeated, for 24 hours
    session:{TAG}:requests:ID   a person's requests: a sorted set of HASH by when the answer is forgotten
    session:{TAG}:erased:HASH   the mark of a person's erasure, by a digest of the id, for 24 hours

A person's keys share a hash tag, so on a cluster each call finds all that it needs in one slot.
"""

import hashlib

from wingmanmatch_server.session.token import hash_of, slot_tag, tag_of


def session_key(token: str) -> str:
    """Return the key of the session of `token`, which may be any text."""
    return f"session:{{{tag_of(token)}}}:token:{hash_of(token)}"


def user_key(user_id: str) -> str:
    """Return the key of a person's sessions."""
    return f"session:{{{slot_tag(user_id)}}}:user:{user_id}"


def requests_key(user_id: str) -> str:
    """Return the key of a person's requests that may be repeated."""
    return f"session:{{{slot_tag(user_id)}}}:requests:{user_id}"


def erasure_key(user_id: str) -> str:
    """Return the key of the mark of a person's erasure."""
    return f"session:{{{slot_tag(user_id)}}}:erased:{digest('erased', user_id)}"


def creation_key(user_id: str, request_id: str) -> str:
    """Return the key of the answer of a CreateSession. It gives no hint of the request_id."""
    return f"session:{{{slot_tag(user_id)}}}:request:{digest('create', user_id, request_id)}"


def update_key(token: str, request_id: str) -> str:
    """Return the key of the answer of an UpdateSession."""
    return f"session:{{{tag_of(token)}}}:request:{digest('update', token, request_id)}"


def digest(*parts: object) -> str:
    """Return the SHA-256 of a sequence of strings, bytes, numbers and None."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()
