"""The life of a match: each step that is allowed, and each that is refused with its reason."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from support.people import VIENNA, People, new_profile, north_of
from wingmanmatch_server import errors
from wingmanmatch_server.matching.rows import Match


async def refusal(call: Awaitable[Any]) -> tuple[type[errors.DomainError], str, dict[str, str]]:
    """Return how a call is refused."""
    with pytest.raises(errors.DomainError) as caught:
        await call
    return type(caught.value), caught.value.reason, caught.value.metadata


async def test_nearest_person_is_invited(people: People) -> None:
    """Without a name the nearest compatible person is asked, and both the match and the person come back."""
    ann = await people.join()
    await people.join(north_of(VIENNA, 2))
    near = await people.join(north_of(VIENNA, 1), first_name="Ben")
    answer = await people.store.request_match(ann, venue_suggestion="Café Central", message="Hi!")
    match = answer.match
    assert (match.requester_id, match.invitee_id, match.state) == (ann, near, "PENDING")
    assert (match.venue_suggestion, match.message, match.respond_time) == ("Café Central", "Hi!", None)
    assert match.expire_time - match.create_time == timedelta(hours=72)
    assert (answer.candidate.user_id, answer.candidate.first_name) == (near, "Ben")
    assert answer.candidate.distance_miles in (1, 2)


async def test_named_person_is_invited_although_another_is_nearer(people: People) -> None:
    """A name decides whom the invitation goes to."""
    ann, _near = await people.join_many(2)
    named = await people.join(north_of(VIENNA, 5))
    assert (await people.invite(ann, named)).invitee_id == named


@pytest.mark.parametrize(("response", "state"), [("ACCEPT", "ACCEPTED"), ("DECLINE", "DECLINED")])
async def test_invited_person_responds(people: People, response: str, state: str) -> None:
    """An answer settles the match, and frees both people for others."""
    ann, ben, eve = await people.join_many(3)
    match = await people.answer(await people.invite(ann, ben), response)
    assert match.state == state
    assert match.respond_time is not None
    assert set(await people.candidates(eve)) == {ann, ben}
    assert (await people.store.get_match(match.id, ann)) == match
    assert await people.broken_rules() == []


async def test_requester_cancels(people: People) -> None:
    """A withdrawn invitation frees both people, and keeps no time of response."""
    ann, ben, eve = await people.join_many(3)
    match = await people.invite(ann, ben)
    cancelled = await people.store.cancel_match(match.id, ann)
    assert (cancelled.state, cancelled.respond_time) == ("CANCELLED", None)
    assert set(await people.candidates(eve)) == {ann, ben}


async def test_only_the_right_person_may_act(people: People) -> None:
    """The requester cannot respond, the invited person cannot cancel, and to a stranger the match does not exist."""
    ann, ben, eve = await people.join_many(3)
    match_id = (await people.invite(ann, ben)).id
    not_found = (errors.NotFound, "MATCH_NOT_FOUND", {"match_id": match_id})
    store = people.store
    assert (await refusal(store.respond_to_match(match_id, ann, "ACCEPT")))[:2] == (
        errors.PermissionDenied,
        "NOT_INVITEE",
    )
    assert (await refusal(store.cancel_match(match_id, ben)))[:2] == (errors.PermissionDenied, "NOT_REQUESTER")
    assert await refusal(store.respond_to_match(match_id, eve, "ACCEPT")) == not_found
    assert await refusal(store.cancel_match(match_id, eve)) == not_found
    assert await refusal(store.get_match(match_id, eve)) == not_found
    assert (await store.get_match(match_id, ben)).state == "PENDING"


async def accept(people: People, match: Match) -> None:
    """Let the invited person accept."""
    await people.answer(match, "ACCEPT")


async def decline(people: People, match: Match) -> None:
    """Let the invited person decline."""
    await people.answer(match, "DECLINE")


async def cancel(people: People, match: Match) -> None:
    """Let the requester cancel."""
    await people.store.cancel_match(match.id, match.requester_id)


async def outlive(people: People, _match: Match) -> None:
    """Let the time of the match pass."""
    await people.let_pass(timedelta(hours=72, seconds=1))


async def sweep(people: People, match: Match) -> None:
    """Let the time of the match pass, and mark it."""
    await outlive(people, match)
    assert await people.store.expire_matches() == 1


@pytest.mark.parametrize(
    ("end", "state"),
    [(accept, "ACCEPTED"), (decline, "DECLINED"), (cancel, "CANCELLED"), (outlive, "EXPIRED"), (sweep, "EXPIRED")],
)
async def test_settled_match_stays_settled(
    people: People, end: Callable[[People, Match], Awaitable[None]], state: str
) -> None:
    """Whatever became of a match, it can be neither answered nor cancelled again, and the refusal says its state."""
    ann, ben = await people.join_many(2)
    match = await people.invite(ann, ben)
    await end(people, match)
    expected = (errors.FailedPrecondition, "MATCH_NOT_PENDING", {"match_id": match.id, "state": state})
    for response in ("ACCEPT", "DECLINE"):
        assert await refusal(people.store.respond_to_match(match.id, ben, response)) == expected
    assert await refusal(people.store.cancel_match(match.id, ann)) == expected
    assert (await people.store.get_match(match.id, ann)).state == state


async def test_pending_match_keeps_both_from_another(people: People) -> None:
    """Neither person of a pending match can ask anybody else, named or not, and learns which match is in the way."""
    ann, ben, eve = await people.join_many(3)
    match_id = (await people.invite(ann, ben)).id
    expected = (errors.FailedPrecondition, "PENDING_MATCH_EXISTS", {"match_id": match_id})
    for person in (ann, ben):
        assert await refusal(people.store.request_match(person)) == expected
        assert await refusal(people.invite(person, eve)) == expected


async def test_expired_match_is_in_nobodys_way(people: People) -> None:
    """Before any sweep, both people of an expired match can ask and be asked, and the old match is marked."""
    ann, ben, eve = await people.join_many(3)
    old = await people.invite(ann, ben)
    await people.let_pass(timedelta(hours=72, seconds=1))
    assert (await people.invite(eve, ann)).state == "PENDING"
    assert await people.sql.fetchval("select state from matches where id = $1::text::uuid", old.id) == "EXPIRED"
    assert await people.store.expire_matches() == 0
    assert await people.broken_rules() == []


async def test_sweep_takes_what_is_due_and_no_more(people: People) -> None:
    """expire_matches marks expired matches, at most so many, and leaves the living."""
    for _ in range(3):
        ann, ben = await people.join_many(2)
        await people.invite(ann, ben)
    await people.let_pass(timedelta(hours=72, seconds=1))
    ann, ben = await people.join_many(2)
    living = await people.invite(ann, ben)
    assert [await people.store.expire_matches(limit=2) for _ in range(3)] == [2, 1, 0]
    assert (await people.store.get_match(living.id, ann)).state == "PENDING"


async def test_asking_who_asked_accepts(people: People) -> None:
    """If Ben asks for Ann while Ann's invitation is pending, that match is accepted and costs Ben no request."""
    ann, ben = await people.join_many(2)
    match = await people.invite(ann, ben)
    answer = await people.store.request_match(ben, candidate_user_id=ann)
    assert (answer.match.id, answer.match.state) == (match.id, "ACCEPTED")
    assert answer.candidate.user_id == ann
    assert await people.sql.fetchval("select count(*) from matches") == 1


async def test_asking_again_is_no_acceptance(people: People) -> None:
    """The requester cannot accept the own invitation by asking twice."""
    ann, ben = await people.join_many(2)
    match = await people.invite(ann, ben)
    assert (await refusal(people.invite(ann, ben)))[1] == "PENDING_MATCH_EXISTS"
    assert (await people.store.get_match(match.id, ann)).state == "PENDING"


async def test_named_person_must_be_a_candidate(people: People) -> None:
    """Inactive, far, of a distant level, blocked, just paired or busy: all the same refusal, and nothing happens."""
    ann = await people.join(experience_level="BEGINNER")
    inactive = await people.join(active=False)
    far = await people.join(north_of(VIENNA, 26))
    homebody = await people.join(north_of(VIENNA, 5), max_travel_miles=4)
    advanced = await people.join(experience_level="ADVANCED")
    blocked, paired, busy, friend = await people.join_many(4)
    await people.sql.execute(
        "insert into avoidances values ($1::text::uuid, $2::text::uuid, 'BLOCKED_BY', 'infinity')", ann, blocked
    )
    await people.answer(await people.invite(paired, ann), "DECLINE")
    await people.invite(busy, friend)
    matches = await people.sql.fetchval("select count(*) from matches")
    for candidate in (inactive, far, homebody, advanced, blocked, paired, busy, people.new_id()):
        expected = (errors.FailedPrecondition, "CANDIDATE_UNAVAILABLE", {"candidate_user_id": candidate})
        assert await refusal(people.invite(ann, candidate)) == expected
    assert await people.sql.fetchval("select count(*) from matches") == matches


async def test_who_cannot_ask(people: People) -> None:
    """Unknown and inactive people cannot ask; oneself cannot be asked; alone there is nobody."""
    ann, inactive, nobody = await people.join(), await people.join(active=False), people.new_id()
    store = people.store
    assert (await refusal(store.request_match(nobody)))[1] == "PROFILE_NOT_FOUND"
    assert (await refusal(people.invite(nobody, ann)))[1] == "PROFILE_NOT_FOUND"
    assert (await refusal(store.request_match(inactive)))[1] == "PROFILE_INACTIVE"
    assert (await refusal(people.invite(inactive, ann)))[1] == "PROFILE_INACTIVE"
    assert (await refusal(people.invite(ann, ann)))[2] == {"field": "candidate_user_id"}
    assert (await refusal(store.request_match(ann)))[:2] == (errors.FailedPrecondition, "NO_CANDIDATE")


async def test_inactive_person_can_still_answer(people: People) -> None:
    """Going inactive ends no pending match: the invited person may answer it."""
    ann, ben = await people.join_many(2)
    match = await people.invite(ann, ben)
    await people.store.upsert_profile(new_profile(ben, VIENNA, active=False))
    assert (await people.answer(match, "ACCEPT")).state == "ACCEPTED"


async def test_daily_maximum_is_of_the_last_24_hours(people: People) -> None:
    """The eleventh request within 24 hours is refused, with the seconds until the first of the ten is 24 hours old."""
    ann = await people.join()
    for _ in range(10):
        match = await people.invite(ann, await people.join())
        await people.store.cancel_match(match.id, ann)
        await people.let_pass(timedelta(hours=1))
    other = await people.join()
    with pytest.raises(errors.ResourceExhausted) as caught:
        await people.store.request_match(ann)
    assert caught.value.reason == "DAILY_MATCH_LIMIT"
    assert caught.value.retry_after == pytest.approx(14 * 3600, abs=30)
    await people.let_pass(timedelta(hours=13, minutes=59))
    assert (await refusal(people.invite(ann, other)))[1] == "DAILY_MATCH_LIMIT"
    await people.let_pass(timedelta(minutes=2))
    assert (await people.invite(ann, other)).state == "PENDING"


async def test_being_asked_costs_no_request(people: People) -> None:
    """Invitations received and answered do not count towards the maximum."""
    ann = await people.join()
    for _ in range(11):
        await people.answer(await people.invite(await people.join(), ann), "DECLINE")
    assert (await people.invite(ann, await people.join())).state == "PENDING"


async def test_decline_finds_the_next_person(people: People) -> None:
    """With find_next a decline invites the nearest other person in the same step."""
    ann, ben = await people.join_many(2)
    match = await people.invite(ann, ben)
    eve = await people.join(north_of(VIENNA, 1))
    answer = await people.store.respond_to_match(match.id, ben, "DECLINE", find_next=True)
    assert answer.match.state == "DECLINED"
    assert (answer.next_match.requester_id, answer.next_match.invitee_id) == (ben, eve)
    assert (answer.next_match.state, answer.next_candidate.user_id) == ("PENDING", eve)
    assert await people.broken_rules() == []


async def test_decline_stands_without_a_next_person(people: People) -> None:
    """Where nobody else is near, the match is declined and there is no next one."""
    ann, ben = await people.join_many(2)
    match = await people.invite(ann, ben)
    answer = await people.store.respond_to_match(match.id, ben, "DECLINE", find_next=True)
    assert (answer.match.state, answer.next_match, answer.next_candidate) == ("DECLINED", None, None)
    assert (await people.store.get_match(match.id, ann)).state == "DECLINED"


async def test_accept_looks_for_nobody(people: People) -> None:
    """find_next means nothing to an acceptance."""
    ann, ben, _eve = await people.join_many(3)
    match = await people.invite(ann, ben)
    answer = await people.store.respond_to_match(match.id, ben, "ACCEPT", find_next=True)
    assert (answer.match.state, answer.next_match) == ("ACCEPTED", None)


async def test_matches_are_listed_newest_first_in_pages(people: People) -> None:
    """Pages of two join to all matches of a person, sent and received, newest first; a stranger's are not there."""
    ann = await people.join()
    made = []
    for turn in range(5):
        other = await people.join()
        match = await (people.invite(ann, other) if turn % 2 else people.invite(other, ann))
        made.append((await people.answer(match, "DECLINE")).id)
    await people.invite(*await people.join_many(2))
    listed: list[str] = []
    after = None
    for _ in range(3):
        page = await people.store.list_matches(ann, page_size=2, after=after)
        listed += [match.id for match in page.matches]
        after = page.next_position
    assert (listed, after) == (made[::-1], None)


async def test_matches_are_listed_by_the_state_they_are_in_now(people: People) -> None:
    """A filter on states sees an expired match as expired before any sweep."""
    ann, ben, eve = await people.join_many(3)
    expired = await people.invite(ann, ben)
    await people.let_pass(timedelta(hours=73))
    pending = await people.invite(eve, ann)
    for states, expected in ((["EXPIRED"], [expired]), (["PENDING"], [pending]), (["ENDED"], []), ([], None)):
        ids = [match.id for match in (await people.store.list_matches(ann, states=states)).matches]
        assert ids == [match.id for match in (expected if expected is not None else [pending, expired])]
