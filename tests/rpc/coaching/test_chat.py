"""Chat as a caller meets it: the real server, the real SDK, and a Claude that follows the documented format."""

import asyncio
import uuid

import grpc
import pytest

from support.claude_server import BreaksOff, ClaudeServer, Refuses, Says
from support.coaching import ask, conversation_of
from support.requests import TIMEOUT, join
from support.stubs import Stubs
from wingmanmatch.coaching.v1 import coaching_pb2, coaching_service_pb2
from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch.ratelimit.v1 import rate_limit_pb2, rate_limit_service_pb2
from wingmanmatch.system.v1 import system_pb2, system_service_pb2
from wingmanmatch_client import reason_of

CAPACITY = 20_000


def new_id() -> str:
    """Return the id of somebody new."""
    return str(uuid.uuid4())


async def tokens_left(client: Stubs, user_id: str) -> int:
    """Return what is left of a person's budget."""
    descriptor = rate_limit_pb2.RateLimitDescriptor(policy="coaching_tokens", subject=user_id)
    request = rate_limit_service_pb2.PeekRateLimitRequest(descriptors=[descriptor])
    answer = await client.rate_limit.PeekRateLimit(request, timeout=TIMEOUT)
    return int(answer.results[0].remaining)


async def test_answer_streams_and_ends(client: Stubs, claude: ClaudeServer) -> None:
    """The pieces make up the answer, and the end tells what it cost and how to go on."""
    claude.script(
        Says(["Start with one hello. ", "Then another."], input_tokens=40, cached_tokens=900, output_tokens=9)
    )
    told = await ask(client, new_id(), "How do I start?")
    assert told.text == "Start with one hello. Then another."
    assert len(told.pieces) > 1
    assert told.done is not None
    assert (told.done.input_tokens, told.done.output_tokens) == (940, 9)
    assert told.done.ending == coaching_pb2.CHAT_ENDING_COMPLETE
    assert uuid.UUID(told.conversation_id)


async def test_conversation_goes_on(client: Stubs, claude: ClaudeServer) -> None:
    """The next answer is asked with what was said before, and both exchanges are kept in their order."""
    person = new_id()
    first = await ask(client, person, "I froze at a party.")
    second = await ask(client, person, "What now?", first.conversation_id)
    assert second.conversation_id == first.conversation_id
    sent = [(each["role"], each["content"]) for each in claude.requests[-1]["messages"]]
    assert sent == [("user", "I froze at a party."), ("assistant", first.text), ("user", "What now?")]
    kept = await conversation_of(client, person, first.conversation_id)
    assert [each.text for each in kept.messages] == ["I froze at a party.", first.text, "What now?", second.text]
    assert kept.create_time.ToDatetime() <= kept.update_time.ToDatetime() < kept.expire_time.ToDatetime()


async def test_coach_knows_the_person(client: Stubs, claude: ClaudeServer) -> None:
    """Level and archetype are told to the model; name, address and place are not."""
    person = await join(
        client,
        first_name="Quentin",
        email="quentin@example.org",
        bio="Collects stamps",
        city="Atlantis",
        experience_level=matching_pb2.EXPERIENCE_LEVEL_ADVANCED,
        confidence_archetype=matching_pb2.CONFIDENCE_ARCHETYPE_GHOST,
    )
    await ask(client, person.user_id, "Hello")
    facts = claude.requests[-1]["system"][1]["text"]
    assert "ADVANCED" in facts
    assert "GHOST" in facts
    for private in ("Quentin", "quentin@example.org", "stamps", "Atlantis", person.user_id):
        assert private not in str(claude.requests[-1])


async def test_conversation_is_its_persons_own(client: Stubs) -> None:
    """Somebody else's conversation is as good as none, to continue and to read."""
    told = await ask(client, new_id(), "Hello")
    stranger = new_id()
    continued = await ask(client, stranger, "Hello", told.conversation_id)
    assert continued.error is not None
    assert reason_of(continued.error) == "CONVERSATION_NOT_FOUND"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await conversation_of(client, stranger, told.conversation_id)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_deleted_conversation_is_gone(client: Stubs) -> None:
    """What was deleted can be neither read nor continued, and deleting it again is no error."""
    person = new_id()
    told = await ask(client, person, "Hello")
    request = coaching_service_pb2.DeleteConversationRequest(user_id=person, conversation_id=told.conversation_id)
    for _ in range(2):
        await client.coaching.DeleteConversation(request, timeout=TIMEOUT)
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        await conversation_of(client, person, told.conversation_id)
    assert reason_of(gone.value) == "CONVERSATION_NOT_FOUND"


@pytest.mark.parametrize(
    ("stop", "ending"),
    [
        ("end_turn", coaching_pb2.CHAT_ENDING_COMPLETE),
        ("max_tokens", coaching_pb2.CHAT_ENDING_LENGTH),
        ("refusal", coaching_pb2.CHAT_ENDING_REDIRECTED),
    ],
)
async def test_ending_is_told(
    client: Stubs, claude: ClaudeServer, stop: str, ending: coaching_pb2.ChatEnding.ValueType
) -> None:
    """Why the model stopped is told at the end."""
    claude.script(Says(["Well."], stop=stop))
    told = await ask(client, new_id(), "Hello")
    assert told.done is not None
    assert told.done.ending == ending


@pytest.mark.parametrize("failure", [Refuses(500), Refuses(529), Refuses(429, "0.01"), BreaksOff([], "drop")])
async def test_one_failure_before_the_answer_is_repeated(
    client: Stubs, claude: ClaudeServer, failure: Refuses | BreaksOff
) -> None:
    """A single failure before the first piece is not seen."""
    claude.script(failure)
    told = await ask(client, new_id(), "Hello")
    assert (told.error, told.text) == (None, "Say hello first.")
    assert len(claude.requests) == 2


async def test_overload_is_told_with_when_to_come_back(client: Stubs, claude: ClaudeServer) -> None:
    """A limit of the provider's is no limit of the caller's: UNAVAILABLE, with its hint, and asked once only."""
    claude.script(Refuses(429, "30"))
    told = await ask(client, new_id(), "Hello")
    assert told.error is not None
    assert (told.error.code(), reason_of(told.error)) == (grpc.StatusCode.UNAVAILABLE, "COACH_UNAVAILABLE")
    assert len(claude.requests) == 1


@pytest.mark.parametrize("how", ["overloaded_error", "api_error", "drop", "end"])
async def test_failure_in_the_middle_keeps_what_was_said(client: Stubs, claude: ClaudeServer, how: str) -> None:
    """What was sent stays valid and is paid for; the end is a clear status; nothing is asked again."""
    person = new_id()
    claude.script(BreaksOff(["First say hello. ", "Then"], how))
    told = await ask(client, person, "Hello")
    assert told.text.startswith("First say hello. ")
    assert told.error is not None
    assert (told.error.code(), reason_of(told.error)) == (grpc.StatusCode.UNAVAILABLE, "COACH_UNAVAILABLE")
    assert len(claude.requests) == 1
    assert CAPACITY - 960 < await tokens_left(client, person) < CAPACITY - 940


async def test_request_that_is_wrong_is_ours(client: Stubs, claude: ClaudeServer) -> None:
    """What Claude calls invalid is a defect here, told by an opaque id."""
    claude.script(Refuses(400))
    told = await ask(client, new_id(), "Hello")
    assert told.error is not None
    assert told.error.code() is grpc.StatusCode.INTERNAL


async def test_circuit_opens(client: Stubs, claude: ClaudeServer) -> None:
    """Five failures in a row open the circuit: nobody is asked any more, health and the report say so."""
    claude.script(*[Refuses(401)] * 5)
    for _ in range(5):
        await ask(client, new_id(), "Hello")
    told = await ask(client, new_id(), "Hello")
    assert told.error is not None
    assert reason_of(told.error) == "CIRCUIT_OPEN"
    assert len(claude.requests) == 5
    report = await client.system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=TIMEOUT)
    states = {each.name: each.state for each in report.circuit_breakers}
    assert states["external_api"] == system_pb2.CIRCUIT_BREAKER_STATE_OPEN


async def test_cancelling_stops_the_model(client: Stubs, claude: ClaudeServer) -> None:
    """When the caller goes, the request to the model ends at once, and what was said is remembered as it was."""
    person = new_id()
    claude.script(BreaksOff(["First say hello. ", "And then"], "stall"))
    call = client.coaching.Chat(coaching_service_pb2.ChatRequest(user_id=person, message="Hello"), timeout=TIMEOUT)
    first = await call.read()
    assert first.text_delta == "First say hello. "
    call.cancel()
    async with asyncio.timeout(TIMEOUT):
        await claude.left.wait()
        while await tokens_left(client, person) < CAPACITY - 1000:
            await asyncio.sleep(0.01)  # what was reserved comes back once the call has ended
    told = await ask(client, person, "Are you there?")
    assert told.error is None


async def test_budget_ends(client: Stubs, claude: ClaudeServer) -> None:
    """An answer costs what it cost and no more; at the end of the budget nothing is asked, and a hint says when."""
    person = new_id()
    claude.script(Says(["Hello."], input_tokens=2000, cached_tokens=1000, output_tokens=16_000))
    await ask(client, person, "Hello")
    assert CAPACITY - 19_000 <= await tokens_left(client, person) <= CAPACITY - 18_990
    told = await ask(client, person, "Hello")
    assert told.error is not None
    assert told.error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(told.error) == "COACHING_BUDGET_SPENT"
    assert len(claude.requests) == 1


async def test_two_messages_at_once_are_both_kept(client: Stubs) -> None:
    """Two calls on one conversation lose nothing of either."""
    person = new_id()
    first = await ask(client, person, "Hello")
    await asyncio.gather(*(ask(client, person, f"Message {number}", first.conversation_id) for number in range(4)))
    kept = await conversation_of(client, person, first.conversation_id)
    asked = [each.text for each in kept.messages if each.role == coaching_pb2.CONVERSATION_ROLE_PERSON]
    assert sorted(asked) == ["Hello", "Message 0", "Message 1", "Message 2", "Message 3"]
