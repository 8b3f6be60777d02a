"""Credentials of every kind, for a server that asks for them."""

import time
import uuid
from typing import Any

import jwt
from pydantic import SecretStr

from wingmanmatch_server.identity.api_keys import create_key

SECRET = "the-secret-of-the-test-project-" * 2
OWN = str(uuid.UUID(int=1, version=4))
OTHER = str(uuid.UUID(int=2, version=4))

KEY, ENTRY = create_key("booking", ["*"], "k" * 43)
ADMIN_KEY, ADMIN_ENTRY = create_key("console", ["*", "admin"], "a" * 43)
SCOPELESS_KEY, SCOPELESS_ENTRY = create_key("elsewhere", ["admin"], "n" * 43)

SETTINGS: dict[str, Any] = {
    "api_keys": ",".join(entry.line() for entry in (ENTRY, ADMIN_ENTRY, SCOPELESS_ENTRY)),
    "supabase_jwt_secret": SecretStr(SECRET),
}


def email_of(user_id: str) -> str:
    """Return the address that a user has unless a test says otherwise."""
    return f"{user_id.lower().replace('-', '')}@example.org"


def user_token(user_id: str, **changes: Any) -> str:
    """Return a token of a user, valid but for the changes; None leaves a claim out.

    Its address is the one that `support.requests.profile` gives to the user.
    """
    claims = {
        "sub": user_id,
        "aud": "authenticated",
        "role": "authenticated",
        "email": email_of(user_id),
        "exp": int(time.time()) + 600,
    }
    kept = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(kept, SECRET, algorithm="HS256")


def bearer(credential: str | None) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carries a credential."""
    return (("authorization", f"Bearer {credential}"),) if credential is not None else ()
