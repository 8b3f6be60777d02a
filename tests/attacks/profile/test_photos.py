"""Pictures on a host of the attacker's, which would learn the address of whoever looks at the profile."""

from typing import Any

import pytest

from support.credentials import KEY, bearer, user_token
from support.edge import failure_of
from support.requests import TIMEOUT, profile
from wingmanmatch.matching.v1 import matching_service_pb2

GOOD = "https://images.example.org/ann.jpg"
ELSEWHERE = (
    *(
        "https://evil.example/track.gif",
        "https://evil.example/https://images.example.org/a.jpg",
        "https://10.0.0.1/a.gif",
    ),
    *("https://images.example.org@evil.example/a.gif", "https://images.example.org:8443/a.gif"),
    *("https://images.example.org./a.gif", "https://images.example.org.evil.example/a.gif", "https://[::1]/a.gif"),
    *("https://evil.example\\@images.example.org/a.gif", "http://images.example.org/a.gif"),
    *("https://images.example.org/../a.gif", "data:image/gif;base64,R0lGODlhAQABAAAAACw="),
)


@pytest.mark.parametrize("address", ELSEWHERE)
async def test_picture_elsewhere(target: Any, address: str) -> None:
    """It is refused for the field, by back ends and by users."""
    person = profile(photo_url=address, email="eve@example.org")
    for call in (target.upsert(person), target.upsert_as_user(person, email="eve@example.org")):
        assert list((await failure_of(call)).violations) == ["profile.photo_url"]


async def test_picture_on_an_allowed_host(target: Any) -> None:
    """It is taken, in whatever case its host is written, and kept in lower case."""
    answer = await target.upsert(profile(photo_url="https://Images.EXAMPLE.org/ann.jpg"))
    assert answer.profile.photo_url == GOOD


async def test_picture_stored_before(target: Any) -> None:
    """What is stored of other hosts is shown to nobody: not in lists, not with an invitation, not in the profile."""
    eve, ann = profile(photo_url=GOOD), profile(photo_url=GOOD)
    ann.location.CopyFrom(eve.location)
    await target.upsert(eve)
    await target.upsert(ann)
    matching = target.client.matching
    as_ann = {"timeout": TIMEOUT, "metadata": bearer(user_token(ann.user_id))}
    candidates = matching_service_pb2.ListCandidatesRequest(user_id=ann.user_id)
    assert [each.photo_url for each in (await matching.ListCandidates(candidates, **as_ann)).candidates] == [GOOD]
    await target.sql.execute(
        "update public.user_profiles set photo_url = 'https://evil.example/a.gif' where id = $1::uuid", eve.user_id
    )
    assert [each.photo_url for each in (await matching.ListCandidates(candidates, **as_ann)).candidates] == [""]
    request = matching_service_pb2.RequestMatchRequest(user_id=ann.user_id, candidate_user_id=eve.user_id)
    assert (await matching.RequestMatch(request, **as_ann)).candidate.photo_url == ""
    get = matching_service_pb2.GetProfileRequest(user_id=eve.user_id)
    assert (await matching.GetProfile(get, timeout=TIMEOUT, metadata=bearer(KEY))).profile.photo_url == ""
