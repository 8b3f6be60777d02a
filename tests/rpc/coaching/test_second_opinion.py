"""The second opinion of a small model, where COACHING_SAFETY_MODEL names one."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.claude_server import BreaksOff, ClaudeServer, Refuses, Says
from support.coaching import ask, tokens_left
from support.server import roomy_limits, serving_application
from support.stubs import Stubs
from wingmanmatch_server.coaching.model import Prompt
from wingmanmatch_server.coaching.prompts import Prompts
from wingmanmatch_server.coaching.safety import Category, Safety
from wingmanmatch_server.drivers.redis import RedisServer

SMALL = "claude-small-test"
HELP = "findahelpline.com"
CERTAIN, LOOSE, MISSED = (
    "I want to kill myself",
    "i cant do this anymore",
    "Tomorrow nobody has to cook for me.",
)
BUDGET = 20_000


@pytest.fixture(scope="module")
def transport() -> str:
    """The database has no part in this."""
    return "postgres"


@pytest.fixture(scope="module")
async def client(
    dsn: str, redis: RedisServer, redis_url: str, tmp_path_factory: pytest.TempPathFactory, _claude_address: None
) -> AsyncIterator[Stubs]:
    """A client of a server that asks for a second opinion."""
    assert redis.client
    folder: Path = tmp_path_factory.mktemp("data")
    settings = {"anthropic_api_key": "sk-ant-test", "coaching_safety_model": SMALL, "coaching_daily_tokens": BUDGET}
    async with serving_application(dsn, redis_url, folder, rate_limits_file=roomy_limits(folder), **settings) as client:
        yield client


def new_id() -> str:
    """Return the id of somebody new."""
    return str(uuid.uuid4())


def models(claude: ClaudeServer) -> list[bool]:
    """Return for each request whether the small model was asked."""
    return [request["model"] == SMALL for request in claude.requests]


def test_messages_are_what_they_stand_for() -> None:
    """One is certain, one is found by looser phrases alone, and one by none."""
    certain, loose, missed = (Safety().judge(message) for message in (CERTAIN, LOOSE, MISSED))
    assert (certain.category, certain.certain) == (Category.SELF_HARM, True)
    assert (loose.category, loose.certain) == (Category.SELF_HARM, False)
    assert missed.category is None


async def test_certain_message_needs_no_opinion(client: Stubs, claude: ClaudeServer) -> None:
    """What strict phrases find is answered without any model."""
    assert HELP in (await ask(client, new_id(), CERTAIN)).text
    assert claude.requests == []


async def test_model_finds_what_phrases_miss(client: Stubs, claude: ClaudeServer) -> None:
    """Help comes in the language that the model names; the coach is not asked; the tokens are the person's."""
    person = new_id()
    claude.script(Says(["self_", "harm de"], input_tokens=400, cached_tokens=0, output_tokens=8))
    told = await ask(client, person, MISSED)
    assert told.text.startswith("Gut, dass du das schreibst")
    assert models(claude) == [True]
    assert MISSED in claude.requests[0]["messages"][0]["content"]
    assert BUDGET - 408 <= await tokens_left(client, person) <= BUDGET - 400


async def test_model_may_refuse_a_message(client: Stubs, claude: ClaudeServer) -> None:
    """Harm to others is refused as it is where a phrase finds it."""
    claude.script(Says(["pressure en"]))
    assert (await ask(client, new_id(), MISSED)).failure.reason == "MESSAGE_REFUSED"


@pytest.mark.parametrize("message", [LOOSE, MISSED])
async def test_model_finds_nothing(client: Stubs, claude: ClaudeServer, message: str) -> None:
    """Then the coach answers, also where a looser phrase was found."""
    claude.script(Says(["none en"]), Says(["Say hello."]))
    assert (await ask(client, new_id(), message)).text == "Say hello."
    assert models(claude) == [True, False]


@pytest.mark.parametrize(
    "answer",
    [Refuses(401), BreaksOff([], "silence"), Says(["I'd rather talk about the weather."]), Says([""], stop="refusal")],
    ids=["refused", "too slow", "no category", "refusal"],
)
async def test_looser_phrases_stand_where_the_model_fails(
    client: Stubs, claude: ClaudeServer, answer: Refuses | BreaksOff | Says
) -> None:
    """A model that refuses its key, is silent or says something else keeps nobody from help."""
    claude.script(answer)
    assert HELP in (await ask(client, new_id(), LOOSE)).text


def test_price_of_an_opinion() -> None:
    """About 520 tokens are read, by the estimate that the budget uses, and at most 16 are written."""
    prompt: Prompt = Prompts().safety("x" * 100)
    assert 450 < prompt.size < 600
    assert prompt.max_tokens == 16
