"""The secret that opens a session, and the two forms in which Redis holds something of it.

A token is 43 characters of base64url, which are 256 random bits, and then the four hexadecimal digits of the person's
slot tag, which are no secret: they tell where in a cluster to look.
"""

import base64
import hashlib
import hmac
import re

SECRET_BYTES = 32
SALT_BYTES = 16

_TAG_LENGTH = 4
_TAG = re.compile(f"[0-9a-f]{{{_TAG_LENGTH}}}")
_ANY_TAG = "0" * _TAG_LENGTH
_PURPOSE = b"wingmanmatch session token"


def slot_tag(user_id: str) -> str:
    """Return what the names of all of a person's keys share."""
    return hashlib.sha256(user_id.encode()).hexdigest()[:_TAG_LENGTH]


def make_token(secret: bytes, user_id: str) -> str:
    """Return the token of `SECRET_BYTES` random bytes."""
    return base64.urlsafe_b64encode(secret).decode().rstrip("=") + slot_tag(user_id)


def tag_of(token: str) -> str:
    """Return the slot tag of any text: one that is no token is looked up all the same, and just as fast."""
    tag = token[-_TAG_LENGTH:]
    return tag if _TAG.fullmatch(tag) else _ANY_TAG


def hash_of(token: str) -> str:
    """Return the name under which Redis knows a token. It has too many bits to be found by guessing."""
    return hashlib.sha256(token.encode()).hexdigest()


def seal(token: str, request_id: str, salt: bytes) -> str:
    """Return what only `unseal` with the same request_id turns back into the token.

    As good a secret as the request_id, which Redis never holds: 122 bits where it is a random UUID.
    """
    return (salt + _masked(_secret(token), request_id, salt)).hex()


def unseal(sealed: str, request_id: str, user_id: str) -> str:
    """Return the person's token that was sealed."""
    data = bytes.fromhex(sealed)
    salt, masked = data[:SALT_BYTES], data[SALT_BYTES:]
    return make_token(_masked(masked, request_id, salt), user_id)


def _secret(token: str) -> bytes:
    return base64.urlsafe_b64decode(token[:-_TAG_LENGTH] + "=")


def _masked(secret: bytes, request_id: str, salt: bytes) -> bytes:
    # HKDF-SHA256 of one block, which is as long as a secret.
    key = hmac.digest(salt, request_id.encode(), "sha256")
    mask = hmac.digest(key, _PURPOSE + b"\x01", "sha256")
    return bytes(left ^ right for left, right in zip(secret, mask, strict=True))
