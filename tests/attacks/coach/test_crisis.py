"""Whoever is in crisis gets help whatever is used up, off or unavailable, and nobody else gets anything by that."""

import importlib
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from support.claude_server import BreaksOff, ClaudeServer, Refuses, serving_claude
from support.coaching import Told, read
from support.credentials import SETTINGS, bearer, user_token
from support.server import serving_application
from support.stubs import Stubs
from support.valkey import OwnValkey, own_valkey
from wingmanmatch.coaching.v1 import coaching_pb2, coaching_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.ratelimit.flood_bound import CALLS_AT_ONCE

HELP = "findahelpline.com"
CRISIS = "I dont want to live anymore"
STALLED = BreaksOff(["First say hello. "], "stall")
PUBLIC_API = 100  # capacity of the policy


async def say(client: Stubs, person: str, message: str) -> Told:
    """Send a message with the person's own token and read the answer to its end."""
    request = coaching_service_pb2.ChatRequest(user_id=person, message=message)
    return await read(client.coaching.Chat(request, timeout=30, metadata=bearer(user_token(person))))


def new_id() -> str:
    """Return the id of somebody new."""
    return str(uuid.uuid4())


async def empty_bucket(client: Stubs, person: str) -> None:
    """Spend the person's bucket of `public_api` with their own token, as an ordinary client would."""
    request = coaching_service_pb2.GetConversationRequest(user_id=person, conversation_id=new_id())
    for _ in range(PUBLIC_API + 20):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.coaching.GetConversation(request, timeout=30, metadata=bearer(user_token(person)))
        if caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
            return
    raise AssertionError("the bucket does not run empty")


def is_help(told: Told) -> bool:
    """Tell whether the answer is where help is, to its end."""
    assert told.error is None, told.error
    assert told.done is not None
    return HELP in told.text and told.done.ending == coaching_pb2.CHAT_ENDING_REDIRECTED


async def test_help_while_the_bucket_is_empty_and_coaching_is_off(client: Stubs) -> None:
    """A crisis is answered although nothing else is; every other message meets the limit, then the switch."""
    person = new_id()
    off = await say(client, person, "How do I say hello?")
    assert (off.failure.code, off.failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FEATURE_DISABLED")
    await empty_bucket(client, person)
    assert is_help(await say(client, person, CRISIS))
    limited = await say(client, person, "How do I say hello?")
    assert (limited.failure.code, limited.failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")


async def test_flood_of_crises_is_bounded(client: Stubs) -> None:
    """One person's token is not answered without end; another person is not affected."""
    flooder, other = new_id(), new_id()
    answers = [await say(client, flooder, CRISIS) for _ in range(CALLS_AT_ONCE + 30)]
    refused = [each.failure.reason for each in answers if each.error is not None]
    assert len(answers) - len(refused) >= CALLS_AT_ONCE
    assert set(refused) == {"RATE_LIMITED"}
    assert is_help(await say(client, other, CRISIS))


async def test_no_free_ride_by_naming_somebody_else(client: Stubs) -> None:
    """A token of one person opens no other person's help, and costs them nothing."""
    request = coaching_service_pb2.ChatRequest(user_id=new_id(), message=CRISIS)
    told = await read(client.coaching.Chat(request, timeout=30, metadata=bearer(user_token(new_id()))))
    assert told.failure.code == grpc.StatusCode.PERMISSION_DENIED
    without = await read(client.coaching.Chat(request, timeout=30))
    assert without.failure.code == grpc.StatusCode.UNAUTHENTICATED


DISGUISES = [
    "i w\u200bant to k\u200cill m\u2060yself",
    "k i l l  m y s e l f",
    "k.i.l.l m.y.s.e.l.f",
    "K1LL MYS3LF",
    "i want to d1e",
    "i w@nt to d!e",
    "I wаnt tо diе",  # Cyrillic а, о and е
    "ｉ ｗａｎｔ ｔｏ ｄｉｅ",
    "𝓲 𝔀𝓪𝓷𝓽 𝓽𝓸 𝓭𝓲𝓮",
    "i wannnnna dieeeeee",
    "i w\u0336a\u0336n\u0336t\u0336 to d\u0336i\u0336e\u0336",
    "I DONT WANNA LIVE ANYMORE",
    "#iwanttokillmyself",
    "kill my self",
    "kms",
    "unalive myself",
    "hola! todo bien... aber ich will nicht mehr leben lol",
]


@pytest.mark.parametrize("message", DISGUISES)
async def test_disguises_hide_nobody(client: Stubs, message: str) -> None:
    """Invisible, spaced, wide, lookalike, leet and repeated letters, and mixed languages, lead to help."""
    assert is_help(await say(client, new_id(), message))


IN_TEN_LANGUAGES = {
    "en": ("I want to die", "I'm glad you wrote this"),
    "de": ("Ich will nicht mehr leben", "Gut, dass du das schreibst"),
    "fr": ("Je n'ai plus envie de vivre", "Merci de l'avoir"),
    "es": ("Ya no quiero vivir", "Me alegra que lo hayas"),
    "it": ("Non voglio più vivere", "Sono contento che tu"),
    "pt": ("Não quero mais viver", "Ainda bem que você"),
    "nl": ("Ik wil niet meer leven", "Goed dat je dit schrijft"),
    "ru": ("Я не хочу больше жить", "Хорошо, что вы"),
    "tr": ("Artık yaşamak istemiyorum", "Bunu yazman iyi oldu"),
    "ja": ("もう死にたい", "話してくださって"),
}


@pytest.mark.parametrize("language", IN_TEN_LANGUAGES)
async def test_help_in_ten_languages(client: Stubs, language: str) -> None:
    """Help is found and given in the language of the message."""
    message, beginning = IN_TEN_LANGUAGES[language]
    told = await say(client, new_id(), message)
    assert is_help(told)
    assert told.text.startswith(beginning)


@pytest.fixture
async def claude() -> AsyncIterator[ClaudeServer]:
    """A Claude that refuses everything."""
    importlib.import_module("anthropic")
    async with serving_claude() as claude:
        claude.default = Refuses(529)
        yield claude


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnValkey]:
    """A Valkey to be killed."""
    with own_valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey


async def test_help_while_everything_is_unavailable(
    claude: ClaudeServer, valkey: OwnValkey, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claude fails until its circuit is open and Redis is gone: help still comes, not remembered."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.url)
    settings = SETTINGS | {"anthropic_api_key": "sk-ant-test"}
    async with serving_application(dsn, valkey.url, tmp_path / "server", **settings) as client:
        person = new_id()
        reasons = [(await say(client, person, "How do I say hello?")).failure.reason for _ in range(6)]
        assert "CIRCUIT_OPEN" in reasons
        assert is_help(await say(client, person, CRISIS))
        valkey.kill()
        told = await say(client, person, CRISIS)
        assert is_help(told)
        assert told.done is not None
        assert not told.done.remembered


async def test_help_while_the_budget_is_spent(
    claude: ClaudeServer, engines: EmbeddedEngines, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has no tokens left for today is told where help is."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.url)
    person, limits = new_id(), tmp_path / "rate-limits.toml"
    limits.write_text(
        f'[[policies.coaching_tokens.overrides]]\nsubject = "{person}"\ncapacity = 0\nrefill_per_second = 1.0\n'
    )
    settings = SETTINGS | {"anthropic_api_key": "sk-ant-test", "rate_limits_file": limits}
    async with serving_application(dsn, f"{engines.redis_url}?db=11", tmp_path / "server", **settings) as client:
        assert (await say(client, person, "How do I say hello?")).failure.reason == "COACHING_BUDGET_SPENT"
        assert is_help(await say(client, person, CRISIS))


async def test_help_while_the_server_is_full(
    claude: ClaudeServer, engines: EmbeddedEngines, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every place is taken by an answer that does not end; a crisis needs none."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.url)
    claude.default = STALLED
    settings = SETTINGS | {"anthropic_api_key": "sk-ant-test", "max_concurrent_calls": 1}
    async with serving_application(dsn, f"{engines.redis_url}?db=11", tmp_path / "server", **settings) as client:
        holder = new_id()
        request = coaching_service_pb2.ChatRequest(user_id=holder, message="Hello")
        held = client.coaching.Chat(request, timeout=30, metadata=bearer(user_token(holder)))
        assert (await held.read()).text_delta
        assert (await say(client, new_id(), "Hello")).failure.reason == "OVERLOADED"
        assert is_help(await say(client, new_id(), CRISIS))
        held.cancel()
