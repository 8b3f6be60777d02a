"""What the session store promises, on the real server."""

import asyncio
import uuid
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from support.sessions import HOUR, MAX_AGE, contents, create_store, pass_time, session_of
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.session.keys import session_key, user_key
from wingmanmatch_server.session.store import SessionStore
from wingmanmatch_server.session.token import make_token

USER, OTHER = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
MINUTE = timedelta(minutes=1)


async def refusal(store: SessionStore, token: str) -> tuple[str, str]:
    """Return the reason and text with which a token is refused."""
    with pytest.raises(errors.Unauthenticated) as raised:
        await store.get(token)
    return raised.value.reason, raised.value.message


async def test_created_session_is_read(store: SessionStore) -> None:
    """The token returns what was stored, with the times that follow from the server's clock."""
    session, token = await store.create(USER, b"\x00data\xff", ttl=HOUR)
    assert await store.get(token) == session
    assert (session.user_id, session.data, session.version) == (USER, b"\x00data\xff", 1)
    assert session.create_time == session.update_time
    assert session.expire_time - session.create_time == HOUR // timedelta(milliseconds=1)
    assert session.max_expire_time - session.create_time == MAX_AGE // timedelta(milliseconds=1)


async def test_max_age_bounds_a_new_session(redis: RedisServer) -> None:
    """A session never lives longer than the greatest age."""
    session, _ = await create_store(redis, max_age=MINUTE).create(USER, b"", ttl=HOUR)
    assert session.expire_time == session.max_expire_time == session.create_time + 60_000


async def test_expiry(redis: RedisServer, store: SessionStore) -> None:
    """A session lives to its expire_time and not beyond."""
    _, token = await store.create(USER, b"", ttl=HOUR)
    await pass_time(redis, 59 * MINUTE)
    assert await session_of(store, token)
    await pass_time(redis, 2 * MINUTE)
    assert await refusal(store, token) == ("SESSION_NOT_FOUND", "the token opens no session")


async def test_nothing_remains_of_expired_sessions(redis: RedisServer, store: SessionStore) -> None:
    """Once a session and the memory of its request have expired the database is empty."""
    await store.create(USER, b"", ttl=HOUR, request_id=str(uuid.uuid4()))
    await pass_time(redis, 25 * HOUR)
    assert await contents(redis) == {}


async def test_every_bad_token_is_refused_alike(redis: RedisServer, store: SessionStore) -> None:
    """Unknown, ended, malformed and empty tokens get one answer for one and the same work."""
    _, ended = await store.create(USER, b"", ttl=HOUR)
    await store.delete(ended)
    tokens = ["", "x", "é" * 200, make_token(bytes(32), USER), ended, ended[:-4] + "zzzz", ended.upper()]
    await redis.client.config_resetstat()
    refusals = {await refusal(store, token) for token in tokens}
    commands = await redis.client.info("commandstats")
    assert len(refusals) == 1
    assert commands["cmdstat_hmget"]["calls"] == len(tokens)
    assert set(commands) <= {
        "cmdstat_hmget",
        "cmdstat_info",
        "cmdstat_config|resetstat",
        "cmdstat_config",
        "cmdstat_ping",
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(max_size=60), st.from_regex(r"[A-Za-z0-9_-]{43}[0-9a-f]{4}", fullmatch=True)))
async def test_no_text_opens_a_session(store: SessionStore, token: str) -> None:
    """Whatever is tried, looking like a token or not, is refused in the one way, and ends nothing."""
    for call in (store.get(token), store.update(token, b"2"), store.touch(token)):
        with pytest.raises(errors.Unauthenticated):
            await call
    await store.delete(token)


async def test_reads_at_once(redis: RedisServer, store: SessionStore) -> None:
    """A hundred reads at once need no connection more than one, and one that fails fails alone."""
    session, token = await store.create(USER, b"1", ttl=HOUR)
    assert await store.get(token) == session
    _, broken = await store.create(USER, b"2", ttl=HOUR)
    await redis.client.set(session_key(broken), "no session")
    before = (await redis.client.info("clients"))["connected_clients"]
    reads = [store.get(token) for _ in range(100)]
    *found, failed = await asyncio.gather(*reads, store.get(broken), return_exceptions=True)
    assert found == [session] * 100
    assert isinstance(failed, ResponseError)
    assert (await redis.client.info("clients"))["connected_clients"] == before


async def test_update(store: SessionStore) -> None:
    """An update replaces the data, counts the version and leaves the expiry."""
    session, token = await store.create(USER, b"1", ttl=HOUR)
    updated = await store.update(token, b"2", expected_version=1)
    assert (updated.data, updated.version, updated.expire_time) == (b"2", 2, session.expire_time)
    assert await store.get(token) == updated
    assert (await store.update(token, b"3")).version == 3


async def test_update_of_another_version(store: SessionStore) -> None:
    """An update of a version that is not there changes nothing and says which there is."""
    session, token = await store.create(USER, b"1", ttl=HOUR)
    with pytest.raises(errors.Aborted) as raised:
        await store.update(token, b"2", expected_version=2)
    assert (raised.value.reason, raised.value.metadata) == ("SESSION_VERSION_MISMATCH", {"version": "1"})
    assert await store.get(token) == session


async def test_update_does_not_revive(redis: RedisServer, store: SessionStore) -> None:
    """Updating or touching an ended session leaves no key behind."""
    _, token = await store.create(USER, b"1", ttl=HOUR)
    await store.delete(token)
    for call in (store.update(token, b"2", request_id=str(uuid.uuid4())), store.touch(token)):
        with pytest.raises(errors.Unauthenticated):
            await call
    assert await contents(redis) == {}


async def test_touch_slides(redis: RedisServer, store: SessionStore) -> None:
    """A touched session lives for its own time from then on, and its place in the index with it."""
    session, token = await store.create(USER, b"", ttl=HOUR)
    await pass_time(redis, 50 * MINUTE)
    touched = await store.touch(token)
    assert touched.expire_time >= session.expire_time
    await pass_time(redis, 50 * MINUTE)
    assert [each.id for each in (await store.list_of_user(USER, page_size=5)).sessions] == [session.id]
    assert await store.get(token)


async def test_touch_with_a_time_of_its_own(store: SessionStore) -> None:
    """A time given is what counts, be it shorter or longer; without one nothing is shortened."""
    _, token = await store.create(USER, b"", ttl=HOUR)
    longer = await store.touch(token, ttl=2 * HOUR)
    assert (await store.touch(token)).expire_time == longer.expire_time
    shorter = await store.touch(token, ttl=MINUTE)
    assert shorter.expire_time < longer.expire_time - 3_600_000


async def test_touch_ends_at_the_greatest_age(redis: RedisServer) -> None:
    """However often a session is touched it ends at its max_expire_time."""
    store = create_store(redis, max_age=2 * HOUR)
    _, token = await store.create(USER, b"", ttl=HOUR)
    for _ in range(3):
        await pass_time(redis, 39 * MINUTE)
        session = await store.touch(token)
    assert session.expire_time == session.max_expire_time
    await pass_time(redis, 4 * MINUTE)
    assert await session_of(store, token) is None


async def test_list_is_newest_first_and_paged(store: SessionStore) -> None:
    """Pages show each of a person's sessions once, newest first, and nobody else's."""
    created = [(await store.create(USER, b"", ttl=HOUR))[0].id for _ in range(5)]
    await store.create(OTHER, b"", ttl=HOUR)
    seen, after = [], None
    while True:
        page = await store.list_of_user(USER, page_size=2, after=after)
        seen += [[session.id for session in page.sessions]]
        after = page.next_after
        if after is None:
            break
    newest = created[::-1]
    assert seen == [newest[:2], newest[2:4], newest[4:]]


async def test_list_goes_on_behind_an_ended_session(store: SessionStore) -> None:
    """A page continues where the one before ended even if its last session is gone."""
    tokens = {}
    for _ in range(3):
        session, token = await store.create(USER, b"", ttl=HOUR)
        tokens[session.id] = token
    page = await store.list_of_user(USER, page_size=1)
    assert page.next_after
    await store.delete(tokens[page.next_after])
    rest = (await store.list_of_user(USER, page_size=5, after=page.next_after)).sessions
    assert [session.id for session in rest] == list(tokens)[1::-1]


async def test_list_cleans_up(redis: RedisServer, store: SessionStore) -> None:
    """Entries of sessions that expired, or that the server dropped, leave the index."""
    await store.create(USER, b"", ttl=MINUTE)
    _, dropped = await store.create(USER, b"", ttl=HOUR)
    kept, _ = await store.create(USER, b"", ttl=HOUR)
    await pass_time(redis, 2 * MINUTE)
    await redis.client.delete(session_key(dropped))
    assert [each.id for each in (await store.list_of_user(USER, page_size=5)).sessions] == [kept.id]
    assert await redis.client.zcard(user_key(USER)) == 1


async def test_creating_cleans_up(redis: RedisServer, store: SessionStore) -> None:
    """The index of a person who only signs in holds live sessions only."""
    for _ in range(3):
        await store.create(USER, b"", ttl=MINUTE)
        await store.create(USER, b"", ttl=HOUR)
        await pass_time(redis, 2 * MINUTE)
    await store.create(USER, b"", ttl=HOUR)
    assert await redis.client.zcard(user_key(USER)) == 4


async def test_delete_of_user(redis: RedisServer, store: SessionStore) -> None:
    """All of a person's live sessions end and are counted; other people's stay."""
    tokens = [(await store.create(USER, b"", ttl=HOUR))[1] for _ in range(3)]
    await store.create(USER, b"", ttl=MINUTE)
    _, other = await store.create(OTHER, b"", ttl=HOUR)
    await pass_time(redis, 2 * MINUTE)
    assert await store.delete_of_user(USER) == 3
    assert [await session_of(store, token) for token in tokens] == [None] * 3
    assert await redis.client.exists(user_key(USER)) == 0
    assert await store.delete_of_user(USER) == 0
    assert await session_of(store, other)


async def test_scripts_survive_a_flush(redis: RedisServer, store: SessionStore) -> None:
    """Each method works on a server that has forgotten every script."""
    _, token = await store.create(USER, b"", ttl=HOUR)
    for call in (
        lambda: store.create(USER, b"", ttl=HOUR),
        lambda: store.update(token, b"2"),
        lambda: store.touch(token),
        lambda: store.list_of_user(USER, page_size=5),
        lambda: store.delete(token),
        lambda: store.delete_of_user(USER),
    ):
        await redis.client.script_flush()
        await call()
    assert await store.delete_of_user(USER) == 0


async def test_one_update_wins_each_round(store: SessionStore) -> None:
    """Of a hundred updates of one version exactly one happens, round after round."""
    _, token = await store.create(USER, b"", ttl=HOUR)
    for version in (1, 2, 3):
        calls = [store.update(token, b"%d" % caller, expected_version=version) for caller in range(100)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        (winner,) = [outcome for outcome in outcomes if not isinstance(outcome, errors.Aborted)]
        assert winner == await store.get(token)
        assert winner.version == version + 1


async def test_delete_of_user_beside_creations(store: SessionStore) -> None:
    """What a deletion did not end was created after it: it is listed, and the next deletion ends it."""
    creations = [store.create(USER, b"", ttl=HOUR) for _ in range(60)]
    deletions = [store.delete_of_user(USER) for _ in range(5)]
    mixed = [call for group in zip(*[iter(creations)] * 12, deletions, strict=False) for call in group]
    outcomes = await asyncio.gather(*mixed)
    tokens = [outcome[1] for outcome in outcomes if not isinstance(outcome, int)]
    ended = sum(outcome for outcome in outcomes if isinstance(outcome, int))
    live = [token for token in tokens if await session_of(store, token)]
    assert len(tokens) == len(live) + ended == 60
    assert len((await store.list_of_user(USER, page_size=60)).sessions) == len(live)
    assert await store.delete_of_user(USER) == len(live)
    assert not [token for token in tokens if await session_of(store, token)]


async def test_delete_of_user_is_seen_at_once(redis: RedisServer, store: SessionStore) -> None:
    """Once the deletion is answered no other replica opens any of the sessions, and what has ended stays so."""
    tokens = [(await store.create(USER, b"", ttl=HOUR))[1] for _ in range(20)]
    replica, gone = create_store(redis), asyncio.Event()

    async def read(token: str) -> list[tuple[bool, bool]]:
        seen = []
        while not (seen and seen[-1][0]):
            ended = gone.is_set()
            seen.append((ended, await session_of(replica, token) is not None))
        return seen

    readers = [asyncio.create_task(read(token)) for token in tokens]
    await asyncio.sleep(0)
    assert await store.delete_of_user(USER) == 20
    gone.set()
    for seen in await asyncio.gather(*readers):
        assert seen[-1] == (True, False)
        found = [live for _, live in seen]
        assert found == sorted(found, reverse=True)
