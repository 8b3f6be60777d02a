"""Sessions beside a newer version of the server: what it writes is neither misread nor changed."""

import uuid
from collections.abc import Awaitable, Callable

import pytest

from support.redis_raw import changed_keys, raw_contents
from support.sessions import HOUR, create_store, session_of
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.session.keys import creation_key, session_key, update_key, user_key
from wingmanmatch_server.session.store import FIELDS, SESSION_VERSION, SessionStore

USER = str(uuid.UUID(int=1))
REQUEST = str(uuid.UUID(int=7))
NEWER = str(int(SESSION_VERSION) + 1)

Plant = Callable[[RedisServer, str], Awaitable[object]]


async def newer_with_our_fields(redis: RedisServer, key: str) -> None:
    """Make a session one of the next version that still has every field of this one."""
    await redis.client.hset(key, mapping={"v": NEWER, "device": "phone"})


async def newer_with_other_fields(redis: RedisServer, key: str) -> None:
    """Make a session one of the next version that has none of this one's fields but `v`."""
    await redis.client.hdel(key, *FIELDS)
    await redis.client.hset(key, mapping={"v": NEWER, "owner": USER})


async def without_a_version(redis: RedisServer, key: str) -> None:
    """Make a session one of no version."""
    await redis.client.hdel(key, "v")


every_unknown = pytest.mark.parametrize(
    "plant", [newer_with_our_fields, newer_with_other_fields, without_a_version], ids=lambda plant: plant.__name__
)


async def refused(call: Awaitable[object], record: str = "session") -> bool:
    """Tell whether a call is refused in the one way of records whose version is unknown."""
    with pytest.raises(errors.Unavailable) as raised:
        await call
    error = raised.value
    return (error.reason, error.metadata, error.retry_after) == ("RECORD_VERSION_UNKNOWN", {"record": record}, 0.1)


@every_unknown
async def test_unknown_session_is_refused_and_left_as_it_is(
    redis: RedisServer, store: SessionStore, plant: Plant
) -> None:
    """Whatever reads or changes a session answers UNAVAILABLE and changes no byte and no expiry in the database."""
    _, token = await store.create(USER, b"1", ttl=HOUR)
    await plant(redis, session_key(token))
    before = await raw_contents(redis)
    for call in (
        store.get(token),
        store.update(token, b"2"),
        store.update(token, b"2", expected_version=1),
        store.update(token, b"2", request_id=REQUEST),
        store.touch(token),
        store.touch(token, ttl=HOUR / 2),
        store.list_of_user(USER, page_size=5),
    ):
        assert await refused(call)
    assert await changed_keys(redis, before) == set()


@every_unknown
async def test_unknown_session_is_deleted(redis: RedisServer, store: SessionStore, plant: Plant) -> None:
    """Signing out ends a session of any version, and the list of the person's sessions can be read again."""
    _, token = await store.create(USER, b"1", ttl=HOUR)
    other, _ = await store.create(USER, b"2", ttl=HOUR)
    await plant(redis, session_key(token))
    await store.delete(token)
    assert await session_of(store, token) is None
    assert [each.id for each in (await store.list_of_user(USER, page_size=5)).sessions] == [other.id]
    assert await redis.client.zcard(user_key(USER)) == 1


@every_unknown
async def test_unknown_sessions_end_with_their_person(redis: RedisServer, store: SessionStore, plant: Plant) -> None:
    """DeleteUserSessions ends sessions of any version, and counts them."""
    _, token = await store.create(USER, b"1", ttl=HOUR)
    await store.create(USER, b"2", ttl=HOUR)
    await plant(redis, session_key(token))
    assert await store.delete_of_user(USER) == 2
    assert await redis.client.keys("*") == []


async def test_page_before_an_unknown_session_is_answered(redis: RedisServer, store: SessionStore) -> None:
    """A page without the unknown session is whole and says that there are more; the next one is refused."""
    _, oldest = await store.create(USER, b"1", ttl=HOUR)
    newest, _ = await store.create(USER, b"2", ttl=HOUR)
    await newer_with_our_fields(redis, session_key(oldest))
    page = await store.list_of_user(USER, page_size=1)
    assert ([each.id for each in page.sessions], page.next_after) == ([newest.id], newest.id)
    assert await refused(store.list_of_user(USER, page_size=1, after=page.next_after))


async def test_sessions_beside_an_unknown_one_go_on(redis: RedisServer, store: SessionStore) -> None:
    """A person's other sessions are opened, changed and ended, and the unknown one keeps its place in the index."""
    _, unknown = await store.create(USER, b"1", ttl=HOUR)
    await newer_with_other_fields(redis, session_key(unknown))
    kept = await redis.client.zrange(user_key(USER), 0, -1)
    before = await raw_contents(redis)
    _, token = await store.create(USER, b"2", ttl=HOUR)
    assert (await store.update(token, b"3")).data == b"3"
    await store.touch(token)
    await store.delete(token)
    assert await redis.client.zrange(user_key(USER), 0, -1) == kept
    assert await changed_keys(redis, before) <= {user_key(USER).encode()}


async def test_fields_of_a_newer_server_survive(redis: RedisServer, store: SessionStore) -> None:
    """What a newer server adds to a session of this version is still there after every change by this server."""
    session, token = await store.create(USER, b"1", ttl=HOUR)
    added = {b"device": b"phone", b"risk": b"\x00\xff"}
    await redis.client.hset(session_key(token), mapping=added)
    assert await store.get(token) == session
    await store.update(token, b"2", request_id=REQUEST)
    await store.touch(token, ttl=2 * HOUR)
    await store.touch(token)
    held = await redis.client.hgetall(session_key(token))
    assert {name: held[name] for name in added} == added
    assert held[b"data"] == b"2"


@pytest.mark.parametrize("planted", [b"2:{}", b"\x82\xabfingerprint", b"", b"1"])
async def test_unknown_answer_of_a_request_is_neither_repeated_nor_replaced(
    redis: RedisServer, store: SessionStore, planted: bytes
) -> None:
    """A repeated request whose first answer is of another version does nothing and is refused."""
    _, token = await store.create(USER, b"1", ttl=HOUR)
    for key in (creation_key(USER, REQUEST), update_key(token, REQUEST)):
        await redis.client.set(key, planted, px=60_000)
    before = await raw_contents(redis)
    assert await refused(store.create(USER, b"2", ttl=HOUR, request_id=REQUEST), "request")
    assert await refused(store.update(token, b"2", request_id=REQUEST), "request")
    assert await changed_keys(redis, before) == set()


async def test_unknown_records_are_no_failure_of_redis(redis: RedisServer) -> None:
    """However many are met, each is asked for once, and the circuit breaker stays closed."""
    store = create_store(redis)
    _, token = await store.create(USER, b"1", ttl=HOUR)
    await newer_with_our_fields(redis, session_key(token))
    await redis.client.config_resetstat()
    for _ in range(5):
        assert await refused(store.get(token))
        assert await refused(store.list_of_user(USER, page_size=5))
    calls = await redis.client.info("commandstats")
    assert calls["cmdstat_evalsha"]["calls"] == 5
    assert calls["cmdstat_hmget"]["calls"] == 10  # five reads, and five inside the script
    assert store._breaker.failure_count == 0
