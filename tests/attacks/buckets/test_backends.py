"""A backend's key, used to take a user's calls away, and what a backend must not do to a person all the same."""

import pytest

from support.credentials import ENTRY, KEY, user_token
from support.protos import policy
from support.target import METHODS, SLOW_KEY, Target
from wingmanmatch.options.v1 import options_pb2

GET_PROFILE = "matching.v1.MatchingService.GetProfile"
REQUEST_MATCH = "matching.v1.MatchingService.RequestMatch"
CREATE_SESSION = "session.v1.SessionService.CreateSession"
LIMITED = [
    name
    for name, method in METHODS.items()
    if policy(method).rate_limit and policy(method).access != options_pb2.ACCESS_ADMIN
]
ABOUT_USERS = {
    name for name in LIMITED if policy(METHODS[name]).rate_limit_subject == options_pb2.RATE_LIMIT_SUBJECT_USER
}
BACKEND = f"rl:{{{ENTRY.name}}}:backend_api"


def test_limits_that_protect_people() -> None:
    """They are those of invitations and of signing in."""
    assert {REQUEST_MATCH, CREATE_SESSION} == ABOUT_USERS


@pytest.mark.parametrize("method", LIMITED)
async def test_a_backend_is_charged_itself(target: Target, method: str, victim: str) -> None:
    """Its own bucket pays for each call, and the user's only where the limit protects that user."""
    await target.call(method, victim, KEY)
    of_the_user = {f"rl:{{{victim}}}:{policy(METHODS[method]).rate_limit}"} if method in ABOUT_USERS else set()
    assert await target.buckets() == {BACKEND} | of_the_user


async def test_reading_a_profile_does_not_lock_its_user_out(target: Target, victim: str) -> None:
    """After 130 reads by a backend the user has a whole bucket left."""
    assert "RATE_LIMITED" not in await target.calls(130, GET_PROFILE, victim, KEY)
    assert await target.call(GET_PROFILE, victim, user_token(victim)) == "PROFILE_NOT_FOUND"
    assert await target.left("public_api", victim) == 99


async def test_a_backend_has_the_size_of_its_key(target: Target, victim: str) -> None:
    """A key for 5 calls a second has a burst of 10; neither another backend nor a user feels it."""
    reasons = await target.calls(30, GET_PROFILE, victim, SLOW_KEY)
    assert reasons.count("PROFILE_NOT_FOUND") in range(10, 16)
    assert reasons.count("RATE_LIMITED") == 30 - reasons.count("PROFILE_NOT_FOUND")
    assert await target.call(GET_PROFILE, victim, KEY) == "PROFILE_NOT_FOUND"
    assert await target.call(GET_PROFILE, victim, user_token(victim)) == "PROFILE_NOT_FOUND"


async def test_no_backend_floods_people_with_invitations(target: Target, victim: str, attacker: str) -> None:
    """Five requests for one user pass whoever asks; the sixth does not, while those for another user do."""
    reasons = [await target.call(REQUEST_MATCH, victim, KEY) for _ in range(6)]
    assert reasons == ["PROFILE_NOT_FOUND"] * 5 + ["RATE_LIMITED"]
    assert await target.call(REQUEST_MATCH, attacker, KEY) == "PROFILE_NOT_FOUND"


async def test_a_denied_request_for_a_user_costs_the_backend_nothing(target: Target, victim: str) -> None:
    """Where the user's bucket is empty the backend's is not charged."""
    for _ in range(5):
        await target.call(REQUEST_MATCH, victim, SLOW_KEY)
    await target.redis.delete("rl:{slow}:backend_api")
    assert await target.call(REQUEST_MATCH, victim, SLOW_KEY) == "RATE_LIMITED"
    assert "rl:{slow}:backend_api" not in await target.buckets()


@pytest.mark.parametrize("name", ["203.0.113.99", "2001:db8:1:2:3:4:5:6", "2001:0db8:85a3:0000:0000:8a2e:0370:1", ""])
async def test_a_user_cannot_be_named_like_an_address(target: Target, name: str) -> None:
    """Sessions for a user called like an address take nothing from the attempts of that address."""
    assert await target.call(CREATE_SESSION, name, KEY) == "FIELD_INVALID"
    assert await target.buckets() == {BACKEND}
