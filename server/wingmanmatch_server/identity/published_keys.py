"""The keys that a Supabase project publishes: fetched, kept and refreshed."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import jwt
import structlog

log = structlog.get_logger(__name__)

PATH = "/auth/v1/.well-known/jwks.json"
ISSUER_PATH = "/auth/v1"
TIMEOUT = aiohttp.ClientTimeout(total=3)
ASYMMETRIC = ("ES256", "RS256")
# Seconds after which the key set is fetched again: a key that is revoked is refused by then.
REFRESH_INTERVAL = 60.0
# A token may name any key. What it names must not make the server ask for keys at a stranger's pace.
MIN_REFRESH_INTERVAL = 30.0

FetchKeys = Callable[[], Awaitable[Mapping[str, Any]]]


class PublishedKeys:
    """A project's JSON Web Key Set. A key is trusted for as long as the set fetched last has it.

    `fetch` returns the document, and raises OSError or TimeoutError if it can't be had: then the keys known stay in
    force, for however long that lasts, or an outage of the project would log everybody out. `clock` returns monotonic
    seconds.
    """

    def __init__(self, fetch: FetchKeys, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._known: dict[str, jwt.PyJWK] = {}  # by what was published
        self._keys: dict[str, jwt.PyJWK] = {}  # by their ids
        self._asked_at: float | None = None
        self._answered_at: float | None = None
        self._asking = asyncio.Lock()

    @property
    def age(self) -> float | None:
        """Seconds since the key set was last fetched, None before the first time."""
        return None if self._answered_at is None else self._clock() - self._answered_at

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """Return a key by its id. One that is not known waits for a fetch under way, or starts one if that is due."""
        if key_id not in self._keys:
            async with self._asking:
                if key_id not in self._keys and self._is_due():
                    await self._refresh()
        return self._keys.get(key_id)

    def holds(self, key: jwt.PyJWK) -> bool:
        """Tell whether a key that `find` returned is still published."""
        return self._keys.get(key.key_id or "") is key

    async def refresh(self) -> None:
        """Fetch the key set."""
        async with self._asking:
            await self._refresh()

    def _is_due(self) -> bool:
        return self._asked_at is None or self._clock() - self._asked_at >= MIN_REFRESH_INTERVAL

    async def _refresh(self) -> None:
        self._asked_at = self._clock()
        try:
            documents = _documents(await self._fetch())
        except (OSError, TimeoutError, LookupError, TypeError) as error:
            log.warning("jwks_not_refreshed", error=type(error).__name__)
            return
        self._answered_at = self._clock()
        # A key that stays is the same object as before: tokens that it verified need not be verified again.
        keys = [self._known.get(each) or _usable(each) for each in documents]
        self._known = {each: key for each, key in zip(documents, keys, strict=True) if key is not None}
        self._keys = {key.key_id: key for key in self._known.values() if key.key_id}


def _documents(key_set: Mapping[str, Any]) -> list[str]:
    """Return each key of a set as canonical JSON. Raises LookupError and TypeError if it is no key set."""
    keys = key_set["keys"]
    if not isinstance(keys, list):
        raise TypeError
    return [json.dumps(key, sort_keys=True) for key in keys]


def _usable(document: str) -> jwt.PyJWK | None:
    """Return the key if users' tokens may be signed by it."""
    try:
        key = jwt.PyJWK.from_json(document)
    except (jwt.PyJWTError, LookupError, TypeError, ValueError, AttributeError):
        return None
    return key if key.algorithm_name in ASYMMETRIC else None


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
