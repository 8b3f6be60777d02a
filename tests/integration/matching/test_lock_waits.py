"""Calls about one person that meet halfway: one ends, then the other, and neither is refused as CONFLICT."""

import asyncio
import uuid
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import pytest

from support.people import VIENNA, People, new_profile
from wingmanmatch_server import errors

KINDS = [{"kind": "MATCH_DECLINE", "enabled": False}]
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


async def outcome(call: Coroutine[Any, Any, Any]) -> str:
    """Return "done", or the reason of the refusal; a deadlock is CONFLICT."""
    try:
        await call
    except errors.DomainError as error:
        return error.reason
    return "done"


async def until_waiting(people: People, calls: list[asyncio.Task[str]]) -> None:
    """Return when each of the calls waits for a lock or has ended."""
    while await people.sql.fetchval(WAITING) < sum(not call.done() for call in calls):
        await asyncio.sleep(0.005)
        # Within a transaction the view shows what it showed first.
        await people.sql.execute("select pg_stat_clear_snapshot()")


async def one_after_the_other(people: People, held: str, *calls: Coroutine[Any, Any, Any]) -> list[str]:
    """Begin each call when the one before waits for what the statement `held` locks; return what became of them."""
    tasks: list[asyncio.Task[str]] = []
    transaction = people.sql.transaction()
    await transaction.start()
    try:
        await people.sql.execute(held)
        for call in calls:
            tasks.append(asyncio.create_task(outcome(call)))
            await until_waiting(people, tasks)
    finally:
        await transaction.rollback()
    return await asyncio.gather(*tasks)


async def exists(people: People, table: str, person: str) -> bool:
    """Return whether a table names a person."""
    found: bool = await people.sql.fetchval(
        f"select exists (select from {table} t where t::text like $1)", f"%{person}%"
    )
    return found


def send(people: People, person: str) -> Coroutine[Any, Any, Any]:
    """Send a person an email."""
    payload = {"decliner_name": "Ben"}
    return people.store._database.call("send_notification", p_kind="MATCH_DECLINE", p_payload=payload, p_user_id=person)


async def test_a_profile_changes_during_its_erasure(people: People) -> None:
    """Who changes a profile that is just being erased is refused: the id may not return at once."""
    ann = await people.join()
    outcomes = await one_after_the_other(
        people,
        "select from match_pool for update",
        people.store.delete_profile(ann),
        people.store.upsert_profile(new_profile(ann, VIENNA, first_name="Anna")),
    )
    assert outcomes == ["done", "ERASED_RECENTLY"]
    assert not await exists(people, "user_profiles", ann)


async def test_an_invitation_expires_during_an_erasure(people: People) -> None:
    """The sweep passes over the email that an erasure is about to delete."""
    ann, ben = await people.join_many(2)
    await people.invite(ann, ben)
    await people.let_pass(timedelta(hours=73))
    outcomes = await one_after_the_other(
        people,
        "select from notifications for update",
        people.store.delete_profile(ann),
        people.store.expire_matches(),
    )
    assert outcomes == ["done", "done"]
    assert await people.sql.fetchval("select state from matches") == "EXPIRED"
    assert not await exists(people, "notifications", ann)


async def test_an_email_that_the_sweep_passed_over_expires(people: People) -> None:
    """The invitation whose row was locked while its match expired is not sent either."""
    ann, ben = await people.join_many(2)
    await people.invite(ann, ben)
    await people.let_pass(timedelta(hours=73))
    held = "select from notifications for update"
    assert await one_after_the_other(people, held, people.store.expire_matches()) == ["done"]
    assert await people.sql.fetchval("select state from notifications") == "PENDING"
    claimed = await people.store._database.call(
        "claim_notifications", p_owner="worker", p_limit=10, p_lease_seconds=60.0
    )
    assert claimed["notifications"] == []
    assert await people.sql.fetchval("select state from notifications") == "EXPIRED"


async def test_two_who_blocked_one_another_are_erased(people: People) -> None:
    """Two who never had a match, and are kept apart, can be erased at the same time."""
    ann, ben, cleo = await people.join_many(3)
    # Ann's erasure gets to Cleo's row, and waits there, before it gets to Ben's.
    await people.store.block_user(cleo, ann)
    await people.store.block_user(ann, ben)
    outcomes = await one_after_the_other(
        people,
        f"select from avoidances where user_id = '{uuid.UUID(cleo)}' for update",
        people.store.delete_profile(ann),
        people.store.delete_profile(ben),
    )
    assert outcomes == ["done", "done"]
    assert await people.sql.fetchval("select count(*) from avoidances") == 0


async def test_a_request_id_is_used_again_during_an_erasure(people: People) -> None:
    """A request_id used anew after its 24 hours does not stop an erasure, and the old answer goes with the purge."""
    ann, ben = await people.join_many(2)
    match = await people.match(ann, ben)
    request_ids = {person: people.new_id() for person in (ann, ben)}
    await people.store.share_match(match.id, ann, ttl_seconds=3600.0, request_id=request_ids[ann])
    await people.store.end_match(match.id, ben, request_id=request_ids[ben])
    await people.let_pass(timedelta(hours=25))
    outcomes = await one_after_the_other(
        people,
        "select from match_pool for update",
        people.store.delete_profile(ann),
        people.store.share_match(match.id, ann, ttl_seconds=3600.0, request_id=request_ids[ann]),
        people.store.end_match(match.id, ben, request_id=request_ids[ben]),
    )
    assert outcomes == ["done", "MATCH_NOT_FOUND", "MATCH_NOT_ACCEPTED"]
    await people.store._database.call("purge_request_keys")
    assert not await exists(people, "request_keys", ann)


async def test_preferences_change_during_an_erasure(people: People) -> None:
    """An erasure waits for a change of preferences, and leaves nothing of it."""
    ann = await people.join()
    outcomes = await one_after_the_other(
        people,
        f"insert into notification_preferences (user_id) values ('{uuid.UUID(ann)}')",
        people.store._database.call("update_notification_preferences", p_user_id=ann, p_kinds=KINDS),
        people.store.delete_profile(ann),
    )
    assert outcomes == ["done", "done"]
    assert not await exists(people, "notification_preferences", ann)


@pytest.mark.parametrize(
    ("first", "outcomes"), [("erase", ["done", "PROFILE_NOT_FOUND"]), ("send", ["done", "done"])], ids=str
)
async def test_an_email_is_sent_during_an_erasure(people: People, first: str, outcomes: list[str]) -> None:
    """No email to an erased person stays behind, whichever of the two came first."""
    ann = await people.join()
    erasing, sending = people.store.delete_profile(ann), send(people, ann)
    calls = (erasing, sending) if first == "erase" else (sending, erasing)
    assert await one_after_the_other(people, "select from match_pool for update", *calls) == outcomes
    assert not await exists(people, "notifications", ann)


async def test_others_wait_for_none_of_it(people: People) -> None:
    """While one person's lock is held, everybody else finds, invites and answers somebody else."""
    ann, ben, cleo = await people.join_many(3)
    async with people.sql.transaction():
        await people.sql.execute(f"select from match_pool where user_id = '{uuid.UUID(ann)}' for update")
        match = await people.match(ben, cleo)
        await people.store.upsert_profile(new_profile(ben, VIENNA))
        await send(people, cleo)
        await people.store.delete_profile(cleo)
    assert (await people.store.get_match(match.id, ben)).state == "ENDED"
