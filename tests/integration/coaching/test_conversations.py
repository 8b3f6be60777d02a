"""Conversations in real servers: what is kept, for how long, and what goes with what."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from support.conversations import TTL, converse, create_store
from support.redis_cluster import redis_cluster
from wingmanmatch_server import errors
from wingmanmatch_server.coaching.conversation_store import MOST, UNANSWERED, ConversationStore
from wingmanmatch_server.coaching.model import Author
from wingmanmatch_server.drivers.redis import RedisServer, open_redis

ME, OTHER = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
MILLISECOND = timedelta(milliseconds=1)
SLACK = timedelta(minutes=1)


@pytest.fixture
async def redis(any_redis_url: str) -> AsyncIterator[RedisServer]:
    """An empty database of a real server."""
    async with open_redis(f"{any_redis_url}?db=10") as redis:
        await redis.client.flushdb()
        yield redis


@pytest.fixture
def store(redis: RedisServer) -> ConversationStore:
    """A store on the empty database."""
    return create_store(redis)


async def life(redis: RedisServer, key: str) -> timedelta:
    """Return how long a key has to live."""
    return int(await redis.client.pttl(key)) * MILLISECOND


async def is_there(store: ConversationStore, user_id: str, conversation_id: str) -> bool:
    """Tell whether a conversation is remembered."""
    try:
        await store.find(user_id, conversation_id)
    except errors.NotFound:
        return False
    return True


async def test_new_conversation_is_not_stored_before_it_begins(store: ConversationStore, redis: RedisServer) -> None:
    """It waits for its first answer for minutes, and afterwards lives as long as any."""
    new = await store.find(ME, None)
    assert (new.version, await redis.client.dbsize()) == (0, 0)
    begun = await store.begin(new)
    key = f"coach:{{{ME}}}:conversation:{begun.id}"
    assert UNANSWERED - SLACK < await life(redis, key) <= UNANSWERED
    assert await store.add(begun, "Hello?", "Hello!", minor=False)
    assert TTL - SLACK < await life(redis, key) <= TTL
    assert TTL - SLACK < await life(redis, f"coach:{{{ME}}}:conversations") <= TTL


async def test_everything_kept_comes_back(store: ConversationStore) -> None:
    """Messages with their authors and times, in their order, for their person alone."""
    conversation_id = await converse(store, ME, "Grüße 👋\n\u2028")
    kept = await store.find(ME, conversation_id)
    assert [(each.author, each.text) for each in kept.messages] == [
        (Author.PERSON, "Grüße 👋\n\u2028"),
        (Author.COACH, "Hello!"),
    ]
    assert kept.create_time <= kept.update_time == kept.messages[0].create_time
    assert kept.expire_time == kept.update_time + TTL
    assert not await is_there(store, OTHER, conversation_id)


async def test_exchanges_at_once_are_all_kept(store: ConversationStore) -> None:
    """Whoever is slower adds to what the faster one left."""
    known = await store.find(ME, await converse(store, ME))
    await asyncio.gather(*(store.add(known, f"Question {number}", "Answer", minor=False) for number in range(6)))
    kept = await store.find(ME, known.id)
    asked = {each.text for each in kept.messages if each.author is Author.PERSON}
    assert asked == {"Hello?", *(f"Question {number}" for number in range(6))}


async def test_one_above_the_most_takes_the_place_of_another(redis: RedisServer) -> None:
    """Of the one that would be forgotten first, and not its own, though it lives for minutes only at first."""
    start, moments = datetime.now(UTC), itertools.count()
    store = create_store(redis, lambda: start + next(moments) * MILLISECOND)
    ids = [await converse(store, ME) for _ in range(MOST + 2)]
    there = [await is_there(store, ME, each) for each in ids]
    assert there == [False] * 2 + [True] * MOST
    assert await redis.client.dbsize() == MOST + 1


async def test_forgotten_ones_leave_the_list(redis: RedisServer) -> None:
    """What Redis expired takes no place any more."""
    now = [datetime.now(UTC)]
    store = create_store(redis, lambda: now[0])
    first = await converse(store, ME)
    now[0] += TTL + SLACK
    second = await converse(store, ME)
    assert await redis.client.zrange(f"coach:{{{ME}}}:conversations", 0, -1) == [second.encode()]
    assert first != second


async def test_deleted_conversation_is_not_written_again(store: ConversationStore) -> None:
    """An answer that was under way is lost with it."""
    conversation_id = await converse(store, ME)
    known = await store.find(ME, conversation_id)
    await store.delete(ME, conversation_id)
    assert not await store.add(known, "Still there?", "Yes.", minor=False)
    assert await store.of_person(ME) == []


async def test_minor_is_known_in_every_conversation(store: ConversationStore, redis: RedisServer) -> None:
    """Whoever said so once need not say so again, until nothing of them is kept; and one who begins keeps it."""
    known = await store.find(ME, await converse(store, ME, minor=True))
    await store.begin(await store.find(ME, None))
    assert (known.minor, (await store.find(ME, None)).minor) == (True, True)
    assert TTL - SLACK < await life(redis, f"coach:{{{ME}}}:minor") <= TTL
    assert not (await store.find(OTHER, None)).minor
    await store.delete(ME, known.id)
    assert (await store.find(ME, None)).minor
    await store.delete_of_user(ME)
    assert not (await store.find(ME, None)).minor


async def test_whole_person_is_forgotten(store: ConversationStore, redis: RedisServer) -> None:
    """And nobody else."""
    for _ in range(3):
        await converse(store, ME, minor=True)
    other = await converse(store, OTHER)
    assert await store.delete_of_user(ME) == 3
    assert await store.delete_of_user(ME) == 0
    assert {key.decode() for key in await redis.client.keys()} == {
        f"coach:{{{OTHER}}}:conversation:{other}",
        f"coach:{{{OTHER}}}:conversations",
    }


async def test_of_person_has_what_was_said(store: ConversationStore) -> None:
    """One that waits for its first answer holds nothing yet."""
    ids = {await converse(store, ME, f"Question {number}") for number in range(3)}
    await store.begin(await store.find(ME, None))
    assert {each.id for each in await store.of_person(ME)} == ids
    assert await store.of_person(OTHER) == []


async def test_every_method_on_a_cluster(tmp_path_factory: pytest.TempPathFactory) -> None:
    """People whose keys live on different nodes have the same conversations as on one server."""
    async with redis_cluster(tmp_path_factory.mktemp("cluster")) as url, open_redis(url) as cluster:
        store = create_store(cluster)
        for number in range(24):
            user_id = str(uuid.UUID(int=number))
            ids = [await converse(store, user_id, minor=True) for _ in range(2)]
            await store.delete(user_id, ids[0])
            assert [each.id for each in await store.of_person(user_id)] == ids[1:]
            assert await store.delete_of_user(user_id) == 1
            assert not await is_there(store, user_id, ids[1])
