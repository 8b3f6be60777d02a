"""Joins challenges: their catalogue, with copies in Redis, and the links by which people show them."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from prometheus_client import CollectorRegistry, Counter

from wingmanmatch_server.bootstrap.area import Area
from wingmanmatch_server.bootstrap.background import background
from wingmanmatch_server.bootstrap.core import Core
from wingmanmatch_server.bootstrap.signing import signing_secrets
from wingmanmatch_server.challenge.catalogue import CHANNEL, Catalogue
from wingmanmatch_server.challenge.copies import RedisCopies
from wingmanmatch_server.challenge.service import ChallengeService
from wingmanmatch_server.challenge.store import ChallengeStore
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.housekeeping import repeat
from wingmanmatch_server.paging import PageTokens
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.share_links import ShareLinks

COPIES_TTL = timedelta(minutes=10)
CHECK_INTERVAL = 10.0  # seconds
PURGE_INTERVAL = 600.0


@asynccontextmanager
async def open_challenge_area(core: Core) -> AsyncIterator[Area]:
    """Make what serves challenges, and follow the changes of the catalogue."""
    async with open_challenges(
        core.settings, core.database, core.redis, core.breakers["catalogue_cache"], core.registry, core.pages
    ) as service:
        yield Area(services={"wingmanmatch.challenge.v1.ChallengeService": service})


@asynccontextmanager
async def open_challenges(
    settings: Settings,
    database: Database,
    redis: RedisServer,
    breaker: Breaker,
    registry: CollectorRegistry,
    pages: PageTokens,
    *,
    check_interval: float = CHECK_INTERVAL,
) -> AsyncIterator[ChallengeService]:
    """Make what serves challenges, and follow the changes of the catalogue. `breaker` is that of the cache in Redis.

    Where the database cannot tell of changes, it is asked every `check_interval` seconds.
    """
    reads = Counter(
        "challenge_catalogue_reads", "Reads of the catalogue, by where it was found.", ["place"], registry=registry
    )
    store = ChallengeStore(database, duration_days=settings.challenge_duration_days)
    catalogue = Catalogue(
        store,
        RedisCopies(redis, breaker, ttl=COPIES_TTL),
        time.monotonic,
        on_read=lambda place: reads.labels(place).inc(),
    )
    async with AsyncExitStack() as stack:
        stop_listening = await database.listen(CHANNEL, catalogue.changed)
        if stop_listening is None:
            check = repeat("check_catalogue", catalogue.check, interval=check_interval)
            await stack.enter_async_context(background(check))
        else:
            stack.push_async_callback(stop_listening)
        purge = repeat("purge_share_links", store.purge_share_links, interval=PURGE_INTERVAL)
        await stack.enter_async_context(background(purge))
        yield ChallengeService(store, catalogue, make_share_links(settings, "challenge_sharing"), pages)


def make_share_links(settings: Settings, feature: str) -> ShareLinks:
    """Return the links of match_sharing or of challenge_sharing."""
    return ShareLinks(feature, [] if settings.why_not_shared(feature) else signing_secrets(settings))
