"""Joins what tells callers apart."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wingmanmatch_server.bootstrap.background import background
from wingmanmatch_server.housekeeping import repeat
from wingmanmatch_server.identity.api_keys import ApiKeys
from wingmanmatch_server.identity.authenticator import Authenticator, Modes
from wingmanmatch_server.identity.published_keys import ISSUER_PATH, fetch_from
from wingmanmatch_server.identity.user_tokens import PublishedKeys, UserTokens
from wingmanmatch_server.interceptors.identity import Guesses, Identity
from wingmanmatch_server.interceptors.peer import peer_address_behind
from wingmanmatch_server.settings import Settings

RELOAD_INTERVAL = 1.0  # seconds


@asynccontextmanager
async def open_identity(settings: Settings, guesses: Guesses | None = None) -> AsyncIterator[Identity]:
    """Make what tells callers apart, and follow the file of API keys. Raises ApiKeyError and OSError about it.

    Without `guesses` failed attempts are not charged.
    """
    peer_of = peer_address_behind(settings.proxy_networks)
    if not settings.authenticates:
        yield Identity(None, None, peer_of)
        return
    keys = ApiKeys(settings.api_keys, settings.api_keys_file)
    authenticator = Authenticator(modes_of(settings), keys, make_user_tokens(settings), time.time)

    async def follow() -> None:
        await asyncio.to_thread(keys.reload)

    async with background(repeat("reload_api_keys", follow, interval=RELOAD_INTERVAL)):
        yield Identity(authenticator, guesses, peer_of)


def modes_of(settings: Settings) -> Modes:
    """Return the kinds of credentials that the settings configure."""
    return Modes(
        api_keys=bool(settings.api_keys or settings.api_keys_file),
        user_tokens=bool(settings.supabase_jwt_secret or settings.supabase_url),
        certificates=settings.tls_client_ca_file is not None,
    )


def make_user_tokens(settings: Settings) -> UserTokens | None:
    """Return what verifies users' tokens, None where neither a secret nor a project is known."""
    secret, url = settings.supabase_jwt_secret, settings.supabase_url
    if secret is None and url is None:
        return None
    return UserTokens(
        secret=secret.get_secret_value() if secret else None,
        keys=PublishedKeys(fetch_from(url), time.monotonic) if url else None,
        issuer=url.rstrip("/") + ISSUER_PATH if url else None,
    )
