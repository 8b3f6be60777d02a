"""A server without a coach: Chat says so, and everything else is as it was."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from support.claude_server import ClaudeServer
from support.coaching import ask, conversation_of
from support.conversations import converse, create_store
from support.edge import failure_of
from support.requests import TIMEOUT, invite, join_pair
from support.server import roomy_limits, serving_application
from support.stubs import Stubs
from wingmanmatch.coaching.v1 import coaching_pb2, coaching_service_pb2
from wingmanmatch.system.v1 import system_service_pb2
from wingmanmatch_server.drivers.redis import RedisServer

OFF: dict[str, dict[str, Any]] = {
    "no key": {},
    "switched off": {"anthropic_api_key": "sk-ant-test", "enable_ai_coaching": False},
}


@pytest.fixture(scope="module", params=OFF)
def why(request: pytest.FixtureRequest) -> str:
    """Why there is no coach."""
    return str(request.param)


@pytest.fixture(scope="module")
def transport() -> str:
    """One way to the database is enough here."""
    return "postgres"


@pytest.fixture(scope="module")
async def client(
    why: str, dsn: str, redis: RedisServer, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stubs]:
    """A client of a server that does not coach."""
    assert redis.client
    folder: Path = tmp_path_factory.mktemp("data")
    limits = roomy_limits(folder)
    async with serving_application(dsn, redis_url, folder, rate_limits_file=limits, **OFF[why]) as client:
        yield client


async def test_chat_is_disabled(client: Stubs, claude: ClaudeServer) -> None:
    """By a precondition, which names the feature."""
    told = await ask(client, "7b2f0c5e-52a8-4d0b-9a53-8d6d9ef0a00b", "Hello")
    assert (told.failure.code, told.failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FEATURE_DISABLED")
    assert told.failure.metadata == {"feature": "ai_coaching"}
    assert claude.requests == []


async def test_what_was_said_can_be_read_and_forgotten(client: Stubs, redis: RedisServer) -> None:
    """Who talked while there was a coach keeps their rights."""
    person = "7b2f0c5e-52a8-4d0b-9a53-8d6d9ef0a00b"
    conversation_id = await converse(create_store(redis), person, "Before it was off")
    kept = await conversation_of(client, person, conversation_id)
    assert kept.messages[0].text == "Before it was off"
    request = coaching_service_pb2.DeleteConversationRequest(user_id=person, conversation_id=conversation_id)
    await client.coaching.DeleteConversation(request, timeout=TIMEOUT)
    gone = await failure_of(conversation_of(client, person, conversation_id))
    assert gone.reason == "CONVERSATION_NOT_FOUND"


async def test_plans_come_from_the_catalogue(client: Stubs) -> None:
    """Matching goes on, plans too."""
    me, friend = await join_pair(client)
    match = await invite(client, me, friend)
    request = coaching_service_pb2.SuggestMeetupPlanRequest(match_id=match.id, user_id=me)
    plan = (await client.coaching.SuggestMeetupPlan(request, timeout=TIMEOUT)).plan
    assert plan.source == coaching_pb2.MEETUP_PLAN_SOURCE_CATALOGUE
    assert len(plan.challenges) == 2


async def test_report_says_why(client: Stubs, why: str) -> None:
    """What is missing, in the report."""
    report = await client.system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=TIMEOUT)
    (feature,) = [each for each in report.features if each.name == "ai_coaching"]
    assert not feature.enabled
    assert ("ANTHROPIC_API_KEY" in feature.detail) == (why == "no key")
