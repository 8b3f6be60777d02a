"""Joins matching, with the erasure and the export of people, which reach into every area."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from prometheus_client import Gauge

from wingmanmatch_server.bootstrap.area import Area
from wingmanmatch_server.bootstrap.background import background
from wingmanmatch_server.bootstrap.challenge import make_share_links
from wingmanmatch_server.bootstrap.core import Core
from wingmanmatch_server.housekeeping import repeat
from wingmanmatch_server.matching.digests import PersonDigests
from wingmanmatch_server.matching.erasure import Erasure
from wingmanmatch_server.matching.export import Export
from wingmanmatch_server.matching.limits import PersonalLimits
from wingmanmatch_server.matching.service import MatchingService
from wingmanmatch_server.matching.store import MatchingStore
from wingmanmatch_server.matching.watch import MatchWatch
from wingmanmatch_server.ratelimit.limiter import Limiter
from wingmanmatch_server.texts.photo_addresses import PhotoAddresses

EXPIRY_INTERVAL = 30.0  # seconds
PURGE_INTERVAL = 600.0


@asynccontextmanager
async def open_matching(core: Core, others: Sequence[Area]) -> AsyncIterator[Area]:
    """Make what matches people. `others` say what they store of people outside the database."""
    store = MatchingStore(
        core.database,
        max_daily_matches=core.settings.max_daily_matches,
        digests=PersonDigests(core.signing_secrets),
    )
    watch = MatchWatch(store, core.database.follow)
    open_streams = Gauge("matching_watch_streams", "Open streams of WatchMatches.", registry=core.registry)
    open_streams.set_function(lambda: watch.stream_count)
    erasure = Erasure(store, {name: erase for area in others for name, erase in area.erasers.items()})
    export = Export(store, {kind: source for area in others for kind, source in area.sources.items()})
    links = make_share_links(core.settings, "match_sharing")
    photos = PhotoAddresses(core.settings.allowed_photo_hosts, core.settings.supabase_url)
    async with background(
        repeat("expire_matches", store.expire_matches, interval=EXPIRY_INTERVAL),
        repeat("purge_match_events", store.purge_events, interval=EXPIRY_INTERVAL),
        repeat("make_erasures_good", erasure.make_good, interval=EXPIRY_INTERVAL),
        repeat("purge_request_keys", store.purge_request_keys, interval=PURGE_INTERVAL),
        watch.run(),
    ):
        limits = make_personal_limits(core.charged)
        service = MatchingService(store, watch, erasure, export, core.time_zones, links, core.pages, photos, limits)
        yield Area(services={"wingmanmatch.matching.v1.MatchingService": service}, drains=[watch.drain])


def make_personal_limits(limiter: Limiter | None) -> PersonalLimits | None:
    """Return what limits people on the buckets of the rate limits; None where rate limiting is off."""
    if limiter is None:
        return None

    async def give_back(policy: str, user_id: str, caller: str) -> None:
        await limiter.refund([limiter.resolve(policy, user_id, 1, caller)])

    return PersonalLimits(limiter.spend, give_back)
