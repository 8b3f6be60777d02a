"""Links in the database: what they show, to whom, and how they end."""

import asyncio
import uuid
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest

from support.challenges import Challenges, somebody
from wingmanmatch_server import errors
from wingmanmatch_server.challenge.rows import SharedChallenge, UserChallenge
from wingmanmatch_server.matching.rows import Match, SharedMatch

HOUR = 3600.0
NOT_FOUND = (errors.NotFound, "SHARE_LINK_NOT_FOUND")


def new_id() -> str:
    """Return a UUID that nobody has."""
    return str(uuid.uuid4())


async def reason_of(call: Any) -> tuple[type[errors.DomainError], str]:
    """Return how a call fails."""
    with pytest.raises(errors.DomainError) as caught:
        await call
    return type(caught.value), caught.value.reason


async def accepted(challenges: Challenges) -> tuple[str, str, Match]:
    """Return two people and their match."""
    ann, ben = await somebody(challenges, first_name="Ann"), await somebody(challenges, first_name="Ben")
    invited = await challenges.people.invite(ann, ben)
    return ann, ben, await challenges.people.answer(invited, "ACCEPT")


async def shared_challenge(challenges: Challenges, **options: Any) -> tuple[str, UserChallenge, str]:
    """Return somebody, their attempt, and the id of a link to it."""
    ann = await somebody(challenges, first_name="Ann")
    attempt = await challenges.start(ann)
    link = await challenges.store.share(attempt.id, ann, **{"ttl_seconds": HOUR} | options)
    return ann, attempt, link.id


async def test_link_to_a_challenge_shows_name_challenge_and_state(challenges: Challenges) -> None:
    """Nothing else is in it, and it follows the attempt."""
    ann, attempt, link_id = await shared_challenge(challenges)
    assert await challenges.store.get_shared(link_id) == SharedChallenge("Ann", attempt.challenge, "STARTED")
    await challenges.store.submit(attempt.id, ann, notes="Secret.")
    assert await challenges.store.get_shared(link_id) == SharedChallenge("Ann", attempt.challenge, "SUBMITTED")
    result = await challenges.store._database.call("get_shared_challenge", p_share_link_id=link_id)
    assert result == {
        "shared_challenge": {"first_name": "Ann", "challenge": asdict(attempt.challenge), "state": "SUBMITTED"}
    }


async def test_link_to_a_match_shows_one_name_and_a_time(challenges: Challenges) -> None:
    """It shows who shares, not the other; it ends with the match."""
    ann, ben, match = await accepted(challenges)
    store = challenges.people.store
    for user_id, name in ((ann, "Ann"), (ben, "Ben")):
        link = await store.share_match(match.id, user_id, ttl_seconds=HOUR)
        assert await store.get_shared_match(link.id) == SharedMatch(name, match.respond_time)
        result = await store._database.call("get_shared_match", p_share_link_id=link.id)
        assert result["shared_match"].keys() == {"first_name", "respond_time"}
    await challenges.sql.execute("update matches set state = 'ENDED' where id = $1", match.id)
    assert await reason_of(store.get_shared_match(link.id)) == NOT_FOUND


async def test_link_ends_in_time(challenges: Challenges) -> None:
    """A link lives as long as was asked for, then shows nothing, and is forgotten."""
    ann = await somebody(challenges)
    attempt = await challenges.start(ann)
    link = await challenges.store.share(attempt.id, ann, ttl_seconds=HOUR)
    assert link.expire_time - link.create_time == timedelta(hours=1)
    await challenges.let_pass(timedelta(minutes=59))
    await challenges.store.purge_share_links()
    assert await challenges.store.get_shared(link.id)
    await challenges.let_pass(timedelta(minutes=1))
    assert await reason_of(challenges.store.get_shared(link.id)) == NOT_FOUND
    assert await challenges.store.purge_share_links(limit=1000) >= 1
    assert await challenges.sql.fetchval("select count(*) from share_links where id = $1", link.id) == 0


@pytest.mark.parametrize("seconds", [59.9, 90 * 86400 + 1, -1.0])
async def test_life_of_a_link_has_limits(challenges: Challenges, seconds: float) -> None:
    """From a minute to ninety days, also for whoever calls the database."""
    ann = await somebody(challenges)
    attempt = await challenges.start(ann)
    with pytest.raises(errors.InvalidArgument) as caught:
        await challenges.store.share(attempt.id, ann, ttl_seconds=seconds)
    assert [violation.field for violation in caught.value.violations] == ["ttl"]


async def test_revoked_link_shows_nothing(challenges: Challenges) -> None:
    """Only who made it revokes it, and by the service it is of; revoking twice is revoking once."""
    ann, _, link_id = await shared_challenge(challenges)
    ben = await somebody(challenges)
    assert await reason_of(challenges.store.revoke(link_id, ben)) == NOT_FOUND
    assert await reason_of(challenges.store.revoke(new_id(), ann)) == NOT_FOUND
    assert await reason_of(challenges.people.store.revoke_share_link(link_id, ann)) == NOT_FOUND
    assert await challenges.store.get_shared(link_id)
    key = new_id()
    await challenges.store.revoke(link_id, ann, request_id=key)
    revoked = await challenges.sql.fetchval("select revoke_time from share_links where id = $1", link_id)
    await challenges.store.revoke(link_id, ann, request_id=key)
    await challenges.store.revoke(link_id, ann)
    assert await challenges.sql.fetchval("select revoke_time from share_links where id = $1", link_id) == revoked
    assert await reason_of(challenges.store.get_shared(link_id)) == NOT_FOUND


async def test_link_shows_only_what_it_is_of(challenges: Challenges) -> None:
    """The id of a link to a match opens no challenge, and the other way round."""
    ann, _, match = await accepted(challenges)
    store = challenges.people.store
    to_match = (await store.share_match(match.id, ann, ttl_seconds=HOUR)).id
    _, _, to_challenge = await shared_challenge(challenges)
    assert await reason_of(challenges.store.get_shared(to_match)) == NOT_FOUND
    assert await reason_of(store.get_shared_match(to_challenge)) == NOT_FOUND


async def test_refused_links(challenges: Challenges) -> None:
    """Nobody shares what is not theirs, nor a match that is not accepted."""
    _, attempt, _ = await shared_challenge(challenges)
    ben, cid = await somebody(challenges), await somebody(challenges)
    unknown = (errors.NotFound, "USER_CHALLENGE_NOT_FOUND")
    assert await reason_of(challenges.store.share(attempt.id, ben, ttl_seconds=HOUR)) == unknown
    match = await challenges.people.invite(ben, cid)
    store = challenges.people.store
    with pytest.raises(errors.FailedPrecondition) as caught:
        await store.share_match(match.id, ben, ttl_seconds=HOUR)
    assert (caught.value.reason, caught.value.metadata["state"]) == ("MATCH_NOT_ACCEPTED", "PENDING")
    stranger = store.share_match(match.id, await somebody(challenges), ttl_seconds=HOUR)
    assert await reason_of(stranger) == (errors.NotFound, "MATCH_NOT_FOUND")


async def test_repeated_request_ids(challenges: Challenges) -> None:
    """Many calls with one request_id make one link; with another life it is refused."""
    ann, attempt, _ = await shared_challenge(challenges)
    key = new_id()
    answers = await asyncio.gather(
        *(challenges.store.share(attempt.id, ann, ttl_seconds=HOUR, request_id=key) for _ in range(10))
    )
    assert all(each == answers[0] for each in answers)
    assert await challenges.sql.fetchval("select count(*) from share_links where user_id = $1", ann) == 2
    again = challenges.store.share(attempt.id, ann, ttl_seconds=2 * HOUR, request_id=key)
    assert await reason_of(again) == (errors.InvalidArgument, "REQUEST_ID_REUSED")


async def test_links_go_with_the_person(challenges: Challenges) -> None:
    """The links of somebody who was erased show nothing; those of the partner end with the match."""
    ann, _, link_id = await shared_challenge(challenges)
    _, ben, match = await accepted(challenges)
    store = challenges.people.store
    partners = (await store.share_match(match.id, ben, ttl_seconds=HOUR)).id
    await store.delete_profile(ann)
    await store.delete_profile(match.requester_id)
    assert await reason_of(challenges.store.get_shared(link_id)) == NOT_FOUND
    assert await reason_of(store.get_shared_match(partners)) == NOT_FOUND
    assert await challenges.sql.fetchval("select count(*) from share_links where user_id = $1", ann) == 0
