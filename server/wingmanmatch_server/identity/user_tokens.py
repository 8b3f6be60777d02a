"""JWTs of Supabase's users: signed by the project's secret (HS256) or by one of its published keys (ES256, RS256).

The kind of key decides the algorithm, never the token: a public key is not taken for a secret, and `none` is nothing.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import jwt
import structlog

log = structlog.get_logger(__name__)

AUDIENCE = "authenticated"
LEEWAY = 10  # seconds by which two machines' clocks may differ
SYMMETRIC = "HS256"
ASYMMETRIC = ("ES256", "RS256")
REFRESH_AFTER = 600.0  # seconds after which published keys are asked for again
# A token may name any key. What it names must not make the server ask for keys at a stranger's pace.
REFRESH_AT_MOST_EVERY = 30.0

FetchKeys = Callable[[], Awaitable[Mapping[str, Any]]]


class TokenInvalid(Exception):
    """The token is not one of a user of this project, or is not valid now."""


class PublishedKeys:
    """A project's JSON Web Key Set, kept and renewed.

    `fetch` returns the document, and raises OSError or TimeoutError if it can't be had: then the keys known stay in
    force. `clock` returns monotonic seconds.
    """

    def __init__(self, fetch: FetchKeys, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked_at: float | None = None
        self._asking = asyncio.Lock()

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """Return a key by its id, asking for the present keys if it is new or those known are old."""
        if self._is_due(known=key_id in self._keys):
            async with self._asking:
                if self._is_due(known=key_id in self._keys):
                    await self._refresh()
        return self._keys.get(key_id)

    def _is_due(self, *, known: bool) -> bool:
        if self._asked_at is None:
            return True
        age = self._clock() - self._asked_at
        return age >= (REFRESH_AFTER if known else REFRESH_AT_MOST_EVERY)

    async def _refresh(self) -> None:
        self._asked_at = self._clock()
        try:
            keys = jwt.PyJWKSet.from_dict(dict(await self._fetch())).keys
        except (OSError, TimeoutError, jwt.PyJWTError) as error:
            log.warning("jwks_not_refreshed", error=type(error).__name__)
            return
        self._keys = {key.key_id: key for key in keys if key.key_id and key.algorithm_name in ASYMMETRIC}


class UserTokens:
    """Verifies users' tokens. Without a secret no HS256 token is valid, without published keys no other."""

    def __init__(self, *, secret: str | None, keys: PublishedKeys | None, issuer: str | None) -> None:
        """`issuer` is what `iss` must be; None where the project is known by its secret alone."""
        self._secret = secret
        self._keys = keys
        self._issuer = issuer

    async def verify(self, token: str) -> tuple[str, float]:
        """Return the user's id and when the token expires, in seconds since the epoch. Raises TokenInvalid."""
        try:
            key, algorithm = await self._key_of(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=AUDIENCE,
                issuer=self._issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "sub", "aud"]},
            )
            return str(uuid.UUID(claims["sub"])), float(claims["exp"])
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
            raise TokenInvalid from error

    async def _key_of(self, header: Mapping[str, Any]) -> tuple[Any, str]:
        algorithm = header.get("alg")
        if algorithm == SYMMETRIC and self._secret:
            return self._secret, SYMMETRIC
        if algorithm in ASYMMETRIC and self._keys and isinstance(header.get("kid"), str):
            key = await self._keys.find(header["kid"])
            if key is not None and key.algorithm_name == algorithm:
                return key, algorithm
        raise TokenInvalid
