"""Page tokens: opaque, bound to the arguments of the list, and carrying no authority."""

import base64
import binascii
import hashlib
import uuid

from wingmanmatch_server import errors

DIGEST_BYTES = 8


def page_token(last_id: str | None, *arguments: object) -> str:
    """Return the token that continues a list after `last_id`, or an empty one at its end.

    `last_id` is a UUID; `arguments` are those that must stay the same from page to page.
    """
    if last_id is None:
        return ""
    return base64.urlsafe_b64encode(uuid.UUID(last_id).bytes + _digest(arguments)).decode().rstrip("=")


def last_id_of(token: str, *arguments: object) -> str | None:
    """Return the id after which `token` continues, None for an empty token.

    Raises errors.InvalidArgument, reason PAGE_TOKEN_INVALID, if the token is not one issued for these arguments.
    """
    if not token:
        return None
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if data[16:] != _digest(arguments):
        raise invalid_page_token()
    return str(uuid.UUID(bytes=data[:16]))


def invalid_page_token() -> errors.InvalidArgument:
    """Return the error of a page token that was not issued for the list it came with."""
    message = "page_token was not issued for these arguments"
    violation = errors.FieldViolation("page_token", "PAGE_TOKEN_INVALID", message)
    return errors.InvalidArgument([violation], "PAGE_TOKEN_INVALID", message)


def _digest(arguments: tuple[object, ...]) -> bytes:
    return hashlib.sha256(repr(arguments).encode()).digest()[:DIGEST_BYTES]
