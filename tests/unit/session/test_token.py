"""The forms of a session's token."""

import re
import uuid

from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from wingmanmatch_server.session.keys import creation_key, digest, session_key, update_key, user_key
from wingmanmatch_server.session.token import hash_of, make_token, seal, slot_tag, tag_of, unseal

secrets = st.binary(min_size=32, max_size=32)
salts = st.binary(min_size=16, max_size=16)
uuids = st.uuids().map(str)
TAG = re.compile(r"\{([0-9a-f]{4})\}")


@given(secrets, uuids)
def test_shape(secret: bytes, user_id: str) -> None:
    """A token is 43 characters of secret and four that say where to look."""
    token = make_token(secret, user_id)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}[0-9a-f]{4}", token)
    assert tag_of(token) == slot_tag(user_id)


@given(secrets, secrets, uuids)
def test_different_secrets(first: bytes, second: bytes, user_id: str) -> None:
    """Two secrets never share a token, nor a key."""
    tokens = make_token(first, user_id), make_token(second, user_id)
    assert (tokens[0] == tokens[1]) == (first == second)
    assert (session_key(tokens[0]) == session_key(tokens[1])) == (first == second)


@given(secrets, uuids, uuids, salts)
def test_sealing(secret: bytes, user_id: str, request_id: str, salt: bytes) -> None:
    """The request_id opens what it sealed."""
    token = make_token(secret, user_id)
    assert unseal(seal(token, request_id, salt), request_id, user_id) == token


@given(secrets, uuids, salts)
def test_sealing_needs_the_request_id(secret: bytes, user_id: str, salt: bytes) -> None:
    """Another request_id opens nothing, and the sealed form shows nothing of the secret."""
    token, request_id = make_token(secret, user_id), str(uuid.UUID(int=1))
    sealed = seal(token, request_id, salt)
    assert unseal(sealed, str(uuid.UUID(int=2)), user_id) != token
    assert secret.hex() not in sealed


@given(secrets, uuids)
def test_a_salt_gives_each_token_its_own_mask(secret: bytes, user_id: str) -> None:
    """Two tokens sealed under one request_id do not show how they differ."""
    token, request_id = make_token(secret, user_id), str(uuid.UUID(int=1))
    one, other = (bytes.fromhex(seal(token, request_id, salt))[16:] for salt in (bytes(16), bytes([1]) * 16))
    assert one != other


@given(secrets, uuids, uuids)
def test_one_slot(secret: bytes, user_id: str, request_id: str) -> None:
    """All the keys that one call needs are in one slot of a cluster."""
    token = make_token(secret, user_id)
    keys = session_key(token), user_key(user_id), creation_key(user_id, request_id), update_key(token, request_id)
    assert len({key_slot(key.encode()) for key in keys}) == 1


def test_slots_are_spread() -> None:
    """People are spread over the slots: of 3000, no sixteenth of a cluster holds twice its share."""
    slots = [key_slot(user_key(str(uuid.UUID(int=number))).encode()) // 1024 for number in range(3000)]
    assert max(slots.count(part) for part in range(16)) < 2 * 3000 / 16


@given(st.text(max_size=512))
def test_any_text_has_a_key(text: str) -> None:
    """Whatever a caller sends is looked up under a key of the one form."""
    assert re.fullmatch(r"session:\{[0-9a-f]{4}\}:token:[0-9a-f]{64}", session_key(text))


def test_tag_is_part_of_the_secret_form() -> None:
    """A token whose tag is changed is another token."""
    token = make_token(bytes(32), str(uuid.UUID(int=1)))
    assert hash_of(token) != hash_of(token[:-4] + "0000")


def test_digest_keeps_parts_apart() -> None:
    """Parts that only look alike when joined have different digests."""
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(b"1", None) != digest(b"1", "None") != digest("1", None)
