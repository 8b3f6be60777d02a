"""Links that carry their own proof: whoever has one may do the one thing it is for."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

MAC_BYTES = 16


class LinkInvalid(Exception):
    """The token was not made by this server for this purpose."""


class LinkSigner:
    """Signs and reads tokens of one purpose: HMAC-SHA256, cut to 128 bits, under a key derived for the purpose.

    The first secret signs; tokens of all of them are accepted.
    """

    def __init__(self, secrets: Sequence[str], purpose: str) -> None:
        self._keys = [hmac.digest(each.encode(), f"link:{purpose}".encode(), hashlib.sha256) for each in secrets]

    def sign(self, payload: bytes) -> str:
        """Return a token that carries `payload`, readable by all, in letters that need no escaping in a URL."""
        return _spelled(payload + _mac(self._keys[0], payload))

    def read(self, token: str) -> bytes:
        """Return what a token carries. Raises LinkInvalid."""
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise LinkInvalid from error
        payload, mac = data[:-MAC_BYTES], data[-MAC_BYTES:]
        signed = any(hmac.compare_digest(mac, _mac(key, payload)) for key in self._keys)
        # A token has one spelling: the last letter may hold bits that stand for nothing.
        if not signed or _spelled(data) != token:
            raise LinkInvalid
        return payload


def _mac(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, payload, hashlib.sha256)[:MAC_BYTES]


def _spelled(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
