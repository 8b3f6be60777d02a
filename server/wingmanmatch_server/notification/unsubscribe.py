"""Links by which people turn mails off without signing in."""

import uuid
from collections.abc import Sequence

from wingmanmatch_server.links import LinkInvalid, LinkSigner

ID_BYTES = 16


class UnsubscribeLinks:
    """Links of `{public_url}/unsubscribe/{token}`, each for one person and one kind. They do not expire."""

    def __init__(self, public_url: str, secrets: Sequence[str], kinds: Sequence[str]) -> None:
        """`kinds` are all that a link may be for."""
        self._prefix = f"{public_url.rstrip('/')}/unsubscribe/"
        self._signer = LinkSigner(secrets, "unsubscribe")
        self._kinds = frozenset(kinds)

    def url(self, user_id: str, kind: str) -> str:
        """Return the link that turns `kind` off for a person."""
        return self._prefix + self._signer.sign(uuid.UUID(user_id).bytes + kind.encode())

    def read(self, token: str) -> tuple[str, str]:
        """Return whose link it is, and of which kind. Raises LinkInvalid."""
        payload = self._signer.read(token)
        kind = payload[ID_BYTES:].decode("ascii", "replace")
        if kind not in self._kinds:
            raise LinkInvalid
        return str(uuid.UUID(bytes=payload[:ID_BYTES])), kind
