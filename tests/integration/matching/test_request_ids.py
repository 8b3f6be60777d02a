"""A mutation repeated with its request_id happens once."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from support.people import VIENNA, People, new_profile
from wingmanmatch_server import errors


async def test_fifty_calls_with_one_request_id_have_one_effect(crowd: People) -> None:
    """Fifty concurrent callers of one request get one match, one mail, and fifty equal answers."""
    ann = await crowd.join()
    await crowd.join_many(5)
    request_id = crowd.new_id()
    answers = await asyncio.gather(*(crowd.store.request_match(ann, request_id=request_id) for _ in range(50)))
    assert all(answer == answers[0] for answer in answers)
    assert await crowd.sql.fetchval("select count(*) from matches") == 1
    assert await crowd.sql.fetchval("select count(*) from notifications") == 1


async def test_every_mutation_repeats_its_first_answer(people: People) -> None:
    """Cancelling, answering and storing a profile again with the same request_id gives the first answer."""
    ann, ben, eve = await people.join_many(3)
    cancelled, declined = await people.invite(ann, ben), await people.invite(eve, await people.join())
    key = people.new_id()
    profile = new_profile(ann, VIENNA, first_name="Anna")
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: people.store.cancel_match(cancelled.id, ann, request_id=key),
        lambda: people.store.respond_to_match(declined.id, declined.invitee_id, "DECLINE", request_id=key),
        lambda: people.store.upsert_profile(profile, request_id=key),
    ]
    for call in calls:
        first = await call()
        assert await call() == first
    assert await people.sql.fetchval("select count(*) from notifications where kind = 'MATCH_DECLINE'") == 1


async def test_another_body_is_refused(people: People) -> None:
    """A request_id used for something else is refused, and nothing happens."""
    ann, ben = await people.join_many(2)
    key = people.new_id()
    await people.invite(ann, ben, request_id=key)
    with pytest.raises(errors.InvalidArgument) as caught:
        await people.invite(ann, ben, message="Hi!", request_id=key)
    assert (caught.value.reason, caught.value.violations[0].field) == ("REQUEST_ID_REUSED", "request_id")
    assert await people.sql.fetchval("select count(*) from matches") == 1


async def test_request_ids_are_of_one_person_and_one_function(people: People) -> None:
    """Another person's request_id, or another method's, stands in nobody's way."""
    ann, ben, cid, dora = await people.join_many(4)
    key = people.new_id()
    match = await people.invite(ann, ben, request_id=key)
    assert (await people.invite(cid, dora, request_id=key)).id != match.id
    cancelled = await people.store.cancel_match(match.id, ann, request_id=key)
    assert cancelled.state == "CANCELLED"


async def test_refusals_are_not_remembered(people: People) -> None:
    """A request that failed may be repeated with its request_id and succeed."""
    ann = await people.join()
    key = people.new_id()
    with pytest.raises(errors.FailedPrecondition):
        await people.store.request_match(ann, request_id=key)
    ben = await people.join()
    assert (await people.store.request_match(ann, request_id=key)).match.invitee_id == ben


async def test_request_ids_are_forgotten_after_24_hours(people: People) -> None:
    """After 24 hours a request_id is new again, whether or not it was purged, and the purge takes only what is due."""
    ann, ben, eve, dora = await people.join_many(4)
    key = people.new_id()
    await people.answer(await people.invite(ann, ben, request_id=key), "DECLINE")
    await people.let_pass(timedelta(hours=23, minutes=59))
    assert await people.store.purge_request_keys() == 0
    with pytest.raises(errors.InvalidArgument):
        await people.invite(ann, eve, request_id=key)
    await people.let_pass(timedelta(minutes=2))
    await people.answer(await people.invite(ann, eve, request_id=key), "DECLINE")
    await people.let_pass(timedelta(hours=25))
    assert await people.store.purge_request_keys(limit=5) == 1
    assert (await people.invite(ann, dora, request_id=key)).state == "PENDING"


async def test_configuration_is_no_part_of_the_request(people: People) -> None:
    """A retry after the daily maximum was reconfigured still gets the first answer."""
    ann, ben = await people.join_many(2)
    key = people.new_id()
    match = await people.invite(ann, ben, request_id=key)
    query = (
        "select request_match($1::text::uuid, $2::text::uuid, p_max_daily_matches => 1, p_request_id => $3::text::uuid)"
    )
    assert match.id in await people.sql.fetchval(query, ann, ben, key)
