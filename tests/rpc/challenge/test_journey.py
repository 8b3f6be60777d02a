"""Challenges as callers use them: the catalogue, taking one on, submitting it, looking back."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from itertools import chain
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from prometheus_client import CollectorRegistry

from support.databases import fresh_database, open_database
from support.edge import Failure, failure_of, serving
from support.page_tokens import PAGES
from support.requests import TIMEOUT, join
from support.server import serving_application
from support.stubs import Stubs
from wingmanmatch.challenge.v1 import challenge_pb2
from wingmanmatch.challenge.v1 import challenge_service_pb2 as pb
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch_server.bootstrap.breakers import REDIS_LIMITS
from wingmanmatch_server.bootstrap.challenge import open_challenges
from wingmanmatch_server.drivers.redis import open_redis
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.settings import Settings

PLACES = ("database", "redis")
STARTED = challenge_pb2.USER_CHALLENGE_STATE_STARTED
SUBMITTED = challenge_pb2.USER_CHALLENGE_STATE_SUBMITTED
EXPIRED = challenge_pb2.USER_CHALLENGE_STATE_EXPIRED
LEVELS = [
    challenge_pb2.CHALLENGE_DIFFICULTY_BEGINNER,
    challenge_pb2.CHALLENGE_DIFFICULTY_INTERMEDIATE,
    challenge_pb2.CHALLENGE_DIFFICULTY_ADVANCED,
]
SOMEBODY = str(uuid.UUID(int=1, version=4))


async def list_all(client: Stubs, page_size: int = 0, difficulty: int = 0) -> list[list[challenge_pb2.Challenge]]:
    """Return the catalogue, page by page."""
    request = pb.ListChallengesRequest(page_size=page_size, difficulty=difficulty)  # type: ignore[arg-type]
    pages = []
    while not pages or request.page_token:
        page = await client.challenge.ListChallenges(request, timeout=TIMEOUT)
        pages.append(list(page.challenges))
        request.page_token = page.next_page_token
    return pages


def joined(pages: list[list[challenge_pb2.Challenge]]) -> list[challenge_pb2.Challenge]:
    """Return the challenges of all pages."""
    return list(chain.from_iterable(pages))


async def start(client: Stubs, user_id: str, challenge_id: str, **fields: Any) -> challenge_pb2.UserChallenge:
    """Take a challenge on and return the attempt."""
    request = pb.StartChallengeRequest(user_id=user_id, challenge_id=challenge_id, **fields)
    return (await client.challenge.StartChallenge(request, timeout=TIMEOUT)).user_challenge


async def submit(client: Stubs, user_id: str, attempt_id: str, **fields: Any) -> pb.SubmitChallengeResponse:
    """Submit an attempt."""
    request = pb.SubmitChallengeRequest(user_id=user_id, user_challenge_id=attempt_id, **fields)
    response: pb.SubmitChallengeResponse = await client.challenge.SubmitChallenge(request, timeout=TIMEOUT)
    return response


async def failed_submit(client: Stubs, user_id: str, attempt_id: str, **fields: Any) -> Failure:
    """Submit an attempt in vain."""
    return await failure_of(submit(client, user_id, attempt_id, **fields))


async def listed(client: Stubs, user_id: str, **fields: Any) -> pb.ListUserChallengesResponse:
    """Return what a person took on."""
    request = pb.ListUserChallengesRequest(user_id=user_id, **fields)
    response: pb.ListUserChallengesResponse = await client.challenge.ListUserChallenges(request, timeout=TIMEOUT)
    return response


async def test_catalogue_comes_in_pages(client: Stubs) -> None:
    """Pages joined are the whole, the easiest first; a page has twenty unless asked otherwise."""
    (whole,) = await list_all(client, page_size=1000)
    pages = await list_all(client)
    assert len(whole) >= 24
    assert [len(page) for page in pages] == [20, len(whole) - 20]
    assert joined(pages) == joined(await list_all(client, page_size=7)) == whole
    assert [(each.difficulty, each.points) for each in whole] == sorted(
        (each.difficulty, each.points) for each in whole
    )
    assert all(each.id and each.title and each.description and each.points for each in whole)


async def test_catalogue_by_difficulty(client: Stubs) -> None:
    """The parts of the three difficulties are the whole, and a page token is of one of them only."""
    (whole,) = await list_all(client, page_size=100)
    parts = [joined(await list_all(client, page_size=3, difficulty=level)) for level in LEVELS]
    assert all({each.difficulty for each in part} == {level} for level, part in zip(LEVELS, parts, strict=True))
    assert joined(parts) == whole
    request = pb.ListChallengesRequest(page_size=3, difficulty=LEVELS[0])
    request.page_token = (await client.challenge.ListChallenges(request, timeout=TIMEOUT)).next_page_token
    for spoiled in ({"difficulty": LEVELS[1]}, {"difficulty": 0}, {"page_token": "x"}):
        other = pb.ListChallengesRequest(**{"difficulty": LEVELS[0], "page_token": request.page_token} | spoiled)
        failure = await failure_of(client.challenge.ListChallenges(other, timeout=TIMEOUT))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_challenge_by_id(client: Stubs) -> None:
    """Every challenge of the list can be had by its id, however the id is written; others cannot."""
    (whole,) = await list_all(client, page_size=100)
    for each in (whole[0], whole[-1]):
        request = pb.GetChallengeRequest(challenge_id=each.id.upper())
        assert (await client.challenge.GetChallenge(request, timeout=TIMEOUT)).challenge == each
    failure = await failure_of(
        client.challenge.GetChallenge(pb.GetChallengeRequest(challenge_id=SOMEBODY), timeout=TIMEOUT)
    )
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "CHALLENGE_NOT_FOUND")
    assert failure.metadata == {"challenge_id": SOMEBODY}


@pytest.mark.parametrize("transport", ["postgres"], indirect=True)
async def test_change_of_the_catalogue_shows(client: Stubs, sql: asyncpg.Connection) -> None:
    """What somebody changes in the database is what callers see soon after, though copies are kept for ten minutes."""
    await see_changes(client, sql)


async def test_change_of_the_catalogue_is_asked_for(
    dsn: str, sql: asyncpg.Connection, own_redis_url: str, transport: str
) -> None:
    """The same where the database cannot tell of changes, and is asked instead; here more often than a server does."""
    registry = CollectorRegistry()
    settings = Settings(_env_file=None, enable_challenge_sharing=False)
    breaker = Breaker("redis", REDIS_LIMITS, time.monotonic)
    async with (
        open_database(dsn, transport) as database,
        open_redis(own_redis_url) as redis,
        open_challenges(settings, database, redis, breaker, registry, PAGES, check_interval=0.05) as service,
        serving(service, service=pb.DESCRIPTOR.services_by_name["ChallengeService"]) as edge,
    ):
        await see_changes(Stubs(edge.channel), sql)
    read = {place: registry.get_sample_value("challenge_catalogue_reads_total", {"place": place}) for place in PLACES}
    assert all(read.values()), read


async def see_changes(client: Stubs, sql: asyncpg.Connection) -> None:
    """Add a challenge and retire it, and wait until callers see either."""
    await list_all(client)
    added = str(uuid.uuid4())
    await sql.execute(
        """insert into approach_challenges (id, title, description, difficulty, points)
        values ($1::uuid, 'Brand new ' || $1::uuid, 'Try it.', 'BEGINNER', 1)""",
        added,
    )
    await until(client, added, there=True)
    await sql.execute("update approach_challenges set retired = true where id = $1", added)
    await until(client, added, there=False)


async def until(client: Stubs, challenge_id: str, *, there: bool) -> None:
    """Wait until the catalogue has a challenge, or has it no more."""
    async with asyncio.timeout(10):
        while (challenge_id in {each.id for page in await list_all(client) for each in page}) is not there:
            await asyncio.sleep(0.02)


async def test_from_start_to_points(client: Stubs) -> None:
    """Take two on, submit one: it earns its points, the other waits; both are in the list, newest first."""
    person = (await join(client)).user_id
    (whole,) = await list_all(client, page_size=100)
    first = await start(client, person, whole[0].id)
    second = await start(client, person, whole[-1].id)
    assert (first.state, first.earned_points, first.challenge) == (STARTED, 0, whole[0])
    assert not first.HasField("submit_time")
    assert first.expire_time.ToSeconds() - first.create_time.ToSeconds() == 7 * 86400
    answer = await submit(client, person, second.id, notes="Hard.\nBut good. 🎉")
    assert (answer.user_challenge.state, answer.user_challenge.notes) == (SUBMITTED, "Hard.\nBut good. 🎉")
    assert answer.user_challenge.earned_points == answer.total_points == whole[-1].points
    assert answer.user_challenge.HasField("submit_time")
    history = await listed(client, person)
    assert list(history.user_challenges) == [answer.user_challenge, first]
    assert history.total_points == whole[-1].points
    page = await listed(client, person, page_size=1, states=[STARTED, SUBMITTED])
    rest = await listed(client, person, page_size=1, states=[SUBMITTED, STARTED], page_token=page.next_page_token)
    assert [*page.user_challenges, *rest.user_challenges] == list(history.user_challenges)
    assert not rest.next_page_token
    assert not (await listed(client, person, states=[EXPIRED])).user_challenges


async def test_refusals(client: Stubs, sql: asyncpg.Connection) -> None:
    """Each has its code and reason, and names what it is about."""
    person, other = (await join(client)).user_id, (await join(client)).user_id
    (whole,) = await list_all(client, page_size=100)
    attempt = await start(client, person, whole[0].id)
    late = await start(client, person, whole[1].id)
    await sql.execute("update user_challenges set expire_time = now() where id = $1", late.id)
    started_twice = await failure_of(start(client, person, whole[0].id))
    assert (started_twice.code, started_twice.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "CHALLENGE_IN_PROGRESS",
    )
    assert started_twice.metadata == {"user_challenge_id": attempt.id}
    assert (await failure_of(start(client, SOMEBODY, whole[0].id))).reason == "PROFILE_NOT_FOUND"
    assert (await failure_of(start(client, person, SOMEBODY))).reason == "CHALLENGE_NOT_FOUND"
    await submit(client, person, attempt.id)
    expected = {
        (person, attempt.id): (grpc.StatusCode.FAILED_PRECONDITION, "CHALLENGE_SUBMITTED"),
        (person, late.id): (grpc.StatusCode.FAILED_PRECONDITION, "CHALLENGE_EXPIRED"),
        (person, SOMEBODY): (grpc.StatusCode.NOT_FOUND, "USER_CHALLENGE_NOT_FOUND"),
        (other, attempt.id): (grpc.StatusCode.NOT_FOUND, "USER_CHALLENGE_NOT_FOUND"),
    }
    failures = {about: await failed_submit(client, *about) for about in expected}
    assert {about: (failure.code, failure.reason) for about, failure in failures.items()} == expected


async def test_repeated_requests(client: Stubs) -> None:
    """A retry with the same request_id gets the first answer, and changes nothing."""
    person = (await join(client)).user_id
    (whole,) = await list_all(client, page_size=100)
    request_id = str(uuid.uuid4())
    first = await start(client, person, whole[2].id, request_id=request_id)
    assert await start(client, person, whole[2].id, request_id=request_id) == first
    answer = await submit(client, person, first.id, notes="a", request_id=request_id)
    assert await submit(client, person, first.id, notes="a", request_id=request_id) == answer
    failure = await failed_submit(client, person, first.id, notes="b", request_id=request_id)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


async def test_submitting_at_the_same_time_earns_once(client: Stubs) -> None:
    """Ten submissions of one attempt: one succeeds, and the points are there once."""
    person = (await join(client)).user_id
    (whole,) = await list_all(client, page_size=100)
    attempt = await start(client, person, whole[3].id)
    outcomes = await asyncio.gather(*(submit(client, person, attempt.id) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(each, pb.SubmitChallengeResponse) for each in outcomes) == 1
    assert (await listed(client, person)).total_points == whole[3].points


@pytest.mark.parametrize(
    ("call", "request_", "field"),
    [
        ("GetChallenge", pb.GetChallengeRequest(challenge_id="1"), "challenge_id"),
        ("ListChallenges", pb.ListChallengesRequest(page_size=-1), "page_size"),
        ("ListChallenges", pb.ListChallengesRequest(difficulty=9), "difficulty"),  # type: ignore[arg-type]
        ("StartChallenge", pb.StartChallengeRequest(user_id=SOMEBODY), "challenge_id"),
        (
            "SubmitChallenge",
            pb.SubmitChallengeRequest(user_id=SOMEBODY, user_challenge_id=SOMEBODY, notes="x" * 4001),
            "notes",
        ),
        (
            "SubmitChallenge",
            pb.SubmitChallengeRequest(user_id=SOMEBODY, user_challenge_id=SOMEBODY, notes="a\0b"),
            "notes",
        ),
        ("ListUserChallenges", pb.ListUserChallengesRequest(user_id=SOMEBODY, states=[0]), "states[0]"),
        ("RevokeShareLink", pb.RevokeShareLinkRequest(user_id=SOMEBODY, share_link_id="x"), "share_link_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_bad_input_names_its_field(client: Stubs, call: str, request_: Any, field: str) -> None:
    """The field at fault is named."""
    failure = await failure_of(getattr(client.challenge, call)(request_, timeout=TIMEOUT))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert list(failure.violations) == [field]


async def test_notes_are_in_the_own_export(client: Stubs) -> None:
    """What a person took on and wrote about it is in their export."""
    person = (await join(client)).user_id
    (whole,) = await list_all(client, page_size=100)
    attempt = await start(client, person, whole[0].id)
    await submit(client, person, attempt.id, notes="My own words.")
    request = matching_service_pb2.ExportProfileRequest(user_id=person)
    records = {each.kind: each.record async for each in client.matching.ExportProfile(request, timeout=TIMEOUT)}
    record = records[matching_pb2.EXPORT_RECORD_KIND_USER_CHALLENGE]
    assert (record["notes"], record["challenge"]["title"]) == ("My own words.", whole[0].title)


@pytest.fixture
async def strict(admin_dsn: str, tmp_path: Path, own_redis_url: str) -> AsyncIterator[Stubs]:
    """A client of a server with the limits as they are shipped, where a challenge lasts two days."""
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_application(dsn, own_redis_url, tmp_path, challenge_duration_days=2) as client,
    ):
        yield client


async def test_submitting_has_a_limit_of_its_own(strict: Stubs) -> None:
    """Twenty submissions reach the rules, the next do not; other calls of the person still do."""
    person = (await join(strict)).user_id
    (whole,) = await list_all(strict, page_size=100)
    attempt = await start(strict, person, whole[0].id)
    assert attempt.expire_time.ToSeconds() - attempt.create_time.ToSeconds() == 2 * 86400
    failures = [await failed_submit(strict, person, SOMEBODY) for _ in range(20)]
    denied = [await failed_submit(strict, person, attempt.id) for _ in range(2)][-1]
    assert {failure.reason for failure in failures} == {"USER_CHALLENGE_NOT_FOUND"}
    assert (denied.code, denied.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert denied.metadata == {"policy": "challenge_submit"}
    assert [each.state for each in (await listed(strict, person)).user_challenges] == [STARTED]
