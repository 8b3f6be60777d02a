"""JWTs of Supabase's users: signed by the project's secret (HS256) or by one of its published keys (ES256, RS256).

The kind of key decides the algorithm, never the token: a public key is not taken for a secret, and `none` is nothing.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from wingmanmatch_server.identity.published_keys import ASYMMETRIC, PublishedKeys

AUDIENCE = "authenticated"
ROLE = "authenticated"  # the other roles of a project, `anon` and `service_role`, are not users
LEEWAY = 10  # seconds by which two machines' clocks may differ; a token is never valid beyond its expiry
SYMMETRIC = "HS256"


class TokenInvalid(Exception):
    """The token is not one of a user of this project, or is not valid now."""


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a valid token says: whose it is, until when (seconds since the epoch), and the user's verified address.

    `email` is empty where the token has none that is verified. `key` is the published key that signed the token, None
    for the project's secret.
    """

    user_id: str
    expiry: float
    email: str = field(repr=False)
    key: jwt.PyJWK | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What is demanded of a token beyond its signature.

    `issuer` is what `iss` must be; None where the project is known by its secret alone. `max_lifetime` is in seconds.
    """

    issuer: str | None
    max_lifetime: float
    allow_anonymous: bool = False


class UserTokens:
    """Verifies users' tokens. Without a secret no HS256 token is valid, without published keys no other."""

    def __init__(
        self, *, secret: str | None, keys: PublishedKeys | None, rules: TokenRules, now: Callable[[], float]
    ) -> None:
        """`now` returns seconds since the epoch."""
        self._secret = secret
        self._keys = keys
        self._rules = rules
        self._now = now

    async def verify(self, token: str) -> VerifiedToken:
        """Return what the token says. Raises TokenInvalid."""
        try:
            key, algorithm = await self._key_of(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=AUDIENCE,
                issuer=self._rules.issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "sub", "aud"]},
            )
            self._check(claims)
            user_id = str(uuid.UUID(claims["sub"]))
        except (jwt.PyJWTError, ArithmeticError, ValueError, TypeError, AttributeError) as error:
            raise TokenInvalid from error
        published = key if isinstance(key, jwt.PyJWK) else None
        return VerifiedToken(user_id, float(claims["exp"]), verified_email(claims), published)

    def trusts(self, token: VerifiedToken) -> bool:
        """Tell whether a token verified before is still valid: not expired, and its key still published."""
        if token.expiry <= self._now():
            return False
        return token.key is None or (self._keys is not None and self._keys.holds(token.key))

    def _check(self, claims: Mapping[str, Any]) -> None:
        if claims.get("role") != ROLE:
            raise TokenInvalid
        if claims.get("is_anonymous", False) is not False and not self._rules.allow_anonymous:
            raise TokenInvalid
        now, expiry = self._now(), float(claims["exp"])
        if not now < expiry <= now + self._rules.max_lifetime + LEEWAY:
            raise TokenInvalid
        if expiry - float(claims.get("iat", now)) > self._rules.max_lifetime + LEEWAY:
            raise TokenInvalid

    async def _key_of(self, header: Mapping[str, Any]) -> tuple[Any, str]:
        algorithm = header.get("alg")
        if algorithm == SYMMETRIC and self._secret:
            return self._secret, SYMMETRIC
        if algorithm in ASYMMETRIC and self._keys and isinstance(header.get("kid"), str):
            key = await self._keys.find(header["kid"])
            if key is not None and key.algorithm_name == algorithm:
                return key, algorithm
        raise TokenInvalid


def verified_email(claims: Mapping[str, Any]) -> str:
    """Return the address that the project vouches for, empty if there is none.

    Supabase puts an address into `email` once the user has confirmed it. Of `user_metadata` nothing counts: users edit
    it themselves.
    """
    email = claims.get("email")
    return email if isinstance(email, str) and claims.get("email_verified", True) is True else ""
