"""One server on dependencies of other kinds, and the faults of these."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from grpc_health.v1 import health_pb2

from support.postgres_pair import DATABASE, SUPERUSER, PostgresServer, primary_and_standby
from support.redis_cluster import redis_cluster
from support.redis_sentinel import Watched, watched_servers
from support.redis_slots import MovingSlots, moving_slots
from support.session_load import Sessions
from support.soak.database_faults import DEMOTED_FOR, PROMOTE, no_standby
from support.soak.fault import Check, Episode, Fault
from support.soak.site import DATABASE_CALLS, REDIS_CALLS, Site
from support.soak.watching import DROPPED_LINES, samples
from support.timeline import Timeline, accepts_writes, seconds_to_deliver
from wingmanmatch.matching.v1 import matching_service_pb2

SESSION_CALLERS = 5
BEFORE, AFTER = 1.0, 11.0  # seconds; a sentinel demotes the old primary ten seconds after the switch
MOVES_FOR = 8.0
LOG_CALLERS, LOG_LINES = 16, 8000  # more than a pipe and the queue of the log hold
UNREAD_FOR = 30.0  # seconds, at most
RESTARTED_WITHIN = 10.0


@dataclass
class HostsSite(Site):
    """A server whose DATABASE_URL has a primary and its standby."""

    pair: tuple[PostgresServer, PostgresServer] | None = None


@asynccontextmanager
async def hosts_site(folder: Path) -> AsyncIterator[HostsSite]:
    """Yield it under load."""
    async with AsyncExitStack() as stack:
        site = HostsSite(stack, folder)
        site.pair = await stack.enter_async_context(primary_and_standby())
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in site.pair)
        await site.start(DATABASE_URL=f"postgresql://{SUPERUSER}@{hosts}/{DATABASE}?target_session_attrs=read-write")
        yield site


async def promoted(site: HostsSite) -> Episode:
    """The primary is killed, and its standby promoted seconds later."""
    assert site.pair
    primary, standby = site.pair
    killed = time.monotonic()
    await asyncio.to_thread(primary.kill)
    await asyncio.sleep(DEMOTED_FOR - (time.monotonic() - killed))
    accepting = asyncio.create_task(accepts_writes(standby.dsn))
    await standby.execute(PROMOTE)
    back = await accepting
    seconds = await seconds_to_deliver(site.first.client, standby.dsn)
    return Episode(back, [Check(f"email {seconds:.1f} s after (at most 3)", seconds <= 3)])


@dataclass
class SentinelSite(Site):
    """A server whose Redis is found by a sentinel."""

    watched: Watched | None = None


@asynccontextmanager
async def sentinel_site(folder: Path) -> AsyncIterator[SentinelSite]:
    """Yield it under load."""
    async with AsyncExitStack() as stack:
        site = SentinelSite(stack, folder)
        site.watched = await stack.enter_async_context(watched_servers(folder))
        await site.start(REDIS_URL=site.watched.url)
        yield site


async def switched(site: SentinelSite) -> Episode:
    """An operator asks the sentinel for a failover while sessions are opened."""
    assert site.watched
    sessions = Sessions(site.first)
    callers = [asyncio.create_task(sessions.go_on()) for _ in range(SESSION_CALLERS)]
    await asyncio.sleep(BEFORE)
    await site.watched.fail_over_as_planned()
    moment = time.monotonic()
    await asyncio.sleep(AFTER)
    sessions.end()
    await asyncio.gather(*callers)
    after = sum(started > moment for started, _ in sessions.acknowledged)
    lost = await sessions.lost()
    lost_after = sum(started > moment for started in lost)
    text = f"lost {lost_after} of {after} sessions after the switch, {len(lost) - lost_after} before"
    return Episode(moment, [Check(text, after > 0 and not lost_after)])


@dataclass
class ClusterSite(Site):
    """A server on a Redis Cluster."""

    slots: MovingSlots | None = None


@asynccontextmanager
async def cluster_site(folder: Path) -> AsyncIterator[ClusterSite]:
    """Yield it under load."""
    async with AsyncExitStack() as stack:
        site = ClusterSite(stack, folder)
        url = await stack.enter_async_context(redis_cluster(folder))
        site.slots = await stack.enter_async_context(moving_slots(url))
        await site.start(REDIS_URL=url)
        yield site


async def moved(site: ClusterSite) -> Episode:
    """Slots move from node to node, key by key, while sessions are opened, read and changed."""
    assert site.slots
    sessions = Sessions(site.first)
    callers = [asyncio.create_task(sessions.go_on()) for _ in range(SESSION_CALLERS)]
    until = time.monotonic() + MOVES_FOR
    while time.monotonic() < until:
        await site.slots.move_some()
    sessions.end()
    await asyncio.gather(*callers)
    lost = await sessions.lost()
    text = f"{site.slots.moved} slots moved; of {len(sessions.acknowledged)} sessions {len(lost)} lost"
    checks = [Check(text, site.slots.moved > 0 and not lost), Check(f"{sessions.failed} failed", not sessions.failed)]
    return Episode(time.monotonic(), checks)


@asynccontextmanager
async def embedded_site(folder: Path) -> AsyncIterator[Site]:
    """Yield a server with its own engines, under load."""
    async with AsyncExitStack() as stack:
        site = Site(stack, folder)
        await site.start()
        yield site


@asynccontextmanager
async def unread_site(folder: Path) -> AsyncIterator[Site]:
    """Yield a server with its own engines and a standard error that is a pipe nobody reads, under load."""
    async with AsyncExitStack() as stack:
        site = Site(stack, folder)
        await site.start(log=False, LOG_FORMAT="json")
        yield site


async def unread(site: Site) -> Episode:
    """Callers make the server log more than a pipe and a queue hold."""
    client, own, until = site.first.client, Timeline(), time.monotonic() + UNREAD_FOR
    request = matching_service_pb2.GetMatchRequest(match_id="none")

    async def go_on() -> None:
        while len(own.calls) < LOG_LINES and time.monotonic() < until:
            await own.call("refused", client.matching.GetMatch, request)

    await asyncio.gather(*(go_on() for _ in range(LOG_CALLERS)))
    end = time.monotonic()
    await own.call("liveness", client.health.Check, health_pb2.HealthCheckRequest(service="liveness"))
    ended = {(call.kind, call.code) for call in own.calls}
    checks = [Check(f"ended {sorted(ended)}", ended == {("refused", "INVALID_ARGUMENT"), ("liveness", "OK")})]
    try:
        dropped = (await samples(site.first.served.metrics, DROPPED_LINES)).total()
    except OSError:
        checks.append(Check("metrics do not answer", holds=False))
    else:
        checks.append(Check(f"{dropped} lines dropped of {len(own.calls)}", dropped > 0))
    return Episode(end, checks, own)


def killed(program: str) -> Callable[[Site], Awaitable[Episode]]:
    """Return the fault in which the server's own engine of such a name is killed."""

    async def cause(site: Site) -> Episode:
        (engine,) = _engines(site, program)
        engine.kill()
        end = time.monotonic()
        again = False
        while not again and time.monotonic() < end + RESTARTED_WITHIN:
            await asyncio.sleep(0.1)
            again = any(each.pid != engine.pid for each in _engines(site, program))
        return Episode(end, [Check("another process", again)])

    return cause


def _engines(site: Site, program: str) -> list[psutil.Process]:
    """Return the processes of such a name below the server whose parent has another name."""
    found = []
    for each in psutil.Process(site.first.served.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            parent = each.parent()
            if each.name() == program and each.status() != psutil.STATUS_ZOMBIE and parent:
                found += [each] if parent.name() != program else []
    return found


PROMOTED = Fault(
    "postgres-promoted", "served 3 s after the promotion", promoted, recovery=3, may_fail=DATABASE_CALLS,
    missing=no_standby,
)  # fmt: skip
SWITCHED = Fault(
    "sentinel-failover", "nothing acknowledged after the switch is lost", switched, recovery=2, may_fail=REDIS_CALLS
)
MOVED = Fault("cluster-slots", "0 failed", moved, changes=0)
UNREAD = Fault("stderr-unread", "0 failed; lines are dropped and counted", unread, changes=0)
KILLED = (
    Fault(
        "valkey-killed", f"started again; served {RESTARTED_WITHIN:g} s after",
        killed("valkey-server"), recovery=RESTARTED_WITHIN, may_fail=REDIS_CALLS,
    ),
    Fault(
        "postgres-killed", f"started again; served {RESTARTED_WITHIN:g} s after",
        killed("postgres"), recovery=RESTARTED_WITHIN, may_fail=DATABASE_CALLS,
    ),
)  # fmt: skip
