"""The previous version and this one serve side by side, behind the real Envoy, on one database and one Redis."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import pytest
import redis.asyncio as redis

from support.envoy import needs_envoy
from support.mixed_load import SHARED, Caller, Load, mixed_load
from support.previous import PreviousVersion
from support.resend_server import KEY, ResendServer, resend_server
from support.versions import CAPACITY, REFILL, Pair, both_versions
from support.watchers import Watcher, recorded_events
from wingmanmatch.ratelimit.v1 import rate_limit_pb2
from wingmanmatch_client import Client, Unauthenticated, Unavailable, connect
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.session.keys import session_key
from wingmanmatch_server.session.store import SESSION_VERSION

pytestmark = [needs_envoy, pytest.mark.timeout(180)]

CALLERS = 4
SETTLED = 20.0  # seconds in which all events have arrived and all due emails are sent
DUE = """
select count(*) from notifications
where state = 'SENDING' or state = 'PENDING' and next_attempt_time <= now()
"""

# Emails about changes of meetups wait two minutes for others.
FALL_DUE = """
update notifications set next_attempt_time = now()
where state = 'PENDING' and kind in ('MEETUP_SCHEDULED', 'MEETUP_MOVED', 'MEETUP_CANCELLED') and digest_id is null
"""


@pytest.fixture(scope="module")
async def resend() -> AsyncIterator[ResendServer]:
    """The provider of emails of both versions."""
    async with resend_server() as server:
        yield server


@pytest.fixture(scope="module")
async def pair(
    previous: PreviousVersion,
    admin_dsn: str,
    engines: EmbeddedEngines,
    resend: ResendServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Pair]:
    """Both versions, running."""
    settings = {"RESEND_API_KEY": KEY, "RESEND_API_URL": resend.url}
    folder = tmp_path_factory.mktemp("versions")
    async with both_versions(previous, admin_dsn, engines.redis_url, folder, settings) as pair:
        yield pair


@pytest.fixture
async def sql(pair: Pair) -> AsyncIterator[asyncpg.Connection]:
    """A connection to their database."""
    connection = await asyncpg.connect(pair.dsn)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def clients(pair: Pair) -> AsyncIterator[dict[str, Client]]:
    """A client of each version alone."""
    async with connect(pair.older.address) as older, connect(pair.newer.address) as newer:
        yield {"older": older, "newer": newer}


@pytest.fixture(params=[("older", "newer"), ("newer", "older")], ids=lambda names: f"{names[0]}_first")
def one_and_other(request: pytest.FixtureRequest, clients: dict[str, Client]) -> tuple[Client, Client]:
    """Clients of the two versions, in both orders."""
    first, second = request.param
    return clients[first], clients[second]


async def test_upgrade_under_load(pair: Pair, sql: asyncpg.Connection, resend: ResendServer) -> None:
    """A later migration, three restarts and a rollback cost no call, no event, no email and no token."""
    try:
        async with mixed_load(pair.port, CALLERS) as (load, watchers):
            begun = time.monotonic()
            await upgrade_and_roll_back(pair, load)
            await load.finish()
            note_calls(pair, load)
            check_calls(pair, load)
            await check_tokens(pair, load, begun)
            await check_events(pair, sql, watchers)
        await check_emails(pair, sql, resend)
    finally:
        print("", *pair.transcript.lines, sep="\n")
    await pair.newer.start()


async def upgrade_and_roll_back(pair: Pair, load: Load) -> None:
    """Migrate, restart one version or the other three times, and leave the older one alone."""
    await pair.migrate_to_later()
    for version in (pair.newer, pair.older, pair.newer):
        await asyncio.gather(pair.older.gets_calls(), pair.newer.gets_calls())
        await version.restart()
    await asyncio.gather(pair.older.gets_calls(), pair.newer.gets_calls())
    await pair.newer.stop()
    await serves(pair, load)


def check_calls(pair: Pair, load: Load) -> None:
    """Fail if a call failed or had a wrong answer, or if one of the versions never answered one of the RPCs."""
    assert (load.failed, load.wrong) == ([], [])
    assert load.done.total() > 500
    for version in (pair.older, pair.newer):
        answered = {method.lower() for method, code in version.calls() if code == "OK"}
        assert {method.replace("_", "") for method in load.done} <= answered


async def serves(pair: Pair, load: Load) -> None:
    """Wait until every caller, by all that is left, has gone through one round more."""
    wanted = load.rounds + CALLERS
    async with asyncio.timeout(SETTLED):
        while load.rounds < wanted:
            await asyncio.sleep(0.05)
    pair.transcript.note("the older alone has served a round of every caller")


async def check_tokens(pair: Pair, load: Load, begun: float) -> None:
    """Fail unless both versions together granted what one bucket has: its capacity and what flowed in, less the rest.

    A degraded answer denies, and its token may have been taken.
    """
    assert load.taking_since
    async with connect(pair.older.address) as client:
        earliest = time.monotonic()
        (answer,) = await answers_of_redis(lambda _: [client.rate_limit.peek_rate_limit(descriptors=[SHARED])])
    left = answer.results[0].remaining
    most = CAPACITY + REFILL * (time.monotonic() - begun) - left
    least = CAPACITY + REFILL * (earliest - load.taking_since) - left - 1
    pair.transcript.note(
        f"shared bucket: {load.granted} granted, {load.denied} denied ({load.degraded} degraded); "
        f"one bucket has {least:.1f} to {most:.1f}"
    )
    assert load.granted <= most
    assert load.granted + load.degraded >= least
    assert load.denied > load.degraded


async def check_events(pair: Pair, sql: asyncpg.Connection, watchers: list[Watcher]) -> None:
    """Fail unless each watcher saw what the database has for its person: every event once, in order."""
    for watcher in watchers:
        events = await recorded_events(sql, watcher.user_id)
        await watcher.saw(len(events), SETTLED)
        assert watcher.seen == events
        assert len(events) > 10
    pair.transcript.note(f"events: {len(watchers)} watchers saw {sum(len(each.seen) for each in watchers)}, all once")


async def check_emails(pair: Pair, sql: asyncpg.Connection, resend: ResendServer) -> None:
    """Fail unless every due email was sent, and the provider took exactly one for each."""
    await sql.execute(FALL_DUE)
    await sql.execute("select pg_notify('notifications', '')")  # a dispatcher with nothing to do sleeps for 30 s
    async with asyncio.timeout(SETTLED):
        while await sql.fetchval(DUE):
            await asyncio.sleep(0.1)
    rows = await sql.fetch("select id::text, state, kind, digest_id from notifications")
    sent = Counter(row["id"] for row in rows if row["state"] == "SENT")
    taken = Counter(mail.notification_id for mail in resend.ledger)
    states = Counter(row["state"] for row in rows)
    pair.transcript.note(f"emails: {dict(states)}; the provider took {taken.total()}, replayed {resend.replays}")
    assert taken == sent
    assert sent.total() > 50
    # PENDING are reminders of meetups to come, CANCELLED those of meetups that were cancelled. Who got as many emails
    # as an address may has the others held, and a digest to come.
    assert set(states) <= {"SENT", "PENDING", "CANCELLED"}
    waiting = [row for row in rows if row["state"] == "PENDING" and row["digest_id"] is None]
    assert {row["kind"] for row in waiting} - {"DIGEST"} == {"SESSION_REMINDER"}


def note_calls(pair: Pair, load: Load) -> None:
    """Add to the transcript what callers saw, and what each version answered."""
    note = pair.transcript.note
    note(f"callers: {load.done.total()} calls answered in {load.rounds} rounds, {len(load.failed)} failed")
    note(f"callers: {load.retried.total()} retries {dict(load.retried)}")
    for version in (pair.older, pair.newer):
        codes: Counter[str] = Counter()
        for (method, code), count in version.calls().items():
            codes[f"WatchMatches {code}" if method == "WatchMatches" else code] += count
        note(f"{version.name} answered {dict(codes)}")


async def test_rolling_back_is_starting_the_older(pair: Pair) -> None:
    """With the later schema in place and the newer version stopped, the older one starts and serves everything."""
    await pair.migrate_to_later()
    await pair.newer.stop()
    await pair.older.restart()
    load = Load()
    async with connect(pair.older.address) as client:
        caller = Caller(client, load, place=CALLERS)
        await caller.join(caller.host)
        await caller.one_round()
    await pair.newer.start()
    assert (load.failed, load.wrong) == ([], [])
    assert load.done["schedule_meetup"] == load.done["touch_session"] == 1


async def test_sessions_are_shared(one_and_other: tuple[Client, Client]) -> None:
    """A session that one version opened is read, changed, extended and ended by the other."""
    one, other = (client.session for client in one_and_other)
    opened = await one.create_session(user_id=str(uuid.uuid4()), data={"step": 1})
    assert (await other.get_session(token=opened.token)).session == opened.session
    await other.update_session(token=opened.token, data={"step": 2}, expected_version=1)
    extended = (await other.touch_session(token=opened.token)).session
    assert (await one.get_session(token=opened.token)).session == extended
    assert (extended.version, dict(extended.data)) == (2, {"step": 2})
    await other.delete_session(token=opened.token)
    with pytest.raises(Unauthenticated):
        await one.get_session(token=opened.token)


async def test_retries_are_shared(one_and_other: tuple[Client, Client]) -> None:
    """A request that one version answered and the other gets again has its effect once."""
    one, other = one_and_other
    fields = {"user_id": str(uuid.uuid4()), "request_id": str(uuid.uuid4())}
    opened = await one.session.create_session(**fields)
    assert await other.session.create_session(**fields) == opened

    def check_twice(subject: str) -> list[Awaitable[Any]]:
        bucket = rate_limit_pb2.RateLimitDescriptor(policy="shared", subject=subject, cost=20)
        return [each.rate_limit.check_rate_limit(descriptors=[bucket], request_id=subject) for each in (one, other)]

    answers = await answers_of_redis(check_twice)
    assert [answer.results[0].remaining for answer in answers] == [CAPACITY - 20] * 2


async def test_buckets_are_shared(one_and_other: tuple[Client, Client]) -> None:
    """Tokens that were taken through one version are missing at the other, to the last one."""
    one, other = (client.rate_limit for client in one_and_other)

    def take_three_halves(subject: str) -> list[Awaitable[Any]]:
        half = rate_limit_pb2.RateLimitDescriptor(policy="shared", subject=subject, cost=CAPACITY // 2)
        return [each.check_rate_limit(descriptors=[half]) for each in (one, other, one)]

    assert [answer.allowed for answer in await answers_of_redis(take_three_halves)] == [True, True, False]


async def answers_of_redis(calls: Callable[[str], Sequence[Awaitable[Any]]]) -> list[Any]:
    """Return the answers of calls made one after the other, about a subject that is new to them.

    Where a busy machine keeps one of them from asking Redis in time, begin again with another subject.
    """
    async with asyncio.timeout(SETTLED):
        while True:
            answers = [await call for call in calls(str(uuid.uuid4()))]
            if not any(answer.degraded for answer in answers):
                return answers


async def test_record_of_a_version_after_both(one_and_other: tuple[Client, Client], engines: EmbeddedEngines) -> None:
    """A session of a later format is refused by both versions, changed by neither, and ended by either."""
    one, other = (client.session for client in one_and_other)
    token = (await one.create_session(user_id=str(uuid.uuid4()))).token
    key = session_key(token)
    async with redis.from_url(engines.redis_url) as client:
        await client.hset(key, "v", str(int(SESSION_VERSION) + 1))
        planted = await client.dump(key)
        for sessions in (one, other):
            with pytest.raises(Unavailable) as caught:
                await sessions.touch_session(token=token)
            assert caught.value.reason == "RECORD_VERSION_UNKNOWN"
        assert await client.dump(key) == planted
        await other.delete_session(token=token)
        assert not await client.exists(key)
