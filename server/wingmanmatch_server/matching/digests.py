"""The names under which the database keeps what outlives a person's erasure."""

import hashlib
import hmac
import uuid
from collections.abc import Sequence

PURPOSE = b"erased person"


class PersonDigests:
    """Digests of people's ids: HMAC-SHA256 in hexadecimal, under a key of each secret that is made for this alone.

    Only who has a secret can tell whose a digest is, or whether two under different secrets are the same person's.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        """The first of `secrets` is for what is kept from now on; all of them find what was kept."""
        self._keys = [hmac.digest(secret.encode(), PURPOSE, hashlib.sha256) for secret in secrets]

    def all_of(self, user_id: str) -> list[str]:
        """Return the digests of an id under every secret, that of the first leading; what is no UUID has none."""
        try:
            canonical = uuid.UUID(user_id).bytes
        except ValueError:
            return []
        return [hmac.digest(key, canonical, hashlib.sha256).hex() for key in self._keys]

    def first_of(self, user_id: str) -> str | None:
        """Return the digest under which to keep; None if there is none."""
        digests = self.all_of(user_id)
        return digests[0] if digests else None
