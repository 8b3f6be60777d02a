"""Challenges that people take on: every transition, whoever asks and however often, over both transports."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Iterable
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from typing import Any, TypeVar

import pytest

from support.challenges import DURATION_DAYS, Challenges, somebody
from wingmanmatch_server import errors

AT_ONCE = 20
WEEK = timedelta(days=DURATION_DAYS)
T = TypeVar("T")


def new_id() -> str:
    """Return a UUID that nobody has."""
    return str(uuid.uuid4())


async def reason_of(call: Awaitable[Any]) -> tuple[type[errors.DomainError], str]:
    """Return how a call fails."""
    with pytest.raises(errors.DomainError) as caught:
        await call
    return type(caught.value), caught.value.reason


async def all_at_once(calls: Iterable[Awaitable[T]]) -> tuple[list[T], Counter[str]]:
    """Return the answers, and how often each reason came instead."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, errors.DomainError) or not isinstance(each, BaseException) for each in outcomes), (
        outcomes
    )
    refusals = Counter(each.reason for each in outcomes if isinstance(each, errors.DomainError))
    return [each for each in outcomes if not isinstance(each, BaseException)], refusals


async def test_start_and_submit(challenges: Challenges) -> None:
    """An attempt starts with nothing earned and a week's time, and ends with notes and the challenge's points."""
    ann = await somebody(challenges)
    started = await challenges.start(ann, 3)
    assert (started.state, started.notes, started.earned_points) == ("STARTED", "", 0)
    assert started.submit_time is None
    assert started.expire_time - started.create_time == WEEK
    answer = await challenges.store.submit(started.id, ann, notes="It went well.")
    submitted = answer.user_challenge
    challenge = (await challenges.catalogue())[3]
    assert submitted == replace(
        started,
        state="SUBMITTED",
        notes="It went well.",
        earned_points=challenge.points,
        submit_time=submitted.submit_time,
    )
    assert submitted.submit_time is not None
    assert answer.total_points == challenge.points
    assert submitted.challenge == challenge


async def test_points_are_those_of_the_moment(challenges: Challenges) -> None:
    """What was earned stays, whatever the challenge is worth later."""
    ann = await somebody(challenges)
    started = await challenges.start(ann, 4)
    earned = (await challenges.store.submit(started.id, ann)).total_points
    await challenges.sql.execute(
        "update approach_challenges set points = points + 100 where id = $1", started.challenge.id
    )
    try:
        assert (await challenges.store.list_of_user(ann)).total_points == earned
    finally:
        await challenges.sql.execute(
            "update approach_challenges set points = points - 100 where id = $1", started.challenge.id
        )


async def test_retired_while_under_way(challenges: Challenges) -> None:
    """Who has a challenge under way may submit it, and earns its points, though nobody starts it any more."""
    ann = await somebody(challenges)
    started = await challenges.start(ann, 6)
    about = started.challenge.id
    await challenges.sql.execute("update approach_challenges set retired = true where id = $1", about)
    try:
        answer = await challenges.store.submit(started.id, ann)
        assert answer.user_challenge.earned_points == started.challenge.points
        assert await reason_of(challenges.store.start(ann, about)) == (errors.NotFound, "CHALLENGE_NOT_FOUND")
    finally:
        await challenges.sql.execute("update approach_challenges set retired = false where id = $1", about)


async def test_refused_starts(challenges: Challenges) -> None:
    """Nobody, an unknown challenge, a retired one, and one that is under way; nothing is left behind."""
    ann = await somebody(challenges)
    catalogue = await challenges.catalogue()
    started = await challenges.start(ann, 0)
    retired = catalogue[1].id
    await challenges.sql.execute("update approach_challenges set retired = true where id = $1", retired)
    try:
        for user_id, challenge_id, expected in (
            (new_id(), catalogue[2].id, (errors.NotFound, "PROFILE_NOT_FOUND")),
            (ann, new_id(), (errors.NotFound, "CHALLENGE_NOT_FOUND")),
            (ann, retired, (errors.NotFound, "CHALLENGE_NOT_FOUND")),
            (ann, catalogue[0].id, (errors.FailedPrecondition, "CHALLENGE_IN_PROGRESS")),
        ):
            assert await reason_of(challenges.store.start(user_id, challenge_id)) == expected
    finally:
        await challenges.sql.execute("update approach_challenges set retired = false where id = $1", retired)
    with pytest.raises(errors.FailedPrecondition) as caught:
        await challenges.store.start(ann, catalogue[0].id)
    assert caught.value.metadata == {"user_challenge_id": started.id}
    assert [each.id for each in (await challenges.store.list_of_user(ann)).user_challenges] == [started.id]


async def test_refused_submissions(challenges: Challenges) -> None:
    """An unknown attempt, somebody else's, one that was submitted, and one that came too late."""
    ann, ben = await somebody(challenges), await somebody(challenges)
    first, late = await challenges.start(ann, 0), await challenges.start(ann, 1)
    await challenges.store.submit(first.id, ann, notes="first")
    await challenges.sql.execute("update user_challenges set expire_time = now() where id = $1", late.id)
    for attempt_id, user_id, expected in (
        (new_id(), ann, (errors.NotFound, "USER_CHALLENGE_NOT_FOUND")),
        (late.id, ben, (errors.NotFound, "USER_CHALLENGE_NOT_FOUND")),
        (late.id, new_id(), (errors.NotFound, "USER_CHALLENGE_NOT_FOUND")),
        (first.id, ann, (errors.FailedPrecondition, "CHALLENGE_SUBMITTED")),
        (late.id, ann, (errors.FailedPrecondition, "CHALLENGE_EXPIRED")),
    ):
        assert await reason_of(challenges.store.submit(attempt_id, user_id, notes="again")) == expected
    listed = await challenges.store.list_of_user(ann)
    assert [(each.state, each.notes) for each in listed.user_challenges] == [
        ("EXPIRED", ""),
        ("SUBMITTED", "first"),
    ]
    assert listed.total_points == first.challenge.points


async def test_same_challenge_again(challenges: Challenges) -> None:
    """Once an attempt ended, by submission or by time, the next may begin, and earns anew."""
    ann = await somebody(challenges)
    first = await challenges.start(ann)
    await challenges.store.submit(first.id, ann)
    await challenges.start(ann)
    await challenges.let_pass(WEEK)
    third = await challenges.start(ann)
    answer = await challenges.store.submit(third.id, ann)
    assert answer.total_points == 2 * first.challenge.points
    states = [each.state for each in (await challenges.store.list_of_user(ann)).user_challenges]
    assert Counter(states) == {"SUBMITTED": 2, "EXPIRED": 1}


async def test_list_comes_in_pages(challenges: Challenges) -> None:
    """Pages joined are the whole list, newest first; states filter it, and others' attempts are in none."""
    ann, ben = await somebody(challenges), await somebody(challenges)
    attempts = [await challenges.start(ann, place) for place in range(7)]
    for attempt in attempts[::2]:
        await challenges.store.submit(attempt.id, ann)
    pages, after = [], None
    while True:
        page = await challenges.store.list_of_user(ann, page_size=3, after=after)
        pages.append([each.id for each in page.user_challenges])
        after = page.next_position
        if after is None:
            break
    assert [len(page) for page in pages] == [3, 3, 1]
    assert list(chain(*pages)) == [each.id for each in reversed(attempts)]
    started = await challenges.store.list_of_user(ann, states=["STARTED"])
    assert [each.id for each in started.user_challenges] == [each.id for each in reversed(attempts[1::2])]
    assert (await challenges.store.list_of_user(ann, states=["EXPIRED"])).user_challenges == ()
    assert (await challenges.store.list_of_user(ben)).user_challenges == ()


async def test_many_starts_at_once(challenges: Challenges) -> None:
    """Of many who start one challenge for one person at the same time one does."""
    ann = await somebody(challenges)
    challenge_id = (await challenges.catalogue())[0].id
    answers, refusals = await all_at_once(challenges.store.start(ann, challenge_id) for _ in range(AT_ONCE))
    assert (len(answers), refusals) == (1, {"CHALLENGE_IN_PROGRESS": AT_ONCE - 1})
    assert len((await challenges.store.list_of_user(ann)).user_challenges) == 1


async def test_many_submissions_at_once(challenges: Challenges) -> None:
    """Of many who submit one attempt at the same time one does, and its points are earned once."""
    ann = await somebody(challenges)
    attempt = await challenges.start(ann, 5)
    answers, refusals = await all_at_once(
        challenges.store.submit(attempt.id, ann, notes=str(number)) for number in range(AT_ONCE)
    )
    assert (len(answers), refusals) == (1, {"CHALLENGE_SUBMITTED": AT_ONCE - 1})
    listed = await challenges.store.list_of_user(ann)
    assert listed.user_challenges == (answers[0].user_challenge,)
    assert listed.total_points == answers[0].total_points == attempt.challenge.points


async def test_repeated_request_ids(challenges: Challenges) -> None:
    """Many calls with one request_id have one effect and one answer; with another body it is refused."""
    ann = await somebody(challenges)
    first, second = (await challenges.catalogue())[:2]
    key = new_id()
    starts, refusals = await all_at_once(challenges.store.start(ann, first.id, request_id=key) for _ in range(10))
    assert refusals == {}
    assert all(each == starts[0] for each in starts)
    attempt_id = starts[0].id
    submissions, refusals = await all_at_once(
        challenges.store.submit(attempt_id, ann, notes="x", request_id=key) for _ in range(10)
    )
    assert refusals == {}
    assert all(each == submissions[0] for each in submissions)
    reused = (errors.InvalidArgument, "REQUEST_ID_REUSED")
    assert await reason_of(challenges.store.start(ann, second.id, request_id=key)) == reused
    assert await reason_of(challenges.store.submit(attempt_id, ann, notes="y", request_id=key)) == reused
    listed = await challenges.store.list_of_user(ann)
    assert (len(listed.user_challenges), listed.total_points) == (1, first.points)


async def test_notes_have_a_length(challenges: Challenges) -> None:
    """Four thousand characters are kept, and one more is refused by the database too."""
    ann = await somebody(challenges)
    attempt = await challenges.start(ann)
    with pytest.raises(errors.InvalidArgument) as caught:
        await challenges.store.submit(attempt.id, ann, notes="ä" * 4001)
    assert [violation.field for violation in caught.value.violations] == ["notes"]
    answer = await challenges.store.submit(attempt.id, ann, notes="ä" * 4000)
    assert answer.user_challenge.notes == "ä" * 4000


async def test_erased_while_busy(challenges: Challenges) -> None:
    """Who is erased while they start, submit and share leaves neither an attempt nor an answer behind."""
    ann = await somebody(challenges)
    attempts = [await challenges.start(ann, place) for place in range(10)]
    catalogue = await challenges.catalogue()

    async def erase() -> None:
        await asyncio.sleep(0.005)
        await challenges.people.store.delete_profile(ann)

    _, refusals = await all_at_once(
        [
            *(challenges.store.start(ann, each.id, request_id=new_id()) for each in catalogue[10:20]),
            *(challenges.store.submit(each.id, ann, notes="x", request_id=new_id()) for each in attempts),
            *(challenges.store.share(each.id, ann, ttl_seconds=60, request_id=new_id()) for each in attempts),
            erase(),
        ]
    )
    assert set(refusals) <= {"PROFILE_NOT_FOUND", "USER_CHALLENGE_NOT_FOUND"}
    for table in ("user_challenges", "share_links", "request_keys"):
        assert await challenges.sql.fetchval(f"select count(*) from {table} where user_id = $1", ann) == 0
