"""The catalogue in Redis: read once for many, gone after ten minutes, and never older than the last change heard of."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from support.challenges import Challenges, Replica
from wingmanmatch_server import errors
from wingmanmatch_server.challenge.rows import ChallengeList
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.redis import RedisServer, open_redis

CALLERS = 200


@pytest.fixture
async def redis(engines: EmbeddedEngines) -> AsyncIterator[RedisServer]:
    """An empty database of Redis."""
    async with open_redis(f"{engines.redis_url}?db=12") as redis:
        await redis.client.flushdb()
        yield redis


@pytest.fixture
def replica(challenges: Challenges, redis: RedisServer) -> Replica:
    """A process."""
    return Replica(challenges, redis)


async def test_many_at_once_read_once(replica: Replica) -> None:
    """Two hundred callers cause one call of the database, and the next two hundred one of Redis."""
    first = await asyncio.gather(*(replica.catalogue.challenges() for _ in range(CALLERS)))
    again = await asyncio.gather(*(replica.catalogue.challenges() for _ in range(CALLERS)))
    assert replica.places == ["database", "redis"]
    assert all(each == first[0] for each in first + again)


async def test_copy_is_kept_ten_minutes(replica: Replica, redis: RedisServer) -> None:
    """The copy ends by itself; then the database is asked once, by however many."""
    await replica.catalogue.challenges()
    (key,) = await redis.client.keys("challenges:*")
    assert 590_000 < await redis.client.pttl(key) <= 600_000
    await redis.client.delete(key)
    await asyncio.gather(*(replica.catalogue.challenges() for _ in range(CALLERS)))
    assert replica.places == ["database", "database"]
    assert await redis.client.pttl(key) > 590_000


async def test_copy_that_expires(challenges: Challenges, redis: RedisServer) -> None:
    """Redis itself forgets it."""
    replica = Replica(challenges, redis, ttl=timedelta(milliseconds=20))
    await replica.catalogue.challenges()
    async with asyncio.timeout(10):
        while await redis.client.keys("challenges:*"):
            await asyncio.sleep(0.01)
    await replica.catalogue.challenges()
    assert replica.places == ["database", "database"]


async def test_replicas_share_the_copy(challenges: Challenges, redis: RedisServer) -> None:
    """What one process stored the others find, once they know which version is in use."""
    one, other = Replica(challenges, redis), Replica(challenges, redis)
    for each in (one, other, one, other):
        await each.catalogue.challenges()
    assert (one.places, other.places) == (["database", "redis"], ["database", "redis"])
    assert len(await redis.client.keys("challenges:*")) == 1


async def test_change_is_seen_by_whoever_hears_of_it(challenges: Challenges, replica: Replica) -> None:
    """After a change nobody who asks gets the old catalogue, though its copy still lies in Redis."""
    await replica.titles()
    await challenges.add("Heard of")
    assert "Heard of" not in await replica.titles()
    replica.catalogue.changed()
    assert "Heard of" in await replica.titles()
    await challenges.sql.execute("update approach_challenges set retired = true where title = 'Heard of'")
    replica.catalogue.changed()
    assert "Heard of" not in await replica.titles()
    assert replica.places == ["database", "redis", "database", "database"]


async def test_slow_reader_leaves_nothing_old_behind(challenges: Challenges, replica: Replica) -> None:
    """Who read before a change and stores after it stores under the old version: the others get the new one."""
    release = replica.source.hold()
    slow = asyncio.create_task(replica.titles())
    await replica.source.answered.wait()
    await challenges.add("Came between")
    replica.catalogue.changed()
    replica.source.let_through()
    assert "Came between" in await replica.titles()
    release()
    assert "Came between" not in await slow
    assert "Came between" in await replica.titles()
    assert replica.places[-1] == "redis"


async def test_check_notices_a_change(challenges: Challenges, replica: Replica) -> None:
    """Where nothing tells of changes the version is asked for; what did not change is not read again."""
    await replica.catalogue.check()
    await replica.titles()
    await replica.catalogue.check()
    await replica.titles()
    assert (replica.source.reads, replica.source.checks) == (1, 1)
    await challenges.add("Noticed")
    await replica.catalogue.check()
    assert "Noticed" in await replica.titles()


async def test_caller_who_leaves_takes_nothing_along(replica: Replica) -> None:
    """The one whose call caused the read may give up: those who wait with it get the catalogue."""
    release = replica.source.hold()
    first = asyncio.create_task(replica.titles())
    await replica.source.answered.wait()
    second = asyncio.create_task(replica.titles())
    await asyncio.sleep(0)
    first.cancel()
    release()
    assert await second
    assert replica.source.reads == 1


async def test_failure_is_shared_and_not_kept(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """All who wait learn that the database is away; the next caller asks anew."""
    away = errors.Unavailable("DATABASE_UNAVAILABLE", "the database does not answer")
    asked = []

    async def fail() -> ChallengeList:
        asked.append("asked")
        await asyncio.sleep(0)
        raise away

    with monkeypatch.context() as patch:
        patch.setattr(replica.source, "list_challenges", fail)
        failures = await asyncio.gather(*(replica.titles() for _ in range(CALLERS)), return_exceptions=True)
    assert failures == [away] * CALLERS
    assert len(asked) == 1
    assert await replica.titles()


async def test_catalogue_is_the_anonymous_roles(challenges: Challenges) -> None:
    """It is read by the role that row level security binds: what its policy hides is not in it."""
    assert await challenges.catalogue()
    await challenges.sql.execute('drop policy "Everybody reads the catalogue" on approach_challenges')
    try:
        assert await challenges.catalogue() == ()
    finally:
        await challenges.sql.execute(
            """create policy "Everybody reads the catalogue" on approach_challenges
            for select to anon, authenticated using (not retired)"""
        )
    assert await challenges.catalogue()
