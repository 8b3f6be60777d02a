"""The cached catalogue beside a newer version of the server: each reads and writes its own."""

from collections.abc import AsyncIterator
from dataclasses import asdict

import orjson
import pytest

from support.challenges import Challenges, Replica
from support.page_tokens import PAGES
from support.redis_raw import raw_value
from wingmanmatch.challenge.v1 import challenge_service_pb2
from wingmanmatch_server.challenge.copies import FORMAT
from wingmanmatch_server.challenge.service import ChallengeService
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.redis import RedisServer, open_redis
from wingmanmatch_server.share_links import ShareLinks


@pytest.fixture
async def redis(engines: EmbeddedEngines) -> AsyncIterator[RedisServer]:
    """An empty database of Redis."""
    async with open_redis(f"{engines.redis_url}?db=12") as redis:
        await redis.client.flushdb()
        yield redis


async def test_newer_catalogue_is_neither_read_nor_overwritten(challenges: Challenges, redis: RedisServer) -> None:
    """With only a newer copy of the same catalogue the database is read, and that copy stays as it is."""
    replica, version = Replica(challenges, redis), (await challenges.store.list_challenges()).version
    newer = f"challenges:{FORMAT + 1}:{version}"
    await redis.client.set(newer, b'{"challenges": []}', px=60_000)
    before = await raw_value(redis, newer)
    read, again = await replica.catalogue.challenges(), await replica.catalogue.challenges()
    assert read == again == await challenges.catalogue()
    assert replica.places == ["database", "redis"]
    assert before.is_still(await raw_value(redis, newer))
    assert set(await redis.client.keys("*")) == {newer.encode(), f"challenges:{FORMAT}:{version}".encode()}


async def test_fields_of_a_newer_server_are_passed_over(challenges: Challenges, redis: RedisServer) -> None:
    """A copy of this version whose challenges have one field more is served without it, and stays as it is."""
    replica, version = Replica(challenges, redis), (await challenges.store.list_challenges()).version
    await replica.catalogue.challenges()
    richer = [asdict(each) | {"season": "SPRING"} for each in await challenges.catalogue()]
    key = f"challenges:{FORMAT}:{version}"
    await redis.client.set(key, orjson.dumps(richer), px=60_000)
    before = await raw_value(redis, key)
    service = ChallengeService(challenges.store, replica.catalogue, ShareLinks("challenge_sharing", []), PAGES)
    response = await service.list_challenges(challenge_service_pb2.ListChallengesRequest(), None)
    assert [each.id for each in response.challenges] == [each["id"] for each in richer[:20]]
    assert replica.places == ["database", "redis"]
    assert before.is_still(await raw_value(redis, key))
