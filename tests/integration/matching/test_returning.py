"""What outlives an erasure: an id that returns is somebody new, but for blocks, recent pairs and no-shows."""

from datetime import timedelta

import pytest

from support.people import VIENNA, People, new_profile
from wingmanmatch_server import errors
from wingmanmatch_server.matching.digests import PersonDigests
from wingmanmatch_server.matching.store import MatchingStore

SECRET, NEWER, OLDEST = "the secret", "a newer secret", "the oldest secret"
DAY = timedelta(hours=24)


def keeping(people: People, *secrets: str) -> MatchingStore:
    """Return a store of a server that has these secrets, by default the one."""
    digests = PersonDigests(secrets or (SECRET,))
    return MatchingStore(people.store._database, max_daily_matches=100, digests=digests)


async def erase(people: People, user_id: str, *secrets: str) -> None:
    """Erase a person, and clean up."""
    store = keeping(people, *secrets)
    erasure_id = await store.delete_profile(user_id)
    assert erasure_id is not None
    await store.finish_erasure(erasure_id)


async def come_back(people: People, user_id: str, *secrets: str) -> None:
    """Create a profile under an id that was erased."""
    await keeping(people, *secrets).upsert_profile(new_profile(user_id, VIENNA))


async def apart(people: People, first: str, second: str) -> bool:
    """Return whether neither of two people can invite the other."""
    found = [
        second in await people.candidates(first, radius_miles=50),
        first in await people.candidates(second, radius_miles=50),
    ]
    assert found[0] == found[1]
    return not found[0]


async def kept(people: People) -> int:
    """Return how many rows are kept of erased people."""
    count: int = await people.sql.fetchval(
        "select (select count(*) from kept_pairs) + (select count(*) from kept_no_shows)"
    )
    return count


async def test_erased_id_may_not_return_at_once(people: People) -> None:
    """It is told when it may, counted from the end of the clean-up, and it may then."""
    me = await people.join()
    store = keeping(people)
    erasure_id = await store.delete_profile(me)
    assert erasure_id is not None
    await people.let_pass(DAY * 3)
    with pytest.raises(errors.FailedPrecondition) as caught:
        await come_back(people, me)
    assert (caught.value.reason, caught.value.metadata["user_id"]) == ("ERASED_RECENTLY", me)
    assert caught.value.retry_after == pytest.approx(86400, abs=5)
    await store.finish_erasure(erasure_id)
    await people.let_pass(DAY - timedelta(minutes=1))
    with pytest.raises(errors.FailedPrecondition) as caught:
        await come_back(people, me)
    assert caught.value.retry_after == pytest.approx(60, abs=5)
    await people.let_pass(timedelta(minutes=1))
    await come_back(people, me)
    assert (await people.store.list_matches(me)).matches == ()


@pytest.mark.parametrize("blocker_leaves", [False, True])
async def test_block_outlives_an_erasure(people: People, *, blocker_leaves: bool) -> None:
    """Whoever of the two was erased, they are kept apart again, and only the blocker can end it."""
    blocker, blocked = await people.join_many(2)
    await people.store.block_user(blocker, blocked)
    left, stayed = (blocker, blocked) if blocker_leaves else (blocked, blocker)
    await erase(people, left)
    await people.let_pass(DAY * 100)
    await come_back(people, left)
    assert await apart(people, blocker, blocked)
    await people.store.unblock_user(blocked, blocker)
    assert await apart(people, blocker, blocked)
    await people.store.unblock_user(blocker, blocked)
    assert not await apart(people, blocker, blocked)
    assert (await kept(people), stayed) == (0, stayed)


@pytest.mark.parametrize("first_back", [0, 1])
@pytest.mark.parametrize("first_gone", [0, 1])
async def test_block_outlives_the_erasure_of_both(people: People, first_gone: int, first_back: int) -> None:
    """Whoever leaves first and whoever returns first, in the end they are kept apart, and nobody else is."""
    pair = await people.join_many(2)
    bystander = await people.join()
    await people.store.block_user(*pair)
    await erase(people, pair[first_gone])
    await erase(people, pair[1 - first_gone])
    assert await kept(people) == 1
    await people.let_pass(DAY)
    for each in (pair[first_back], pair[1 - first_back]):
        await come_back(people, each)
        assert not await apart(people, each, bystander)
    assert await apart(people, *pair)
    assert await kept(people) == 0
    await people.store.unblock_user(pair[1], pair[0])
    assert await apart(people, *pair), "the one who was blocked cannot end it"
    await people.store.unblock_user(*pair)
    assert not await apart(people, *pair)


async def test_block_outlives_many_erasures_and_new_secrets(people: People) -> None:
    """Each erasure keeps under the first secret; those before find what they kept as long as they are accepted."""
    blocker, blocked = await people.join_many(2)
    await people.store.block_user(blocker, blocked)
    for erased_under, back_under in (((OLDEST,), (SECRET, OLDEST)), ((SECRET, OLDEST), (NEWER, SECRET))):
        await erase(people, blocked, *erased_under)
        await erase(people, blocker, *back_under)
        await people.let_pass(DAY)
        await come_back(people, blocked, *back_under)
        await come_back(people, blocker, *back_under)
        assert await apart(people, blocker, blocked)
    await erase(people, blocked, NEWER)
    await people.let_pass(DAY)
    await come_back(people, blocked, "another secret")
    assert not await apart(people, blocker, blocked), "nobody can tell any more whose the block is"


async def test_block_of_somebody_erased_can_be_taken_back(people: People) -> None:
    """Unblocking an id that is erased holds when it returns."""
    blocker, blocked = await people.join_many(2)
    await people.store.block_user(blocker, blocked)
    await erase(people, blocked)
    await keeping(people).unblock_user(blocker, blocked)
    await people.let_pass(DAY)
    await come_back(people, blocked)
    assert not await apart(people, blocker, blocked)


async def test_pair_stays_apart_for_its_week(people: People) -> None:
    """An erasure shortens the week after a declined invitation by nothing, and lengthens it by nothing."""
    inviter, invitee = await people.join_many(2)
    await people.answer(await people.invite(inviter, invitee), "DECLINE")
    await erase(people, inviter)
    await people.let_pass(DAY)
    await come_back(people, inviter)
    assert await apart(people, inviter, invitee)
    await people.let_pass(DAY * 6)
    assert not await apart(people, inviter, invitee)


async def test_live_match_ends_with_its_week(people: People) -> None:
    """Two who were matched when one left are kept apart as after a match that one of them ends."""
    first, second = await people.join_many(2)
    await people.match(first, second)
    await erase(people, first)
    await people.let_pass(DAY)
    await come_back(people, first)
    assert await apart(people, first, second)
    await people.let_pass(DAY * 6)
    assert not await apart(people, first, second)


async def test_no_shows_outlive_erasures(people: People) -> None:
    """Who was missing is still known as such after each return, and what was completed is forgotten."""
    me, *others = await people.join_many(3)
    for other, answer in zip(others, (people.meetups.report_no_show, people.meetups.confirm_meetup), strict=True):
        meetup = await people.schedule(await people.match(me, other), me)
        await people.let_pass(timedelta(hours=73))
        await answer(meetup.id, other)
        await people.meetups.confirm_meetup(meetup.id, me)
    assert (await people.store.get_reputation(me)).completed_count == 1
    for _ in range(2):
        await erase(people, me)
        await people.let_pass(DAY)
        await come_back(people, me)
        reputation = await people.store.get_reputation(me)
        assert (reputation.score, reputation.badge) == (-1, "RED")
        assert (reputation.completed_count, reputation.no_show_count) == (0, 1)
        assert await people.broken_rules() == []
    assert await kept(people) == 0


async def test_version_before_erases_and_keeps_nothing(people: People) -> None:
    """A call without a digest erases all the same; what others' erasures kept about the person goes too."""
    first, second = await people.join_many(2)
    await people.store.block_user(first, second)
    await erase(people, second)
    assert await kept(people) == 1
    database = people.store._database
    await database.call("delete_profile", p_user_id=first, p_request_id=None)
    assert await kept(people) == 0
    with pytest.raises(errors.FailedPrecondition):
        await database.call("upsert_profile", p_profile=new_profile(first, VIENNA))


async def test_version_before_lets_return_and_this_one_restores(people: People) -> None:
    """A profile that was made anew without digests is kept apart from the next time this version writes it."""
    blocker, blocked = await people.join_many(2)
    await people.store.block_user(blocker, blocked)
    await erase(people, blocked)
    await people.let_pass(DAY)
    await people.store._database.call("upsert_profile", p_profile=new_profile(blocked, VIENNA))
    assert not await apart(people, blocker, blocked)
    await come_back(people, blocked)
    assert await apart(people, blocker, blocked)


async def test_what_has_run_out_is_forgotten(people: People) -> None:
    """Pairs go after their week, and of two erased people the block after five years; no-shows go after two."""
    first, second, third = await people.join_many(3)
    await people.store.block_user(first, second)
    await people.answer(await people.invite(first, third), "DECLINE")
    await erase(people, first)
    await erase(people, second)
    assert await kept(people) == 2
    await people.sql.execute(
        "insert into kept_no_shows values (repeat('ab', 32), 1, now() + interval '2 years')",
    )
    for span, left in ((DAY * 8, 2), (DAY * 730, 1), (DAY * 1100, 0)):
        await people.let_pass(span)
        await people.store.claim_erasures()
        assert await kept(people) == left
