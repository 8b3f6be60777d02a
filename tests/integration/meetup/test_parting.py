"""Ending matches and blocking people, and what becomes of their meet-ups."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from support.people import People
from wingmanmatch_server import errors
from wingmanmatch_server.matching.rows import Match

Part = Callable[[People, Match], Awaitable[Any]]
PARTINGS: dict[str, Part] = {
    "end by requester": lambda people, match: people.store.end_match(match.id, match.requester_id),
    "end by invitee": lambda people, match: people.store.end_match(match.id, match.invitee_id),
    "block by requester": lambda people, match: people.store.block_user(match.requester_id, match.invitee_id),
    "block by invitee": lambda people, match: people.store.block_user(match.invitee_id, match.requester_id),
}


async def mails(people: People, match: Match, kind: str) -> list[tuple[str, str]]:
    """Return to whom mails of a kind about a match go, and their states."""
    rows = await people.sql.fetch(
        "select user_id::text, state from notifications where match_id = $1 and kind = $2 order by user_id::text",
        uuid.UUID(match.id),
        kind,
    )
    return [(row["user_id"], row["state"]) for row in rows]


async def refusal(call: Awaitable[Any]) -> str:
    """Return the reason for which a call is refused."""
    with pytest.raises(errors.DomainError) as caught:
        await call
    return caught.value.reason


@pytest.mark.parametrize("parting", PARTINGS)
async def test_parting_calls_the_meetup_off(people: People, parting: str) -> None:
    """In one transaction the match ends, the meet-up is off, the reminders go, and both are told."""
    match = await people.match(*await people.join_many(2))
    both = sorted((match.requester_id, match.invitee_id))
    meetup = await people.schedule(match, match.requester_id)
    await people.tell()
    await PARTINGS[parting](people, match)
    for person in both:
        assert (await people.store.get_match(match.id, person)).state == "ENDED"
        assert (await people.meetups.get_meetup(meetup.id, person)).state == "CANCELLED"
        assert match.requester_id not in await people.candidates(match.invitee_id)
    assert await mails(people, match, "MEETUP_CANCELLED") == [(person, "PENDING") for person in both]
    assert [state for _, state in await mails(people, match, "SESSION_REMINDER")] == ["CANCELLED"] * 4
    details = "select payload -> 'match_ended' from notifications where match_id = $1 and kind = 'MEETUP_CANCELLED'"
    assert await people.sql.fetchval(details, uuid.UUID(match.id)) == "true"
    assert await people.broken_rules() == []


@pytest.mark.parametrize("parting", PARTINGS)
async def test_parting_does_not_undo_what_has_begun(people: People, parting: str) -> None:
    """Nobody escapes a no-show, or robs the other of a confirmation, by leaving at once."""
    match = await people.match(*await people.join_many(2))
    meetup = await people.schedule(match, match.requester_id)
    await people.sql.execute("update meetups set scheduled_time = now() where id = $1", uuid.UUID(meetup.id))
    await PARTINGS[parting](people, match)
    stays = match.invitee_id
    assert (await people.meetups.report_no_show(meetup.id, stays)).state == "MISSED"
    assert (await people.store.get_reputation(match.requester_id)).score == -1
    assert await mails(people, match, "MEETUP_CANCELLED") == []


@pytest.mark.parametrize("state", ["PENDING", "DECLINED", "CANCELLED", "EXPIRED", "ENDED"])
async def test_only_an_accepted_match_is_ended(people: People, state: str) -> None:
    """One in another state says in which."""
    ann, ben = await people.join_many(2)
    match = await people.invite(ann, ben)
    if state == "DECLINED":
        await people.answer(match, "DECLINE")
    elif state == "CANCELLED":
        await people.store.cancel_match(match.id, ann)
    elif state == "EXPIRED":
        await people.sql.execute("update matches set expire_time = now() where id = $1", uuid.UUID(match.id))
    elif state == "ENDED":
        await people.answer(match, "ACCEPT")
        await people.store.end_match(match.id, ann)
    with pytest.raises(errors.FailedPrecondition) as caught:
        await people.store.end_match(match.id, ben)
    assert (caught.value.reason, caught.value.metadata["state"]) == ("MATCH_NOT_ACCEPTED", state)


async def test_strangers_end_nothing(people: People) -> None:
    """To others the match does not exist."""
    ann, ben, cid = await people.join_many(3)
    match = await people.match(ann, ben)
    assert await refusal(people.store.end_match(match.id, cid)) == "MATCH_NOT_FOUND"
    assert (await people.store.get_match(match.id, ann)).state == "ACCEPTED"


async def test_the_two_can_be_paired_again_after_a_week(people: People) -> None:
    """The seven days run from the end of the match."""
    place = (70.0, people.source.random() * 90)
    ann, ben = await people.join_many(2, place)
    match = await people.match(ann, ben)
    await people.let_pass(timedelta(days=30))
    await people.store.end_match(match.id, ann)
    await people.let_pass(timedelta(days=6, hours=23))
    assert await people.candidates(ann, radius_miles=1) == []
    await people.let_pass(timedelta(hours=1))
    assert await people.candidates(ann, radius_miles=1) == [ben]


@pytest.mark.parametrize(("blocker", "state", "kinds"), [(0, "CANCELLED", []), (1, "DECLINED", ["MATCH_DECLINE"])])
async def test_block_of_a_pending_match(people: People, blocker: int, state: str, kinds: list[str]) -> None:
    """It looks as if the blocker had withdrawn or declined, and both are free."""
    both = await people.join_many(2)
    match = await people.invite(*both)
    await people.store.block_user(both[blocker], both[1 - blocker])
    assert (await people.store.get_match(match.id, both[0])).state == state
    rows = await people.sql.fetch(
        "select kind, state from notifications where match_id = $1 order by kind", uuid.UUID(match.id)
    )
    assert [row["kind"] for row in rows if row["state"] == "PENDING"] == kinds
    for person in both:
        assert (await people.invite(person, await people.join())).state == "PENDING"


async def test_blocked_people_never_meet(people: People) -> None:
    """Neither sees or can invite the other until the blocker takes it back; a block by the other stays."""
    place = (-50.0, people.source.random() * 90)
    ann, ben = await people.join_many(2, place)
    for _ in range(2):
        await people.store.block_user(ann, ben)
    await people.store.block_user(ben, ann)
    await people.let_pass(timedelta(days=1000))

    async def apart() -> bool:
        seen = [await people.candidates(each, radius_miles=1) for each in (ann, ben)]
        assert seen in ([[], []], [[ben], [ann]])
        return seen == [[], []]

    assert await apart()
    assert await refusal(people.invite(ben, ann)) == "CANDIDATE_UNAVAILABLE"
    await people.store.unblock_user(ann, ben)
    assert await apart()
    for _ in range(2):
        await people.store.unblock_user(ben, ann)
    assert not await apart()


async def test_block_of_nobody_and_by_nobody(people: People) -> None:
    """Both must have a profile, and be two."""
    ann, nobody = await people.join(), people.new_id()
    for blocker, blocked in ((ann, nobody), (nobody, ann)):
        with pytest.raises(errors.NotFound) as caught:
            await people.store.block_user(blocker, blocked)
        assert (caught.value.reason, caught.value.metadata) == ("PROFILE_NOT_FOUND", {"user_id": nobody})
    with pytest.raises(errors.InvalidArgument) as invalid:
        await people.store.block_user(ann, ann)
    assert [violation.field for violation in invalid.value.violations] == ["blocked_user_id"]
    await people.store.unblock_user(nobody, ann)


async def test_repeated_requests(people: People) -> None:
    """With its request_id each is answered as at first; another body under it is refused."""
    ann, ben, cid = await people.join_many(3)
    match, keys = await people.match(ann, ben), [people.new_id() for _ in range(3)]
    ended = await people.store.end_match(match.id, ann, request_id=keys[0])
    assert await people.store.end_match(match.id, ann, request_id=keys[0]) == ended
    await people.store.block_user(ann, ben, request_id=keys[1])
    await people.store.unblock_user(ann, ben, request_id=keys[2])
    await people.store.block_user(ann, ben, request_id=keys[1])
    blocks = "select count(*) from avoidances where user_id = $1 and cause = 'BLOCKED'"
    assert await people.sql.fetchval(blocks, uuid.UUID(ann)) == 0
    for call in (
        people.store.end_match(people.new_id(), ann, request_id=keys[0]),
        people.store.block_user(ann, cid, request_id=keys[1]),
        people.store.unblock_user(ann, cid, request_id=keys[2]),
    ):
        assert await refusal(call) == "REQUEST_ID_REUSED"
