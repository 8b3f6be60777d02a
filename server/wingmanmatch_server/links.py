"""Links that carry their own proof: whoever has one may do the one thing it is for."""

import base64
import binascii
import hashlib
import hmac

MAC_BYTES = 16


class LinkInvalid(Exception):
    """The token was not made by this server for this purpose."""


class LinkSigner:
    """Signs and reads tokens of one purpose: HMAC-SHA256, cut to 128 bits, under a key derived for the purpose."""

    def __init__(self, secret: str, purpose: str) -> None:
        self._key = hmac.digest(secret.encode(), f"link:{purpose}".encode(), hashlib.sha256)

    def sign(self, payload: bytes) -> str:
        """Return a token that carries `payload`, readable by all, in letters that need no escaping in a URL."""
        return base64.urlsafe_b64encode(payload + self._mac(payload)).decode().rstrip("=")

    def read(self, token: str) -> bytes:
        """Return what a token carries. Raises LinkInvalid."""
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise LinkInvalid from error
        payload, mac = data[:-MAC_BYTES], data[-MAC_BYTES:]
        # A token has one spelling: the last letter may hold bits that stand for nothing.
        if not hmac.compare_digest(mac, self._mac(payload)) or self.sign(payload) != token:
            raise LinkInvalid
        return payload

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, hashlib.sha256)[:MAC_BYTES]
