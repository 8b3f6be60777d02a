"""Fetches the keys that a Supabase project publishes."""

from collections.abc import Mapping
from typing import Any

import aiohttp

from wingmanmatch_server.identity.user_tokens import FetchKeys

PATH = "/auth/v1/.well-known/jwks.json"
ISSUER_PATH = "/auth/v1"
TIMEOUT = aiohttp.ClientTimeout(total=3)


def fetch_from(supabase_url: str) -> FetchKeys:
    """Return what asks the project for its key set, raising OSError or TimeoutError if it can't be had."""
    url = supabase_url.rstrip("/") + PATH

    async def fetch() -> Mapping[str, Any]:
        try:
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT, raise_for_status=True) as session,
                session.get(url) as response,
            ):
                document: Mapping[str, Any] = await response.json()
                return document
        except (aiohttp.ClientError, ValueError) as error:
            raise OSError(type(error).__name__) from error

    return fetch
