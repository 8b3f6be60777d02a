"""Tokens of pages and of streams: opaque, bound to the arguments they were issued for, and carrying no authority."""

import base64
import binascii
import hashlib
import uuid

from wingmanmatch_server import errors

DIGEST_BYTES = 8
SEQUENCE_BYTES = 8


def page_token(last_id: str | None, *arguments: object) -> str:
    """Return the token that continues a list after `last_id`, or an empty one at its end.

    `last_id` is a UUID; `arguments` are those that must stay the same from page to page.
    """
    if last_id is None:
        return ""
    return _encoded(uuid.UUID(last_id).bytes + _digest(arguments))


def last_id_of(token: str, *arguments: object) -> str | None:
    """Return the id after which `token` continues, None for an empty token.

    Raises errors.InvalidArgument, reason PAGE_TOKEN_INVALID, if the token is not one issued for these arguments.
    """
    if not token:
        return None
    data = _decoded(token)
    if data[16:] != _digest(arguments):
        raise invalid_page_token()
    return str(uuid.UUID(bytes=data[:16]))


def invalid_page_token() -> errors.InvalidArgument:
    """Return the error of a page token that was not issued for the list it came with."""
    message = "page_token was not issued for these arguments"
    violation = errors.FieldViolation("page_token", "PAGE_TOKEN_INVALID", message)
    return errors.InvalidArgument([violation], "PAGE_TOKEN_INVALID", message)


def resume_token(sequence: int, *arguments: object) -> str:
    """Return the token that continues a stream after the event numbered `sequence`."""
    return _encoded(sequence.to_bytes(SEQUENCE_BYTES) + _digest(("resume", *arguments)))


def sequence_of(token: str, *arguments: object) -> int | None:
    """Return the number of the event after which `token` continues, None for an empty token.

    Raises errors.InvalidArgument, reason RESUME_TOKEN_INVALID, if the token is not one issued for these arguments.
    """
    if not token:
        return None
    data = _decoded(token)
    if data[SEQUENCE_BYTES:] != _digest(("resume", *arguments)):
        raise invalid_resume_token()
    return int.from_bytes(data[:SEQUENCE_BYTES])


def invalid_resume_token() -> errors.InvalidArgument:
    """Return the error of a resume token that was not issued for the stream it came with."""
    message = "resume_token was not issued for this stream"
    violation = errors.FieldViolation("resume_token", "RESUME_TOKEN_INVALID", message)
    return errors.InvalidArgument([violation], "RESUME_TOKEN_INVALID", message)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(token: str) -> bytes:
    """Return the bytes of a token, none for a text that cannot be one."""
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _digest(arguments: tuple[object, ...]) -> bytes:
    return hashlib.sha256(repr(arguments).encode()).digest()[:DIGEST_BYTES]
