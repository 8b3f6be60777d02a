"""Conversations beside a newer version of the server: what it writes is neither misread nor changed."""

import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from support.conversations import converse, create_store
from support.redis_raw import changed_keys, raw_contents, raw_value
from wingmanmatch_server import errors
from wingmanmatch_server.coaching.conversation_store import MOST, VERSION, ConversationStore
from wingmanmatch_server.drivers.redis import RedisServer, open_redis

ME = str(uuid.UUID(int=1))
NEWER = str(int(VERSION) + 1)
MILLISECOND = timedelta(milliseconds=1)

Plant = Callable[[RedisServer, str], Awaitable[object]]


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


def key_of(conversation_id: str) -> str:
    """Return the key of a conversation."""
    return f"coach:{{{ME}}}:conversation:{conversation_id}"


async def newer_with_our_fields(redis: RedisServer, key: str) -> None:
    """Make a conversation one of the next version that still has every field of this one."""
    await redis.client.hset(key, mapping={"v": NEWER, "mood": "calm"})


async def newer_with_other_fields(redis: RedisServer, key: str) -> None:
    """Make a conversation one of the next version that has none of this one's fields but `v`."""
    await redis.client.hdel(key, *await redis.client.hkeys(key))
    await redis.client.hset(key, mapping={"v": NEWER, "turns": "[]"})
    await redis.client.pexpire(key, 3_600_000)


async def without_a_version(redis: RedisServer, key: str) -> None:
    """Make a conversation one of no version."""
    await redis.client.hdel(key, "v")


every_unknown = pytest.mark.parametrize(
    "plant", [newer_with_our_fields, newer_with_other_fields, without_a_version], ids=lambda plant: plant.__name__
)


async def refused(call: Awaitable[object]) -> bool:
    """Tell whether a call is refused in the one way of records whose version is unknown."""
    with pytest.raises(errors.Unavailable) as raised:
        await call
    error = raised.value
    found = (error.reason, error.metadata, error.retry_after)
    return found == ("RECORD_VERSION_UNKNOWN", {"record": "conversation"}, 0.1)


@every_unknown
async def test_unknown_conversation_is_refused_and_left_as_it_is(
    redis: RedisServer, store: ConversationStore, plant: Plant
) -> None:
    """Whatever reads or continues it answers UNAVAILABLE and changes no byte and no expiry in the database."""
    known = await store.find(ME, await converse(store, ME))
    await plant(redis, key_of(known.id))
    before = await raw_contents(redis)
    assert await refused(store.find(ME, known.id))
    assert await refused(store.add(known, "And then?", "This.", minor=True))
    assert await refused(store.of_person(ME))
    assert await changed_keys(redis, before) == set()


@every_unknown
async def test_unknown_conversation_is_deleted(redis: RedisServer, store: ConversationStore, plant: Plant) -> None:
    """A person who deletes one deletes it whatever its version, and nothing of it remains in the index."""
    conversation_id, other = await converse(store, ME), await converse(store, ME)
    await plant(redis, key_of(conversation_id))
    await store.delete(ME, conversation_id)
    assert [each.id for each in await store.of_person(ME)] == [other]
    assert await redis.client.exists(key_of(conversation_id)) == 0


@every_unknown
async def test_unknown_conversations_end_with_their_person(
    redis: RedisServer, store: ConversationStore, plant: Plant
) -> None:
    """Erasing a person deletes conversations of any version, and counts them."""
    conversation_id = await converse(store, ME, minor=True)
    await converse(store, ME)
    await plant(redis, key_of(conversation_id))
    assert await store.delete_of_user(ME) == 2
    assert await redis.client.keys("*") == []


@every_unknown
async def test_unknown_conversation_gives_no_place_to_another(redis: RedisServer, plant: Plant) -> None:
    """Above the most, a known conversation goes in its stead, though the unknown one would be forgotten first."""
    start, moments = datetime.now(UTC), itertools.count()
    store = create_store(redis, lambda: start + next(moments) * MILLISECOND)
    unknown = await converse(store, ME)
    await plant(redis, key_of(unknown))
    before = await raw_value(redis, key_of(unknown))
    ids = [await converse(store, ME) for _ in range(MOST)]
    assert before.is_still(await raw_value(redis, key_of(unknown)))
    assert [await redis.client.exists(key_of(each)) for each in ids] == [0] + [1] * (MOST - 1)
    assert await redis.client.zcard(f"coach:{{{ME}}}:conversations") == MOST


async def test_fields_of_a_newer_server_survive(redis: RedisServer, store: ConversationStore) -> None:
    """What a newer server adds to a conversation of this version is still there after this server continues it."""
    known = await store.find(ME, await converse(store, ME))
    added = {b"mood": b"calm", b"topics": b"\x00\xff"}
    await redis.client.hset(key_of(known.id), mapping=added)
    assert await store.find(ME, known.id) == known
    assert await store.add(known, "And then?", "This.", minor=False)
    held = await redis.client.hgetall(key_of(known.id))
    assert {name: held[name] for name in added} == added
    assert len((await store.find(ME, known.id)).messages) == 4


async def test_minor_in_another_form_is_a_minor(redis: RedisServer, store: ConversationStore) -> None:
    """Whatever a newer server writes of a minor counts as one, and is not overwritten."""
    await redis.client.set(f"coach:{{{ME}}}:minor", "2:since=2026", px=2**40)
    before = await raw_value(redis, f"coach:{{{ME}}}:minor")
    known = await store.find(ME, await converse(store, ME, minor=True))
    assert known.minor
    assert before.is_still(await raw_value(redis, f"coach:{{{ME}}}:minor"))
