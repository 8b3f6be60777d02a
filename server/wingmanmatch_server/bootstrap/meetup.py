"""Joins meet-ups."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wingmanmatch_server.bootstrap.area import Area
from wingmanmatch_server.bootstrap.background import background
from wingmanmatch_server.bootstrap.core import Core
from wingmanmatch_server.housekeeping import repeat
from wingmanmatch_server.meetup.service import MeetupService
from wingmanmatch_server.meetup.store import MeetupStore

EXPIRY_INTERVAL = 30.0  # seconds


@asynccontextmanager
async def open_meetups(core: Core) -> AsyncIterator[Area]:
    """Make what serves meet-ups, and end those that nobody answered for."""
    store = MeetupStore(core.database)
    async with background(repeat("expire_meetups", store.expire_meetups, interval=EXPIRY_INTERVAL)):
        yield Area(services={"wingmanmatch.meetup.v1.MeetupService": MeetupService(store, core.pages)})
