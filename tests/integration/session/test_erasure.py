"""What an erasure does to a person's sessions: all is deleted, and for a day nothing follows."""

import asyncio
import uuid
from datetime import timedelta

import pytest

from support.sessions import HOUR, contents, pass_time, session_of
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.session.keys import erasure_key
from wingmanmatch_server.session.store import SessionStore

USER, OTHER = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


async def test_all_of_a_person_is_deleted(redis: RedisServer, store: SessionStore) -> None:
    """Sessions, remembered answers and their indexes go; a mark stays that names nobody; others keep theirs."""
    _, others = await store.create(OTHER, b"", ttl=HOUR, request_id=str(uuid.uuid4()))
    kept = set(await contents(redis))
    for _ in range(2):
        _, token = await store.create(USER, b"1", ttl=HOUR, request_id=str(uuid.uuid4()))
        await store.update(token, b"2", request_id=str(uuid.uuid4()))
    await store.erase(USER)
    found = await contents(redis)
    assert set(found) - kept == {erasure_key(USER).encode()}
    assert USER not in repr(found)
    assert await session_of(store, token) is None
    assert await session_of(store, others)


async def test_no_session_is_opened_for_a_day(redis: RedisServer, store: SessionStore) -> None:
    """A creation is refused with how long that lasts, a repeated one too, and others' are not."""
    request_id = str(uuid.uuid4())
    await store.create(USER, b"1", ttl=HOUR, request_id=request_id)
    await store.erase(USER)
    await pass_time(redis, 23 * HOUR)
    for each in (request_id, None):
        with pytest.raises(errors.FailedPrecondition) as raised:
            await store.create(USER, b"1", ttl=HOUR, request_id=each)
        assert raised.value.reason == "ERASED_RECENTLY"
        assert raised.value.retry_after == pytest.approx(3600, abs=10)
    await store.create(OTHER, b"1", ttl=HOUR)
    await pass_time(redis, HOUR + timedelta(seconds=1))
    await store.create(USER, b"1", ttl=HOUR)


async def test_erasure_beside_creations(redis: RedisServer, store: SessionStore) -> None:
    """Of creations and extensions at the same time nothing is left, whichever come first."""
    _, token = await store.create(USER, b"", ttl=HOUR)
    calls = [store.create(USER, b"", ttl=HOUR, request_id=str(uuid.uuid4())) for _ in range(20)]
    changes = [store.touch(token, ttl=HOUR) for _ in range(5)] + [store.update(token, b"3") for _ in range(5)]
    outcomes = await asyncio.gather(
        *calls,
        *changes,
        store.erase(USER),
        *(store.create(USER, b"", ttl=HOUR) for _ in range(20)),
        return_exceptions=True,
    )
    expected = (errors.FailedPrecondition, errors.Unauthenticated)
    assert all(isinstance(each, expected) or not isinstance(each, BaseException) for each in outcomes)
    assert set(await contents(redis)) == {erasure_key(USER).encode()}
