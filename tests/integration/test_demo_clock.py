"""The demo's clock: days pass for its own people, and for nobody else."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.people import People, in_hours, open_people
from wingmanmatch_server import errors
from wingmanmatch_server.demo.clock import Clock, open_clock
from wingmanmatch_server.demo.people import DemoFailed
from wingmanmatch_server.drivers.embedded_postgres import running_dsn


@pytest.fixture
async def people(fresh_database_dsn: str) -> AsyncIterator[People]:
    """Nobody yet."""
    async with open_people(fresh_database_dsn, connections=2) as people:
        yield people


async def everything(people: People, user_id: str) -> dict[str, list[Any]]:
    """Return all rows of the tables that have a person's times."""
    queries = {
        "matches": "requester_id = $1",
        "meetups": "requester_id = $1",
        "notifications": "user_id = $1",
        "avoidances": "user_id = $1",
    }
    return {
        table: await people.sql.fetch(f"select * from {table} t where {condition} order by t::text", uuid.UUID(user_id))
        for table, condition in queries.items()
    }


async def test_days_pass_for_its_own_people_alone(people: People) -> None:
    """What could not be confirmed can be, reminders are due, and others' days are as long as ever."""
    ann, ben, cid, dora = await people.join_many(4)
    # One address gets only so many emails.
    await people.sql.execute("update user_profiles set email = id || '@example.org'")
    meetup = await people.schedule(await people.match(ann, ben), ann, scheduled_time=in_hours(72))
    await people.schedule(await people.match(cid, dora), cid)
    before = await everything(people, cid)
    clock = Clock(people.sql, [ann, ben])
    with pytest.raises(errors.FailedPrecondition):
        await people.meetups.confirm_meetup(meetup.id, ann)
    await clock.forward_to(meetup.scheduled_time - timedelta(hours=24))
    claimed = await people.store._database.call("claim_notifications", p_owner="test", p_limit=99, p_lease_seconds=60.0)
    reminded = {each["user_id"] for each in claimed["notifications"] if each["kind"] == "SESSION_REMINDER"}
    assert reminded == {ann, ben}
    await clock.forward(timedelta(hours=24))
    assert (await people.meetups.confirm_meetup(meetup.id, ann)).state == "SCHEDULED"
    assert clock.now - datetime.now(UTC) > timedelta(hours=71)
    after = await everything(people, cid)
    assert {table: len(rows) for table, rows in after.items()} == {table: len(rows) for table, rows in before.items()}
    for table in ("matches", "meetups", "avoidances"):
        assert after[table] == before[table]


async def test_people_of_another_database_are_noticed(people: People) -> None:
    """Whoever moves the clock of nobody is told."""
    await people.join()
    with pytest.raises(DemoFailed, match="DATA_DIR"):
        await Clock(people.sql, [people.new_id()]).forward(timedelta(hours=1))


async def test_no_clock_without_a_database_of_its_own(tmp_path: Path) -> None:
    """Where no PostgreSQL runs on the folder there is nothing to move."""
    assert running_dsn(tmp_path) is None
    async with open_clock(tmp_path, []) as clock:
        assert clock is None
    # As a server leaves it that was killed.
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "postmaster.pid").write_text(f"1\n{tmp_path}\n1\n5432\n{tmp_path}\n")
    async with open_clock(tmp_path, []) as clock:
        assert clock is None
