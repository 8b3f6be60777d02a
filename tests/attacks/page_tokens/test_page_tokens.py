"""Tokens of pages and of streams in the hands of somebody who wants to read, or to learn from, others' lists."""

import asyncio
import base64
import hashlib
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.credentials import KEY, SETTINGS, bearer, user_token
from support.databases import fresh_database
from support.edge import failure_of
from support.page_tokens import SIGNING_SECRETS
from support.requests import TIMEOUT, profile
from support.server import serving_application
from support.stubs import Stubs
from wingmanmatch.challenge.v1 import challenge_service_pb2
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch.meetup.v1 import meetup_service_pb2
from wingmanmatch.notification.v1 import notification_service_pb2
from wingmanmatch.session.v1 import session_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.paging import LIFETIME, PageTokens

VICTIM = str(uuid.UUID(int=8, version=4))
CANDIDATES, PAGE = 3, 1
PLACE = profile().location


@dataclass(frozen=True)
class Listing:
    """An RPC that lists, and a request of a page of one."""

    name: str
    call: Any
    request: Any


def listings(client: Stubs) -> list[Listing]:
    """Return every list that a user's token opens."""
    return [
        Listing("ListCandidates", client.matching.ListCandidates, matching_service_pb2.ListCandidatesRequest),
        Listing("ListMatches", client.matching.ListMatches, matching_service_pb2.ListMatchesRequest),
        Listing("ListMeetups", client.meetup.ListMeetups, meetup_service_pb2.ListMeetupsRequest),
        Listing(
            "ListUserChallenges",
            client.challenge.ListUserChallenges,
            challenge_service_pb2.ListUserChallengesRequest,
        ),
        Listing(
            "ListNotifications",
            client.notification.ListNotifications,
            notification_service_pb2.ListNotificationsRequest,
        ),
        Listing("ListSessions", client.session.ListSessions, session_service_pb2.ListSessionsRequest),
    ]


def asked(listing: Listing, user_id: str, token: str = "") -> Any:
    """Return a request of a person's list."""
    return listing.request(user_id=user_id, page_size=PAGE, page_token=token)


@pytest.fixture(scope="module")
async def client(
    admin_dsn: str, engines: EmbeddedEngines, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stubs]:
    """A server at the shipped limits that knows users by their tokens, and three people at one place."""
    folder: Path = tmp_path_factory.mktemp("page-tokens")
    settings = SETTINGS | {"signing_secret": SIGNING_SECRETS[0]}
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_application(dsn, engines.redis_url, folder, **settings) as client,
    ):
        for user_id in (VICTIM, *(str(uuid.uuid4()) for _ in range(CANDIDATES - 1))):
            await settle(client, user_id)
        yield client


async def settle(client: Stubs, user_id: str, **changes: Any) -> None:
    """Let a backend create somebody's profile at the place where all are."""
    request = matching_service_pb2.UpsertProfileRequest(profile=profile(user_id=user_id, location=PLACE, **changes))
    await client.matching.UpsertProfile(request, metadata=bearer(KEY), timeout=TIMEOUT)


@pytest.fixture
async def me(client: Stubs) -> AsyncIterator[str]:
    """The attacker, with an account of their own that nobody sees once the test is over."""
    user_id = str(uuid.uuid4())
    await settle(client, user_id)
    yield user_id
    await settle(client, user_id, active=False)


async def first_token(client: Stubs, me: str) -> str:
    """Return the token of the second page of my candidates."""
    request = asked(listings(client)[0], me)
    page = await client.matching.ListCandidates(request, metadata=bearer(user_token(me)), timeout=TIMEOUT)
    assert page.next_page_token
    return str(page.next_page_token)


async def refusals(client: Stubs, token: str, user_id: str) -> set[tuple[str, str, str]]:
    """Return how every list that a user may ask for answers a token."""
    found = set()
    for each in listings(client):
        call = each.call(asked(each, user_id, token), metadata=bearer(user_token(user_id)), timeout=TIMEOUT)
        failure = await failure_of(call)
        found.add((failure.code.name, failure.reason, failure.message))
    return found


async def test_forged_tokens_are_told_nothing(client: Stubs, me: str) -> None:
    """Tokens as they were once, of an id and a digest, and ones sealed by a secret of the attacker's."""
    named = base64.urlsafe_b64encode(uuid.UUID(VICTIM).bytes + bytes(8)).decode().rstrip("=")
    own = PageTokens(["a secret of the attacker's own, long enough"], time.time)
    position = {"distance": 0.0, "demerit": 0, "user_id": VICTIM, "id": VICTIM, "create_time": "2026-01-01T00:00:00Z"}
    forged = [own.seal(position, each.name, me) for each in listings(client)]
    answers = [await refusals(client, token, me) for token in (named, *forged)]
    assert len(set.union(*answers)) == 1
    assert {reason for _, reason, _ in answers[0]} == {"PAGE_TOKEN_INVALID"}


async def test_altered_and_foreign_tokens_are_told_nothing(client: Stubs, me: str) -> None:
    """A good token with any part changed, one of another person and one of another list get the answer of garbage."""
    good = await first_token(client, me)
    places = range(0, len(good), len(good) // 4)
    altered = [good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :] for place in places]
    garbage = await refusals(client, "garbage", me)
    for token in (*altered, good + "=", good + "A", " " + good, good.upper()):
        assert await refusals(client, token, me) == garbage
    assert await refusals(client, good, VICTIM) == garbage
    others = listings(client)[1:]
    for each in others:
        call = each.call(asked(each, me, good), metadata=bearer(user_token(me)), timeout=TIMEOUT)
        assert (await failure_of(call)).reason == "PAGE_TOKEN_INVALID"


async def test_old_tokens_are_told_nothing(client: Stubs, me: str) -> None:
    """A token that this server sealed a day and a minute ago is refused as garbage is."""
    past = PageTokens(SIGNING_SECRETS, lambda: time.time() - LIFETIME - 60)
    old = past.seal({"distance": 0.0, "demerit": 0, "user_id": VICTIM}, "ListCandidates", me, 25.0)
    assert await refusals(client, old, me) == await refusals(client, "garbage", me)


async def test_tokens_say_nothing(client: Stubs, me: str) -> None:
    """A token holds neither the ids of people nor anything that two tokens of one page have in common."""
    first, second = await first_token(client, me), await first_token(client, me)
    opened = base64.urlsafe_b64decode(first + "=" * (-len(first) % 4))
    assert VICTIM.encode() not in opened
    assert uuid.UUID(VICTIM).bytes not in opened
    assert sum(left == right for left, right in zip(first[12:], second[12:], strict=True)) < len(first) // 8


async def test_pages_join_to_the_whole_list_in_any_spelling_of_the_id(client: Stubs, me: str) -> None:
    """The rightful owner goes on with a token, also where the id is written in capitals the next time."""
    token, shown = "", []
    for spelling in (me, me.upper(), me):
        request = matching_service_pb2.ListCandidatesRequest(user_id=spelling, page_size=1, page_token=token)
        page = await client.matching.ListCandidates(request, metadata=bearer(user_token(me)), timeout=TIMEOUT)
        shown += [each.user_id for each in page.candidates]
        token = page.next_page_token
    assert (len(set(shown)), token) == (CANDIDATES, "")


def forged_resume_token(user_id: str, number: int) -> str:
    """Return a resume token, which has no secret, as the server would make it if there were such an event."""
    digest = hashlib.sha256(repr(("resume", user_id)).encode()).digest()[:8]
    return base64.urlsafe_b64encode(number.to_bytes(8) + digest).decode().rstrip("=")


async def test_forged_number_of_an_event_fails_nobody_else(client: Stubs, me: str) -> None:
    """A number that the database cannot hold is the attacker's mistake; who opens a stream at that moment is served."""

    async def attack() -> str:
        request = matching_service_pb2.WatchMatchesRequest(user_id=me, resume_token=forged_resume_token(me, 2**63))
        call = client.matching.WatchMatches(request, metadata=bearer(user_token(me)), timeout=TIMEOUT)
        return (await failure_of(call.read())).reason

    async def watch() -> str:
        request = matching_service_pb2.WatchMatchesRequest(user_id=VICTIM)
        call = client.matching.WatchMatches(request, metadata=bearer(user_token(VICTIM)), timeout=TIMEOUT)
        first = await call.read()
        call.cancel()
        return "served" if first.resume_token else "not served"

    outcomes = await asyncio.gather(*(attack() if turn % 3 else watch() for turn in range(30)))
    assert set(outcomes) == {"RESUME_TOKEN_INVALID", "served"}
