"""Joins what tells callers apart."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from wingmanmatch_server.bootstrap.background import background
from wingmanmatch_server.housekeeping import repeat
from wingmanmatch_server.identity.api_keys import ApiKeys
from wingmanmatch_server.identity.authenticator import Authenticator, Modes
from wingmanmatch_server.identity.published_keys import ISSUER_PATH, REFRESH_INTERVAL, PublishedKeys, fetch_from
from wingmanmatch_server.identity.user_tokens import TokenRules, UserTokens
from wingmanmatch_server.interceptors.identity import Guesses, Identity
from wingmanmatch_server.interceptors.peer import peer_address_behind
from wingmanmatch_server.settings import Settings

RELOAD_INTERVAL = 1.0  # seconds

Sleep = Callable[[float], Awaitable[object]]


@asynccontextmanager
async def open_identity(
    settings: Settings,
    guesses: Guesses | None = None,
    registry: CollectorRegistry | None = None,
    *,
    sleep: Sleep = asyncio.sleep,
) -> AsyncIterator[Identity]:
    """Make what authenticates callers, and follow the file of API keys and the project's published keys.

    Without `guesses` failed attempts are not charged. `sleep` takes seconds. Raises ApiKeyError and OSError about the
    file.
    """
    peer_of = peer_address_behind(settings.proxy_networks)
    if not settings.authenticates:
        yield Identity(None, None, peer_of)
        return
    keys = ApiKeys(settings.api_keys, settings.api_keys_file)
    published = make_published_keys(settings, registry)
    authenticator = Authenticator(modes_of(settings), keys, make_user_tokens(settings, published))
    identity = Identity(authenticator, guesses, peer_of)
    async with background(*_following(keys, published, identity, sleep)):
        yield identity


def _following(
    keys: ApiKeys, published: PublishedKeys | None, identity: Identity, sleep: Sleep
) -> Iterator[Coroutine[Any, Any, None]]:
    async def reload() -> None:
        if await asyncio.to_thread(keys.reload):
            identity.recheck_streams()

    yield repeat("reload_api_keys", reload, interval=RELOAD_INTERVAL, sleep=sleep)
    if published is None:
        return

    async def refresh() -> None:
        await published.refresh()
        identity.recheck_streams()

    yield repeat("refresh_published_keys", refresh, interval=REFRESH_INTERVAL, sleep=sleep)


def modes_of(settings: Settings) -> Modes:
    """Return the kinds of credentials that the settings configure."""
    return Modes(
        api_keys=bool(settings.api_keys or settings.api_keys_file),
        user_tokens=bool(settings.supabase_jwt_secret or settings.supabase_url),
        certificates=settings.tls_client_ca_file is not None,
    )


def make_published_keys(settings: Settings, registry: CollectorRegistry | None) -> PublishedKeys | None:
    """Return the keys that the project publishes, None where no project is known."""
    if settings.supabase_url is None:
        return None
    published = PublishedKeys(fetch_from(settings.supabase_url), time.monotonic)
    if registry is not None:
        age = Gauge("wingmanmatch_jwks_age_seconds", "Age of the published keys in force.", registry=registry)
        age.set_function(lambda: math.inf if published.age is None else published.age)
    return published


def make_user_tokens(settings: Settings, published: PublishedKeys | None) -> UserTokens | None:
    """Return what verifies users' tokens, None where neither a secret nor a project is known."""
    secret, url = settings.supabase_jwt_secret, settings.supabase_url
    if secret is None and url is None:
        return None
    rules = TokenRules(
        issuer=url.rstrip("/") + ISSUER_PATH if url else None,
        max_lifetime=settings.max_token_lifetime,
        allow_anonymous=settings.allow_anonymous_users,
    )
    return UserTokens(secret=secret.get_secret_value() if secret else None, keys=published, rules=rules, now=time.time)
