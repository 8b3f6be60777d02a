"""Repeated mutations, and what the database holds of secrets."""

import asyncio
import base64
import uuid

import pytest

from support.sessions import HOUR, contents, create_store, pass_time, session_of
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.session.store import SessionStore

USER, OTHER = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


def new_id() -> str:
    """Return a request_id."""
    return str(uuid.uuid4())


async def test_creation_repeated(redis: RedisServer, store: SessionStore) -> None:
    """The same request gets the same session and the same token, from another replica too, even once it has ended."""
    request_id = new_id()
    first = await store.create(USER, b"1", ttl=HOUR, request_id=request_id)
    assert await create_store(redis).create(USER, b"1", ttl=HOUR, request_id=request_id) == first
    assert len((await store.list_of_user(USER, page_size=5)).sessions) == 1
    await store.delete_of_user(USER)
    assert await store.create(USER, b"1", ttl=HOUR, request_id=request_id) == first
    assert await session_of(store, first[1]) is None


async def test_creation_at_once(store: SessionStore) -> None:
    """However many times a request arrives at once, it opens one session."""
    request_id = new_id()
    calls = [store.create(USER, b"1", ttl=HOUR, request_id=request_id) for _ in range(50)]
    outcomes = await asyncio.gather(*calls)
    assert len({(session.id, token) for session, token in outcomes}) == 1
    assert await store.delete_of_user(USER) == 1


async def test_request_id_of_another_creation(store: SessionStore) -> None:
    """With another body a request_id is refused, and it is nobody else's."""
    request_id = new_id()
    await store.create(USER, b"1", ttl=HOUR, request_id=request_id)
    for data, ttl in ((b"2", HOUR), (b"1", 2 * HOUR)):
        with pytest.raises(errors.InvalidArgument) as raised:
            await store.create(USER, data, ttl=ttl, request_id=request_id)
        assert raised.value.reason == "REQUEST_ID_REUSED"
    session, _ = await store.create(OTHER, b"2", ttl=HOUR, request_id=request_id)
    assert session.user_id == OTHER
    assert await store.delete_of_user(USER) == 1


async def test_request_id_is_forgotten_after_a_day(redis: RedisServer, store: SessionStore) -> None:
    """A request is remembered for 24 hours and not for longer."""
    request_id = new_id()
    _, first = await store.create(USER, b"1", ttl=HOUR, request_id=request_id)
    await pass_time(redis, 23 * HOUR)
    assert (await store.create(USER, b"1", ttl=HOUR, request_id=request_id))[1] == first
    await pass_time(redis, 2 * HOUR)
    assert (await store.create(USER, b"1", ttl=HOUR, request_id=request_id))[1] != first


async def test_update_repeated(store: SessionStore) -> None:
    """A repeated update gets the first answer, though others came in between; with another body it is refused."""
    _, token = await store.create(USER, b"1", ttl=HOUR)
    request_id = new_id()
    first = await store.update(token, b"2", expected_version=1, request_id=request_id)
    later = await store.update(token, b"3", expected_version=2)
    assert await store.update(token, b"2", expected_version=1, request_id=request_id) == first
    assert await store.get(token) == later
    with pytest.raises(errors.InvalidArgument) as raised:
        await store.update(token, b"3", expected_version=1, request_id=request_id)
    assert raised.value.reason == "REQUEST_ID_REUSED"


async def test_failed_update_is_not_remembered(store: SessionStore) -> None:
    """A refused update leaves its request_id free."""
    _, token = await store.create(USER, b"1", ttl=HOUR)
    request_id = new_id()
    with pytest.raises(errors.Aborted):
        await store.update(token, b"2", expected_version=2, request_id=request_id)
    assert (await store.update(token, b"2", expected_version=1, request_id=request_id)).version == 2


async def test_ended_session_has_no_answers(store: SessionStore) -> None:
    """Nothing is answered to the token of an ended session, a remembered update included."""
    _, token = await store.create(USER, b"1", ttl=HOUR)
    request_id = new_id()
    await store.update(token, b"2", request_id=request_id)
    await store.delete_of_user(USER)
    with pytest.raises(errors.Unauthenticated):
        await store.update(token, b"2", request_id=request_id)


async def test_dump_opens_no_session(redis: RedisServer, store: SessionStore) -> None:
    """No key and no value holds a token, its secret or a request_id, and nothing found there opens a session."""
    request_ids = [new_id() for _ in range(4)]
    tokens = [(await store.create(USER, b"1", ttl=HOUR, request_id=each))[1] for each in request_ids[:2]]
    for token, request_id in zip(tokens, request_ids[2:], strict=True):
        await store.update(token, b"2", request_id=request_id)
        await store.touch(token)
    found = await contents(redis)
    dump = repr(found).lower()
    secrets = [base64.urlsafe_b64decode(token[:43] + "=") for token in tokens]
    for hidden in (*tokens, *request_ids, *(secret.hex() for secret in secrets), *(token[:43] for token in tokens)):
        assert hidden.lower() not in dump
    assert all(repr(secret)[2:-1] not in repr(found) for secret in secrets)
    assert len(found) == 2 + 1 + 4 + 1, "sessions, their index, requests, their index"
    for candidate in _strings(found):
        assert await session_of(store, candidate) is None


def _strings(value: object) -> list[str]:
    """Return every text inside, and every part of it that a separator sets off."""
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in _strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in _strings(part)]
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return [text, *text.split(":")]
