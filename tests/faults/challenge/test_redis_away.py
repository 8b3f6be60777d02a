"""The catalogue while Redis is killed or stopped, and once it is back."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.challenges import Challenges, Replica, open_challenges
from support.databases import fresh_database
from support.requests import TIMEOUT
from support.server import serving_application
from support.valkey import OwnValkey, own_valkey
from wingmanmatch.challenge.v1 import challenge_service_pb2 as pb
from wingmanmatch_server.bootstrap.breakers import REDIS_LIMITS
from wingmanmatch_server.drivers.redis import open_redis
from wingmanmatch_server.resilience.breaker import State

CALLERS = 100


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    """A Valkey of the test's own."""
    with own_valkey(tmp_path) as valkey:
        yield valkey


@pytest.fixture
async def challenges(admin_dsn: str) -> AsyncIterator[Challenges]:
    """A catalogue of the test's own."""
    async with open_challenges(admin_dsn, "postgres") as challenges:
        yield challenges


async def crowd(replica: Replica) -> None:
    """Let many ask at once, who all get the catalogue."""
    found = await asyncio.gather(*(replica.catalogue.challenges() for _ in range(CALLERS)))
    assert all(len(each) >= 24 for each in found)


async def test_killed_and_started_again(valkey: OwnValkey, challenges: Challenges) -> None:
    """A crowd costs one read of the database, with the breaker closed, open, and closed again."""
    async with open_redis(valkey.url) as redis:
        replica = Replica(challenges, redis)
        await crowd(replica)
        valkey.kill()
        for _ in range(5):
            await crowd(replica)
        assert replica.places == ["database"] * 6
        assert replica.breaker.state is State.OPEN
        valkey.start()
        await crowd(replica)
        replica.now += REDIS_LIMITS.recovery
        await crowd(replica)
        await crowd(replica)
        assert replica.breaker.state is State.CLOSED
        # The first of the three was not let through to Redis; the second may have found that the copy was lost.
        assert (replica.places[6], replica.places[8]) == ("database", "redis")


async def test_stopped_and_continued(valkey: OwnValkey, challenges: Challenges) -> None:
    """One that hangs costs the crowd one wait, a few times, and after that none: then nobody asks it."""
    async with open_redis(valkey.url) as redis:
        replica = Replica(challenges, redis)
        valkey.send(signal.SIGSTOP)
        try:
            for _ in range(5):
                await crowd(replica)
            assert replica.breaker.state is State.OPEN
            assert replica.source.reads == 5
        finally:
            valkey.send(signal.SIGCONT)


async def test_copy_from_before_an_outage(valkey: OwnValkey, challenges: Challenges) -> None:
    """What changed while Redis hung is not undone by the copy that still lies there."""
    async with open_redis(valkey.url) as redis:
        replica = Replica(challenges, redis)
        await replica.titles()
        valkey.send(signal.SIGSTOP)
        try:
            await challenges.add("Came in the outage")
            replica.catalogue.changed()
            assert "Came in the outage" in await replica.titles()
        finally:
            valkey.send(signal.SIGCONT)
        replica.now += REDIS_LIMITS.recovery
        for _ in range(3):
            assert "Came in the outage" in await replica.titles()


async def test_server_goes_on(valkey: OwnValkey, admin_dsn: str, tmp_path: Path) -> None:
    """Callers of a server whose Redis is stopped, and then killed, get the catalogue within their deadlines."""
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_application(dsn, valkey.url, tmp_path / "server") as client,
    ):
        request = pb.ListChallengesRequest(page_size=100)
        before = await client.challenge.ListChallenges(request, timeout=TIMEOUT)
        valkey.send(signal.SIGSTOP)
        found = await asyncio.gather(*(client.challenge.ListChallenges(request, timeout=TIMEOUT) for _ in range(20)))
        assert all(each == before for each in found)
        valkey.send(signal.SIGCONT)
        valkey.kill()
        wanted = pb.GetChallengeRequest(challenge_id=before.challenges[0].id)
        answer = await client.challenge.GetChallenge(wanted, timeout=TIMEOUT)
        assert answer.challenge == before.challenges[0]
