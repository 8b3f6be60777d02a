"""Links by which people show strangers one thing; what they show is read in the database, where they also end."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.results import Moment
from wingmanmatch_server.links import LinkInvalid, LinkSigner

DEFAULT_TTL_SECONDS = 30 * 86400.0
ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class ShareLink:
    """A link as the database has it, which does not know its token."""

    id: str
    create_time: Moment
    expire_time: Moment


class ShareLinks:
    """The tokens of one kind of link: the link's id, signed, so that nobody comes to a link by trying.

    A token of one kind is no token of another.
    """

    def __init__(self, feature: str, secrets: Sequence[str]) -> None:
        """`feature` is what GetStatus calls sharing of this kind. Without a secret it is off."""
        self._feature = feature
        self._signer = LinkSigner(secrets, f"share/{feature}") if secrets else None

    def check_enabled(self) -> None:
        """Raise errors.FailedPrecondition FEATURE_DISABLED if sharing of this kind is off."""
        self._enabled()

    def token(self, link_id: str) -> str:
        """Return the token of a link. Raises errors.FailedPrecondition FEATURE_DISABLED."""
        return self._enabled().sign(uuid.UUID(link_id).bytes)

    def link_id(self, token: str) -> str:
        """Return the id of a token's link, of which it is not known whether it still is.

        Raises errors.FailedPrecondition FEATURE_DISABLED, and errors.NotFound SHARE_LINK_NOT_FOUND for a token that
        this server did not make.
        """
        try:
            payload = self._enabled().read(token)
        except LinkInvalid:
            raise not_found() from None
        if len(payload) != ID_BYTES:
            raise not_found()
        return str(uuid.UUID(bytes=payload))

    def _enabled(self) -> LinkSigner:
        if self._signer is None:
            message = "sharing is switched off"
            raise errors.FailedPrecondition("FEATURE_DISABLED", message, {"feature": self._feature})
        return self._signer


def not_found() -> errors.NotFound:
    """Return the error of a link that shows nothing, whyever."""
    return errors.NotFound("SHARE_LINK_NOT_FOUND", "no such share link")
