"""What callers of a real server were told through faults, against sequential models; README.md explains."""

import asyncio
import uuid
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as redis

from support.history.faults import ALWAYS
from support.history.judge import Finding
from support.history.operations import Operation, Outcome
from support.history.run import World, run
from support.history.session_calls import User
from wingmanmatch_server.session.keys import session_key

SEED = 1
# Of a run's operations a fault leaves some unknown: a run in which nobody noticed the faults would prove nothing.
LEAST_UNKNOWN = 5


@pytest.mark.timeout(240)
async def test_histories(tmp_path: Path) -> None:
    """Through seven faults every session, limit, match and meetup answers as one order of its calls explains.

    Redis syncs its log before it answers, so that not even a kill excuses a loss.
    """
    result = await run(SEED, tmp_path, fsync=ALWAYS)
    report = result.report
    assert report.holds, report.text()
    assert len(result.faults) == 7
    assert report.count(Outcome.UNKNOWN) >= LEAST_UNKNOWN, result.line()
    for area in ("session", "limit", "match", "meetups"):
        keys = [each for each in report.verdicts if each.key.startswith(area)]
        assert len(keys) >= 3, f"{area}: {result.line()}"


async def test_planted_losses_are_found(tmp_path: Path) -> None:
    """An acknowledged update, a spent token and a cancellation that are undone behind the server's back are each found.

    Nothing else is: the other keys of the same run hold.
    """
    undone: list[str] = []

    async def lose_update(world: World) -> None:
        undone.append(await undo_update(world))

    async def lose_spending(world: World) -> None:
        undone.append(await empty_bucket_filled(world))

    async def lose_cancellation(world: World) -> None:
        undone.append(await undo_cancellation(world))

    result = await run(
        SEED, tmp_path, seconds=6, faults=False, sabotage=(lose_update, lose_spending, lose_cancellation)
    )
    report = result.report
    assert sorted(each.key for each in report.found(Finding.VIOLATED)) == sorted(undone)
    assert len(report.found(Finding.HOLDS)) == len(report.verdicts) - 3
    assert "can have no order" in report.text()
    assert "impossible answers" in report.text()


async def undo_update(world: World) -> str:
    """Put a session back to what it was before an update that was acknowledged; return the key of its history."""
    async with redis.from_url(world.valkey.url) as client:
        user, session_id = await some_session(world)
        key = session_key(user.tokens[session_id])
        before = await client.dump(key)
        version = int(await client.hget(key, "version"))
        async with asyncio.timeout(5):
            while user.versions.get(session_id, 0) <= version:
                await asyncio.sleep(0.001)
        await client.restore(key, await client.pttl(key), before, replace=True)
    await world.sessions._get(world.areas[0].callers[0], user, session_id)  # before anybody ends it
    return user.key


async def some_session(world: World) -> tuple[User, str]:
    """Return a session that will be used for a while yet."""
    async with asyncio.timeout(5):
        while True:
            for user in world.sessions.users:
                if user.calls < 10 and user.live():
                    return user, user.live()[0]
            await asyncio.sleep(0.001)


async def empty_bucket_filled(world: World) -> str:
    """Remove a bucket that denied somebody something, so that it is full again; return the key of its history."""
    async with redis.from_url(world.valkey.url) as client, asyncio.timeout(5):
        while True:
            for bucket in world.limits.buckets.values():
                redis_key = f"rl:{{{bucket.subject}}}:{bucket.policy}"
                denied = [
                    each for each in world.recorder.operations if each.key == bucket.key and is_denial(each.result)
                ]
                if bucket.policy == "match_request" and denied and bucket.calls < 40:
                    assert await client.delete(redis_key) == 1
                    return bucket.key
            await asyncio.sleep(0.001)


def is_denial(result: object) -> bool:
    """Return whether a bucket denied a cost."""
    return getattr(result, "allowed", True) is False


async def undo_cancellation(world: World) -> str:
    """Put a meetup on again whose cancellation was acknowledged; return the key of its history."""
    sql = await asyncpg.connect(world.postgres.dsn)
    try:
        async with asyncio.timeout(5):
            while True:
                for cancelled in [each for each in world.recorder.operations if is_cancelled_meetup(each)]:
                    with suppress(asyncpg.UniqueViolationError):  # its people scheduled another meanwhile
                        await sql.execute(PUT_ON_AGAIN, uuid.UUID(str(cancelled.arguments["id"])))
                        return cancelled.key
                await asyncio.sleep(0.001)
    finally:
        await sql.close()


PUT_ON_AGAIN = "update meetups set state = 'SCHEDULED' where id = $1"


def is_cancelled_meetup(operation: Operation) -> bool:
    """Return whether an operation certainly called a meetup off."""
    return operation.key.startswith("meetups") and operation.name == "cancel" and operation.ok
