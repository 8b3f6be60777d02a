"""Share links over the wire: what strangers see, what they cannot find out, and how links end."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from support.credentials import KEY, SETTINGS, bearer
from support.databases import fresh_database
from support.edge import Failure, failure_of
from support.requests import TIMEOUT, invite, join, join_pair
from support.server import roomy_limits, serving_application
from support.stubs import Stubs
from wingmanmatch.challenge.v1 import challenge_pb2
from wingmanmatch.challenge.v1 import challenge_service_pb2 as challenges_pb
from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch.matching.v1 import matching_service_pb2 as matching_pb
from wingmanmatch.system.v1 import system_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.links import LinkSigner

OFF = (grpc.StatusCode.FAILED_PRECONDITION, "FEATURE_DISABLED")
NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "SHARE_LINK_NOT_FOUND")
SOMEBODY = str(uuid.UUID(int=1, version=4))
SECRET = "a secret of the tests that is long enough"


@pytest.fixture(scope="module")
async def client(dsn: str, engines: EmbeddedEngines, data_dir: Path, transport: str) -> AsyncIterator[Stubs]:
    """A client of a server whose links are signed by SECRET."""
    options: dict[str, Any] = {"rate_limits_file": roomy_limits(data_dir), "signing_secret": SECRET}
    async with serving_application(dsn, engines.redis_url, data_dir, transport=transport, **options) as client:
        yield client


async def attempt_of(client: Stubs, user_id: str, **metadata: Any) -> challenge_pb2.UserChallenge:
    """Let somebody take the first challenge on."""
    page = await client.challenge.ListChallenges(challenges_pb.ListChallengesRequest(), timeout=TIMEOUT)
    request = challenges_pb.StartChallengeRequest(user_id=user_id, challenge_id=page.challenges[0].id)
    return (await client.challenge.StartChallenge(request, timeout=TIMEOUT, **metadata)).user_challenge


async def share_challenge(client: Stubs, user_id: str, attempt_id: str, **fields: Any) -> challenge_pb2.ShareLink:
    """Make a link to an attempt."""
    request = challenges_pb.ShareChallengeRequest(user_id=user_id, user_challenge_id=attempt_id, **fields)
    return (await client.challenge.ShareChallenge(request, timeout=TIMEOUT)).share_link


async def resolve_challenge(client: Stubs, token: str) -> challenge_pb2.SharedChallenge:
    """Follow a link to an attempt."""
    request = challenges_pb.ResolveShareLinkRequest(token=token)
    return (await client.challenge.ResolveShareLink(request, timeout=TIMEOUT)).shared_challenge


async def share_match(client: Stubs, user_id: str, match_id: str, **fields: Any) -> matching_pb2.ShareLink:
    """Make a link to a match."""
    request = matching_pb.ShareMatchRequest(user_id=user_id, match_id=match_id, **fields)
    return (await client.matching.ShareMatch(request, timeout=TIMEOUT)).share_link


async def resolve_match(client: Stubs, token: str) -> matching_pb2.SharedMatch:
    """Follow a link to a match."""
    request = matching_pb.ResolveShareLinkRequest(token=token)
    return (await client.matching.ResolveShareLink(request, timeout=TIMEOUT)).shared_match


async def accepted(client: Stubs) -> matching_pb2.Match:
    """Return an accepted match."""
    match = await invite(client, *await join_pair(client))
    request = matching_pb.RespondToMatchRequest(
        match_id=match.id, user_id=match.invitee_id, response=matching_pb2.MATCH_RESPONSE_ACCEPT
    )
    return (await client.matching.RespondToMatch(request, timeout=TIMEOUT)).match


def outcome(failure: Failure) -> tuple[grpc.StatusCode, str]:
    """Return by what a caller tells a failure from others."""
    return failure.code, failure.reason


async def test_shared_challenge_shows_name_challenge_and_state(client: Stubs) -> None:
    """All that a stranger sees of a person is the first name; no field holds anything else of them."""
    person = await join(client, first_name="Xaver")
    attempt = await attempt_of(client, person.user_id)
    link = await share_challenge(client, person.user_id, attempt.id)
    shown = await resolve_challenge(client, link.token)
    assert shown == challenge_pb2.SharedChallenge(
        first_name="Xaver", challenge=attempt.challenge, state=challenge_pb2.USER_CHALLENGE_STATE_STARTED
    )
    assert link.expire_time.ToSeconds() - link.create_time.ToSeconds() == 30 * 86400
    for secret in (person.user_id, person.last_name, person.email, person.bio, attempt.id):
        assert secret not in str(shown)
        assert secret not in link.token


async def test_shared_match_shows_one_name_and_when(client: Stubs) -> None:
    """It shows who shares, and when the match was accepted; of the other person nothing."""
    match = await accepted(client)
    link = await share_match(client, match.invitee_id, match.id, ttl=Duration(seconds=3600))
    shown = await resolve_match(client, link.token)
    assert shown == matching_pb2.SharedMatch(first_name="Sam", respond_time=match.respond_time)
    assert link.expire_time.ToSeconds() - link.create_time.ToSeconds() == 3600


async def test_whatever_shows_nothing_is_not_found(client: Stubs, sql: asyncpg.Connection) -> None:
    """Unknown, expired, revoked, forged, of the other kind, garbled: the answer is the same, byte for byte."""
    person = (await join(client)).user_id
    attempt = await attempt_of(client, person)
    good, expired, revoked = [await share_challenge(client, person, attempt.id) for _ in range(3)]
    match = await accepted(client)
    to_match = await share_match(client, match.requester_id, match.id)
    await sql.execute("update share_links set expire_time = now() where id = $1", expired.id)
    request = challenges_pb.RevokeShareLinkRequest(user_id=person, share_link_id=revoked.id)
    await client.challenge.RevokeShareLink(request, timeout=TIMEOUT)
    own = LinkSigner([SECRET], "share/challenge_sharing")
    assert own.sign(uuid.UUID(good.id).bytes) == good.token
    tokens = {
        "unknown": own.sign(uuid.uuid4().bytes),
        "expired": expired.token,
        "revoked": revoked.token,
        "of another secret": LinkSigner([SECRET + "x"], "share/challenge_sharing").sign(uuid.UUID(good.id).bytes),
        "of mails": LinkSigner([SECRET], "unsubscribe").sign(uuid.UUID(good.id).bytes),
        "of a match": to_match.token,
        "too short": own.sign(b"x"),
        "empty": "",
        "garbled": "é/../",
        "cut": good.token[:-1],
        "the id": good.id,
        **{f"bit {place}": flipped(good.token, place) for place in range(0, len(good.token), 5)},
    }
    failures = {name: await failure_of(resolve_challenge(client, token)) for name, token in tokens.items()}
    assert {name: outcome(each) for name, each in failures.items()} == dict.fromkeys(tokens, NOT_FOUND)
    assert {each.message for each in failures.values()} == {"no such share link"}
    assert [each.metadata for each in failures.values()] == [{}] * len(tokens)
    assert outcome(await failure_of(resolve_match(client, good.token))) == NOT_FOUND
    assert await resolve_challenge(client, good.token)


def flipped(token: str, place: int) -> str:
    """Return a token with another letter at a place."""
    return token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]


async def test_only_its_maker_revokes_a_link(client: Stubs) -> None:
    """Of others' links, and of the other service's, nobody learns that they exist."""
    match = await accepted(client)
    link = await share_match(client, match.requester_id, match.id)
    others = matching_pb.RevokeShareLinkRequest(user_id=match.invitee_id, share_link_id=link.id)
    assert outcome(await failure_of(client.matching.RevokeShareLink(others, timeout=TIMEOUT))) == NOT_FOUND
    wrong = challenges_pb.RevokeShareLinkRequest(user_id=match.requester_id, share_link_id=link.id)
    assert outcome(await failure_of(client.challenge.RevokeShareLink(wrong, timeout=TIMEOUT))) == NOT_FOUND
    assert await resolve_match(client, link.token)
    own = matching_pb.RevokeShareLinkRequest(user_id=match.requester_id, share_link_id=link.id)
    for _ in range(2):
        await client.matching.RevokeShareLink(own, timeout=TIMEOUT)
    assert outcome(await failure_of(resolve_match(client, link.token))) == NOT_FOUND


async def test_link_ends_with_the_person(client: Stubs) -> None:
    """After an erasure the links of the person and of their partner show nothing."""
    match = await accepted(client)
    links = [await share_match(client, each, match.id) for each in (match.requester_id, match.invitee_id)]
    attempt = await attempt_of(client, match.requester_id)
    link = await share_challenge(client, match.requester_id, attempt.id)
    await client.matching.DeleteProfile(matching_pb.DeleteProfileRequest(user_id=match.requester_id), timeout=TIMEOUT)
    for each in links:
        assert outcome(await failure_of(resolve_match(client, each.token))) == NOT_FOUND
    assert outcome(await failure_of(resolve_challenge(client, link.token))) == NOT_FOUND


async def test_repeated_request_is_the_same_link(client: Stubs) -> None:
    """A retry gets the same token."""
    match = await accepted(client)
    request_id = str(uuid.uuid4())
    first = await share_match(client, match.requester_id, match.id, request_id=request_id)
    assert await share_match(client, match.requester_id, match.id, request_id=request_id) == first
    assert (await share_match(client, match.requester_id, match.id)).token != first.token


@pytest.mark.parametrize("seconds", [0, 59, 7776001, -5])
async def test_life_of_a_link_has_limits(client: Stubs, seconds: int) -> None:
    """From a minute to ninety days."""
    ttl = Duration(seconds=seconds)
    for call in (
        share_match(client, SOMEBODY, SOMEBODY, ttl=ttl),
        share_challenge(client, SOMEBODY, SOMEBODY, ttl=ttl),
    ):
        failure = await failure_of(call)
        assert (failure.reason, list(failure.violations)) == ("FIELD_INVALID", ["ttl"])


async def test_refused_links(client: Stubs) -> None:
    """Nobody shares what is not theirs, nor a match that is not accepted."""
    match = await invite(client, *await join_pair(client))
    pending = await failure_of(share_match(client, match.requester_id, match.id))
    assert outcome(pending) == (grpc.StatusCode.FAILED_PRECONDITION, "MATCH_NOT_ACCEPTED")
    assert (await failure_of(share_match(client, SOMEBODY, match.id))).reason == "MATCH_NOT_FOUND"
    attempt = await attempt_of(client, match.requester_id)
    stranger = await failure_of(share_challenge(client, match.invitee_id, attempt.id))
    assert outcome(stranger) == (grpc.StatusCode.NOT_FOUND, "USER_CHALLENGE_NOT_FOUND")


async def test_resolving_needs_no_identity(admin_dsn: str, own_redis_url: str, tmp_path: Path) -> None:
    """Where calls need a credential, a stranger without one follows a link and reads the catalogue, and no more."""
    metadata = bearer(KEY)
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_application(dsn, own_redis_url, tmp_path, **SETTINGS) as client,
    ):
        person = matching_pb2.Profile(
            user_id=SOMEBODY,
            email="a@example.org",
            first_name="Ada",
            experience_level=matching_pb2.EXPERIENCE_LEVEL_BEGINNER,
            confidence_archetype=matching_pb2.CONFIDENCE_ARCHETYPE_GHOST,
            location={"latitude": 1, "longitude": 1},
        )
        upsert = matching_pb.UpsertProfileRequest(profile=person)
        await client.matching.UpsertProfile(upsert, timeout=TIMEOUT, metadata=metadata)
        attempt = await attempt_of(client, SOMEBODY, metadata=metadata)
        request = challenges_pb.ShareChallengeRequest(user_id=SOMEBODY, user_challenge_id=attempt.id)
        shared = await client.challenge.ShareChallenge(request, timeout=TIMEOUT, metadata=metadata)
        assert (await resolve_challenge(client, shared.share_link.token)).first_name == "Ada"
        refused = await failure_of(client.challenge.ShareChallenge(request, timeout=TIMEOUT))
        assert refused.code == grpc.StatusCode.UNAUTHENTICATED


async def test_switched_off(admin_dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """Each kind by itself: nothing is made or shown, GetStatus says why, and revoking still works."""
    options: dict[str, Any] = {"rate_limits_file": roomy_limits(tmp_path), "signing_secret": SECRET}
    async with fresh_database(admin_dsn) as dsn:
        async with serving_application(dsn, engines.redis_url, tmp_path, **options) as client:
            match = await accepted(client)
            attempt = await attempt_of(client, match.requester_id)
            to_match = await share_match(client, match.requester_id, match.id)
            to_challenge = await share_challenge(client, match.requester_id, attempt.id)
        off = options | {"enable_match_sharing": False}
        async with serving_application(dsn, engines.redis_url, tmp_path, **off) as client:
            for call in (share_match(client, match.requester_id, match.id), resolve_match(client, to_match.token)):
                failure = await failure_of(call)
                assert outcome(failure) == OFF
                assert failure.metadata == {"feature": "match_sharing"}
            assert await resolve_challenge(client, to_challenge.token)
            own = matching_pb.RevokeShareLinkRequest(user_id=match.requester_id, share_link_id=to_match.id)
            await client.matching.RevokeShareLink(own, timeout=TIMEOUT)
            assert await features(client) == {
                "match_sharing": (False, "ENABLE_MATCH_SHARING is false"),
                "challenge_sharing": (True, ""),
            }
        off = options | {"enable_challenge_sharing": False}
        async with serving_application(dsn, engines.redis_url, tmp_path, **off) as client:
            for shared in (
                share_challenge(client, match.requester_id, attempt.id),
                resolve_challenge(client, to_challenge.token),
            ):
                failure = await failure_of(shared)
                assert outcome(failure) == OFF
                assert failure.metadata == {"feature": "challenge_sharing"}
            assert outcome(await failure_of(resolve_match(client, to_match.token))) == NOT_FOUND


async def features(client: Stubs) -> dict[str, tuple[bool, str]]:
    """Return what GetStatus says about sharing."""
    report = await client.system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=TIMEOUT)
    return {each.name: (each.enabled, each.detail) for each in report.features if each.name.endswith("_sharing")}
