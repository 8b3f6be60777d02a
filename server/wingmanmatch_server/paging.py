"""Tokens of pages, sealed, and of streams, which carry no authority; both bound to what was asked."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from wingmanmatch_server import errors

# Names and values of what a list is ordered by; each list knows its own.
Position = dict[str, Any]

LIFETIME = 86_400  # seconds
DIGEST_BYTES = 8
SEQUENCE_BYTES = 8
LAST_SEQUENCE = 2**63 - 1  # of the database's bigint


class PageTokens:
    """Tokens that continue lists: encrypted and authenticated (Fernet), so that they say nothing and cannot be made.

    A token holds a position, which is the sort key's values of the last item that was shown, and the question: what
    must stay the same from page to page. It is good for LIFETIME seconds.
    """

    def __init__(self, secrets: Sequence[str], now: Callable[[], float]) -> None:
        """The first of `secrets` seals, all are accepted. `now` returns the Unix time in seconds."""
        self._fernet = MultiFernet([Fernet(_key(each)) for each in secrets])
        self._now = now

    def seal(self, position: Position | None, *question: object) -> str:
        """Return the token of the page after `position`, an empty one where there is none: at the list's end.

        `question` has the list's name first, and ids in lower case; it must be such as `repr` tells apart.
        """
        if position is None:
            return ""
        content = json.dumps([_digest(question).hex(), position]).encode()
        return self._fernet.encrypt_at_time(content, int(self._now())).decode().rstrip("=")

    def open(self, token: str, *question: object) -> Position | None:
        """Return the position that a token holds, None for an empty token.

        Raises errors.InvalidArgument, reason PAGE_TOKEN_INVALID, if this list did not issue the token for this question
        within its lifetime: the error does not say which of these it was.
        """
        if not token:
            return None
        try:
            data = self._decrypted(token)
        except InvalidToken:
            raise invalid_page_token() from None
        digest, position = json.loads(data)
        if digest != _digest(question).hex():
            raise invalid_page_token()
        return dict(position)

    def _decrypted(self, token: str) -> bytes:
        data = _decoded(token)
        if _encoded(data) != token:  # a token has one spelling
            raise InvalidToken
        return self._fernet.decrypt_at_time(base64.urlsafe_b64encode(data), LIFETIME, int(self._now()))


def invalid_page_token() -> errors.InvalidArgument:
    """Return the error of a page token that was not issued for the list it came with."""
    message = "page_token was not issued for this list, or has expired"
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
    sequence = int.from_bytes(data[:SEQUENCE_BYTES])
    if sequence > LAST_SEQUENCE:
        raise invalid_resume_token()
    return sequence


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


def _key(secret: str) -> bytes:
    return base64.urlsafe_b64encode(hmac.digest(secret.encode(), b"page token", hashlib.sha256))
