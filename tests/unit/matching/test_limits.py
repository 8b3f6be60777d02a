"""What a far move of a profile's place costs, whatever the database answers."""

from collections.abc import Mapping
from typing import Any

import pytest

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.interceptors.chain import LOCAL, Caller
from wingmanmatch_server.matching.limits import PersonalLimits, Places
from wingmanmatch_server.matching.store import RELOCATION, MatchingStore

USER = "5F0C1D0E-6C1E-4D7E-9A52-0F4B8C1F0001"
ADA = Caller(USER.lower(), USER.lower())
BACKEND = Caller("booking", None, frozenset({"*"}))
PROFILE = {
    **dict.fromkeys(("email", "first_name", "last_name", "bio", "photo_url", "city", "time_zone", "locale"), ""),
    "user_id": USER.lower(),
    "experience_level": "BEGINNER",
    "confidence_archetype": "GHOST",
    "location_privacy": "PRECISE",
    "max_travel_miles": 20,
    "active": True,
    **dict.fromkeys(("create_time", "update_time"), "2026-11-28T12:00:00+00:00"),
}
FAR = errors.ResourceExhausted("RATE_LIMITED", "the place moves far", {"policy": RELOCATION})


class Answers(Database):
    """A database whose answers are given; it notes whether each call might move far."""

    def __init__(self, *answers: Mapping[str, Any] | Exception) -> None:
        self._answers = list(answers)
        self.permitted: list[bool] = []

    async def call(self, function: str, /, **parameters: Any) -> Any:
        """Answer the next call."""
        assert function == "upsert_profile"
        self.permitted.append(parameters["p_may_relocate"])
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Bucket:
    """A bucket of some tokens, which counts."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    async def take(self, policy: str, subject: str, _caller: str) -> None:
        """Take a token of the one person under the one policy."""
        assert (policy, subject) == (RELOCATION, USER.lower())
        if not self.tokens:
            raise errors.RateLimited(policy, subject, capacity=3, window=86400, remaining=0, retry_after=60)
        self.tokens -= 1

    async def put_back(self, policy: str, subject: str, _caller: str) -> None:
        """Put one back."""
        assert (policy, subject) == (RELOCATION, USER.lower())
        self.tokens += 1


def stored(*, relocated: bool) -> dict[str, Any]:
    """Return what the function answers."""
    return {"profile": PROFILE, "relocated": relocated}


async def left(database: Answers, caller: Caller = ADA, tokens: int = 3) -> tuple[int, str]:
    """Upsert a profile and return what the bucket has then, and how it ended."""
    bucket = Bucket(tokens)
    places = Places(MatchingStore(database, max_daily_matches=10), PersonalLimits(bucket.take, bucket.put_back))
    try:
        await places.upsert_profile({"user_id": USER}, caller, None)
    except errors.DomainError as error:
        return bucket.tokens, error.reason
    return bucket.tokens, "OK"


@pytest.mark.parametrize("caller", [ADA, LOCAL])
async def test_far_move_costs_one(caller: Caller) -> None:
    """A move that the database calls far is charged, then made; any other costs nothing."""
    database = Answers(FAR, stored(relocated=True))
    assert await left(database, caller) == (2, "OK")
    assert database.permitted == [False, True]
    assert await left(Answers(stored(relocated=False)), caller) == (3, "OK")


async def test_empty_bucket_refuses_before_anything_changes() -> None:
    """Without a token the database is not asked a second time."""
    database = Answers(FAR)
    assert await left(database, tokens=0) == (0, "RATE_LIMITED")
    assert database.permitted == [False]


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        (stored(relocated=False), (3, "OK")),
        (errors.Aborted("CONFLICT", "others were faster"), (3, "CONFLICT")),
        (errors.InvalidArgument([], "REQUEST_ID_REUSED", "reused"), (3, "REQUEST_ID_REUSED")),
        (errors.Unavailable("DATABASE_UNAVAILABLE", "no answer"), (2, "DATABASE_UNAVAILABLE")),
        (errors.DeadlineExceeded("DEADLINE_EXCEEDED", "too slow"), (2, "DEADLINE_EXCEEDED")),
    ],
)
async def test_what_moved_nobody_is_given_back(second: Any, outcome: tuple[int, str]) -> None:
    """A move that was not made is not charged; one of which it is unknown is."""
    assert await left(Answers(FAR, second)) == outcome


async def test_other_quotas_are_not_far_moves() -> None:
    """A database that is merely busy moves nobody and costs nothing."""
    busy = errors.ResourceExhausted("OVERLOADED", "busy", retry_after=1.0)
    assert await left(Answers(busy)) == (3, "OVERLOADED")


async def test_backend_is_never_charged() -> None:
    """A backend's call may move far at once."""
    database = Answers(stored(relocated=True))
    assert await left(database, BACKEND) == (3, "OK")
    assert database.permitted == [True]
