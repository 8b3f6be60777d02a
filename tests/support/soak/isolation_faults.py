"""Faults that some callers bring upon themselves, and that others must not notice."""

import asyncio
import time
from collections import Counter

from support.database_troubles import locked, slow_lists
from support.requests import join
from support.soak.fault import Check, Episode, Fault
from support.soak.main_site import MainSite
from support.soak.site import DATABASE_CALLS, ended_between
from support.timeline import Timeline, codes, p99
from wingmanmatch.matching.v1 import matching_service_pb2

LOCKED_FOR = 15.0  # seconds
CALM_FOR, SLOW_FOR = 5.0, 10.0
DELETED_FOR = 6.0
LOCK_CALLERS, SLOW_CALLERS, DELETING_CALLERS = 25, 8, 16
DEADLOCKS = "select sum(deadlocks)::int from pg_stat_database"
COUNTED_WITHIN = 2.0  # seconds in which a connection in use reports what it counted


def _ended_as(timeline: Timeline, expected: set[tuple[str, str]], what: str) -> Check:
    """Return whether calls ended by nothing else, and that there were some."""
    found = codes(timeline.calls)
    text = " ".join(f"{reason or code}:{count}" for (code, reason), count in sorted(found.items()))
    return Check(f"{what} {text}", bool(found) and set(found) <= expected)


async def locked_row(site: MainSite) -> Episode:
    """One person's row is locked while many change that person."""
    client, own = site.first.client, Timeline()
    person = await join(client)
    write = matching_service_pb2.UpsertProfileRequest(profile=person)
    until = time.monotonic() + LOCKED_FOR

    async def insist() -> None:
        while time.monotonic() < until:
            await own.call("locked", client.matching.UpsertProfile, write)

    async with locked(site.needs.postgres.dsn, person.user_id):
        await asyncio.gather(*(insist() for _ in range(LOCK_CALLERS)))
    checks = [_ended_as(own, {("ABORTED", "CONFLICT")}, "about the person")]
    return Episode(time.monotonic(), checks, own)


async def slow_queries(site: MainSite) -> Episode:
    """A list is so slow that each call of it holds its connection for as long as it may, eight at a time."""
    client, own = site.first.client, Timeline()
    people = [(await join(client)).user_id for _ in range(SLOW_CALLERS)]
    calm_since = time.monotonic()
    await asyncio.sleep(CALM_FOR)
    slow_since = time.monotonic()

    async def ask(user_id: str) -> None:
        request = matching_service_pb2.ListMatchesRequest(user_id=user_id)
        while time.monotonic() < slow_since + SLOW_FOR:
            await own.call("slow", client.matching.ListMatches, request, patience=10)

    async with slow_lists(site.needs.postgres.dsn):
        await asyncio.gather(*map(ask, people))
    end = time.monotonic()
    calm, beside = _p99(site, calm_since, slow_since), _p99(site, slow_since, end)
    text = f"p99 of others {beside * 1000:.0f} ms, without {calm * 1000:.0f} ms"
    checks = [_ended_as(own, {("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")}, "slow"), Check(text, beside <= 3 * calm)]
    return Episode(end, checks, own)


def _p99(site: MainSite, since: float, until: float) -> float:
    """Return the p99 of the calls of the database to the server that has the slow ones."""
    calls = ended_between(site.first.timeline, since, until)
    return p99([call for call in calls if call.kind in DATABASE_CALLS])


async def upsert_and_delete(site: MainSite) -> Episode:
    """One person is written and deleted by many at once."""
    client, postgres, own = site.first.client, site.needs.postgres, Timeline()
    before = await postgres.fetch_value(DEADLOCKS)
    person = await join(client)
    write = matching_service_pb2.UpsertProfileRequest(profile=person)
    delete = matching_service_pb2.DeleteProfileRequest(user_id=person.user_id)
    until = time.monotonic() + DELETED_FOR

    async def go_on(number: int) -> None:
        while time.monotonic() < until:
            if number % 2:
                await own.call("upsert", client.matching.UpsertProfile, write)
            else:
                await own.call("delete", client.matching.DeleteProfile, delete)

    await asyncio.gather(*map(go_on, range(DELETING_CALLERS)))
    end = time.monotonic()
    await asyncio.sleep(COUNTED_WITHIN)
    deadlocks = await postgres.fetch_value(DEADLOCKS) - before
    ended = Counter(call.code for call in own.calls)
    return Episode(end, [Check(f"deadlocks {deadlocks} in {ended.total()} calls", not deadlocks)], own)


FAULTS = (
    Fault("locked-row", "others: 0 failed; 25 callers get CONFLICT", locked_row, changes=0),
    Fault("slow-queries", "DEADLINE_EXCEEDED; p99 of others at most thrice", slow_queries, changes=0),
    Fault("upsert-delete", "0 deadlocks; others: 0 failed", upsert_and_delete, changes=0),
)
