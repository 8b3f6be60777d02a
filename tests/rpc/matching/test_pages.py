"""Lists of candidates go on from page to page whatever happens in between."""

from collections.abc import Awaitable, Callable

import pytest

from support.requests import TIMEOUT, join
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2


async def page_of(client: Stubs, user_id: str, token: str = "") -> matching_service_pb2.ListCandidatesResponse:
    """Return a page of two."""
    request = matching_service_pb2.ListCandidatesRequest(user_id=user_id, page_size=2, page_token=token)
    page: matching_service_pb2.ListCandidatesResponse = await client.matching.ListCandidates(request, timeout=TIMEOUT)
    return page


async def row_of_people(client: Stubs) -> tuple[str, list[matching_pb2.Profile]]:
    """Create somebody and four others, each four miles further away; return the one and the four."""
    me = await join(client)
    others = []
    for step in range(1, 5):
        place = {"latitude": me.location.latitude + 0.06 * step, "longitude": me.location.longitude}
        others.append(await join(client, location=place, max_travel_miles=100))
    return me.user_id, others


async def move(client: Stubs, person: matching_pb2.Profile) -> None:
    """Let a person move out of everybody's reach."""
    place = {"latitude": -person.location.latitude, "longitude": person.location.longitude + 2}
    await join(client, user_id=person.user_id, location=place)


async def erase(client: Stubs, person: matching_pb2.Profile) -> None:
    """Let a person leave for good."""
    request = matching_service_pb2.DeleteProfileRequest(user_id=person.user_id)
    await client.matching.DeleteProfile(request, timeout=TIMEOUT)


@pytest.mark.parametrize("change", [move, erase])
async def test_next_page_shows_the_rest(
    client: Stubs, change: Callable[[Stubs, matching_pb2.Profile], Awaitable[None]]
) -> None:
    """The last person of the first page moves or is erased, and the second page shows the rest."""
    me, others = await row_of_people(client)
    ids = [each.user_id for each in others]
    first = await page_of(client, me)
    assert [each.user_id for each in first.candidates] == ids[:2]
    await change(client, others[1])
    second = await page_of(client, me, first.next_page_token)
    assert [each.user_id for each in second.candidates] == ids[2:]
    assert second.next_page_token == ""


async def test_one_person_however_the_id_is_written(client: Stubs) -> None:
    """A token of a list that was asked for in lower case goes on with the id in upper case."""
    me, others = await row_of_people(client)
    token = (await page_of(client, me)).next_page_token
    pages = [await page_of(client, each, token) for each in (me, me.upper())]
    assert pages[0].candidates == pages[1].candidates
    assert [each.user_id for each in pages[1].candidates] == [each.user_id for each in others[2:]]
