"""Somebody with an account erases it and makes it anew under the same id, to be rid of what others or limits hold."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo

from support.claude_server import serving_claude
from support.credentials import bearer, user_token
from support.edge import failure_of
from support.requests import TIMEOUT
from support.site import Site, serving_site
from support.traces import emails_since
from support.writers import Victim as Person
from support.writers import call, named, settled
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

DAY = timedelta(hours=24)


@pytest.fixture
async def site(
    admin_dsn: str, engines: EmbeddedEngines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    """A server that coaches, files its emails, and asks for credentials."""
    async with serving_claude() as claude:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.url)
        async with serving_site(admin_dsn, f"{engines.redis_url}?db=7", tmp_path) as site:
            yield site


async def erase(site: Site, person: Person) -> None:
    """Erase somebody by their own token."""
    request = matching_service_pb2.DeleteProfileRequest(user_id=person.user_id)
    metadata = bearer(user_token(person.user_id))
    await site.client.matching.DeleteProfile(request, metadata=metadata, timeout=TIMEOUT)


async def act(site: Site, name: str, person: Person, **fields: Any) -> Any:
    """Call a method by a person's own token."""
    return await call(site.client, named(name), person, **fields)


async def refused(site: Site, name: str, person: Person, **fields: Any) -> str:
    """Return the reason for which a call is refused."""
    return (await failure_of(call(site.client, named(name), person, **fields))).reason


async def reputation_of(site: Site, person: Person) -> Any:
    """Return what everybody sees of a person's reliability."""
    request = matching_service_pb2.GetReputationRequest(user_id=person.user_id)
    metadata = bearer(user_token(person.user_id))
    return (await site.client.matching.GetReputation(request, metadata=metadata, timeout=TIMEOUT)).reputation


def friend_of(person: Person) -> Person:
    """Return the friend of somebody settled, as one who acts on the same things."""
    return Person(person.friend, person.user_id, person.mark, person.profile, person.match_id, person.meetup_id)


async def test_returning_at_once_is_refused(site: Site) -> None:
    """An erased id is told when it may return, again and again, and nothing counts the wait anew."""
    me = await settled(site.client, "hasty")
    await erase(site, me)
    for _ in range(2):
        failure = await failure_of(call(site.client, named("UpsertProfile"), me))
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ERASED_RECENTLY")
        assert failure.detail(RetryInfo).retry_delay.seconds == pytest.approx(86400, abs=10)
    await site.let_pass(DAY)
    await act(site, "UpsertProfile", me)


async def test_a_block_cannot_be_passed(site: Site) -> None:
    """Who was blocked can neither invite nor write to the blocker after a return, nor take the block back."""
    me = await settled(site.client, "blocked")
    blocker = friend_of(me)
    await act(site, "BlockUser", blocker)
    await erase(site, me)
    assert await refused(site, "UpsertProfile", me) == "ERASED_RECENTLY"
    await site.let_pass(DAY * 30)
    await act(site, "UpsertProfile", me)
    await act(site, "UnblockUser", me)
    assert await refused(site, "RequestMatch", me, message="you can't block me") == "CANDIDATE_UNAVAILABLE"
    assert await refused(site, "RequestMatch", me, candidate_user_id="") == "NO_CANDIDATE"
    assert emails_since(site.folder / "outbox", "block me", 0) == []


async def test_the_daily_maximum_of_invitations_cannot_be_passed(site: Site) -> None:
    """Before the invitations of an erased id have run out of the last 24 hours, it makes no others."""
    me = await settled(site.client, "eager")
    await erase(site, me)
    await site.let_pass(DAY - timedelta(minutes=5))
    assert await refused(site, "UpsertProfile", me) == "ERASED_RECENTLY"
    assert await refused(site, "RequestMatch", me) == "PROFILE_NOT_FOUND"


async def test_the_coaching_budget_is_not_filled(site: Site) -> None:
    """An erased id is not coached for the day in which its budget fills by itself."""
    me = await settled(site.client, "talkative")
    await act(site, "Chat", me)
    await erase(site, me)
    assert await refused(site, "Chat", me) == "ERASED_RECENTLY"
    assert await refused(site, "Chat", me, conversation_id=me.match_id) == "CONVERSATION_NOT_FOUND"
    assert await site.redis.client.keys("*coaching_tokens*") == []


async def test_a_missed_meetup_is_not_forgotten(site: Site) -> None:
    """A no-show that others reported counts after the return, and the meet-ups that went well do not."""
    me = await settled(site.client, "missing")
    await site.let_pass(timedelta(hours=73))
    await act(site, "ReportNoShow", friend_of(me))
    await erase(site, me)
    await site.let_pass(DAY)
    await act(site, "UpsertProfile", me)
    found = await reputation_of(site, me)
    assert (found.score, found.no_show_count, found.completed_count) == (-1, 1, 0)


async def test_a_week_apart_is_not_shortened(site: Site) -> None:
    """Two whose match ended by an erasure are not matched again before the week is over."""
    me = await settled(site.client, "again")
    await erase(site, me)
    await site.let_pass(DAY * 6)
    await act(site, "UpsertProfile", me)
    assert await refused(site, "RequestMatch", me) == "CANDIDATE_UNAVAILABLE"
    await site.let_pass(DAY)
    assert (await act(site, "RequestMatch", me)).match.id
