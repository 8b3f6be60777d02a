"""Chat as a caller meets it: the real server, the real SDK, and a Claude that follows the documented format."""

import asyncio
import uuid

import grpc
import pytest
from google.rpc import error_details_pb2

from support.claude_server import BreaksOff, ClaudeServer, Refuses, Says
from support.coaching import ask, conversation_of, tokens_left
from support.conversations import converse, create_store
from support.redis_raw import raw_value
from support.requests import TIMEOUT
from support.stubs import Stubs
from wingmanmatch.coaching.v1 import coaching_pb2, coaching_service_pb2
from wingmanmatch.system.v1 import system_pb2, system_service_pb2
from wingmanmatch_client import reason_of
from wingmanmatch_server.coaching.history import HISTORY_TOKENS
from wingmanmatch_server.coaching.model import estimate_tokens
from wingmanmatch_server.coaching.replies import NOTHING_SAID, REFUSED_BY_MODEL
from wingmanmatch_server.drivers.redis import RedisServer

CAPACITY = 20_000


@pytest.fixture(scope="module")
def transport() -> str:
    """The database says no more than a few facts here; test_personal_data.py asks it both ways."""
    return "postgres"


def new_id() -> str:
    """Return the id of somebody new."""
    return str(uuid.uuid4())


async def keys_of(redis: RedisServer, user_id: str) -> list[bytes]:
    """Return the keys of what is kept of a person's conversations."""
    return [key async for key in redis.client.scan_iter(match=f"coach:{{{user_id}}}:*")]


async def is_there(client: Stubs, user_id: str, conversation_id: str) -> bool:
    """Tell whether a conversation can be read."""
    try:
        await conversation_of(client, user_id, conversation_id)
    except grpc.aio.AioRpcError as error:
        if reason_of(error) != "CONVERSATION_NOT_FOUND":
            raise
        return False
    return True


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


async def test_long_conversation_is_shown_in_part(client: Stubs, claude: ClaudeServer, redis: RedisServer) -> None:
    """The latest of it whole, what the person wrote before in short, to the model and to whoever reads it."""
    person, store = new_id(), create_store(redis)
    known = await store.find(person, await converse(store, person))
    for number in range(12):
        assert await store.add(known, f"Question {number}? " + "why " * 400, "because " * 200, minor=False)
        known = await store.find(person, known.id)
    await ask(client, person, "And now?", known.id)
    request = claude.requests[-1]
    assert request["messages"][0]["role"] == "user"
    assert request["messages"][-1] == {"role": "user", "content": "And now?"}
    assert sum(estimate_tokens(each["content"]) for each in request["messages"]) < HISTORY_TOKENS + 10
    assert "Question 0? why" in request["system"][1]["text"]
    kept = await conversation_of(client, person, known.id)
    assert kept.summary.startswith("Hello?\nQuestion 0? why")
    assert kept.messages[0].text.startswith("Question ")


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


async def test_one_failure_before_the_answer_is_not_seen(client: Stubs, claude: ClaudeServer) -> None:
    """It is asked again, once."""
    claude.script(Refuses(529))
    told = await ask(client, new_id(), "Hello")
    assert (told.error, told.text) == (None, "Say hello first.")
    assert len(claude.requests) == 2


@pytest.mark.parametrize("how", ["overloaded_error", "drop"])
async def test_failure_in_the_middle_keeps_what_was_said(client: Stubs, claude: ClaudeServer, how: str) -> None:
    """What was sent stays valid, is paid for and is remembered where the error says; nothing is asked again."""
    person = new_id()
    claude.script(BreaksOff(["First say hello. ", "Then"], how))
    told = await ask(client, person, "Hello")
    assert told.text == "First say hello. "
    assert (told.failure.code, told.failure.reason) == (grpc.StatusCode.UNAVAILABLE, "COACH_UNAVAILABLE")
    assert told.failure.detail(error_details_pb2.RetryInfo).retry_delay.seconds
    assert len(claude.requests) == 1
    assert CAPACITY - 960 < await tokens_left(client, person) < CAPACITY - 940
    conversation_id = told.failure.metadata["conversation_id"]
    kept = await conversation_of(client, person, conversation_id)
    assert [each.text for each in kept.messages] == ["Hello", "First say hello. "]
    assert (await ask(client, person, "And then?", conversation_id)).error is None
    assert [each["role"] for each in claude.requests[-1]["messages"]] == ["user", "assistant", "user"]


async def test_failure_before_the_text_leaves_nothing(client: Stubs, claude: ClaudeServer, redis: RedisServer) -> None:
    """No conversation, no cost."""
    person = new_id()
    claude.script(Refuses(401))
    told = await ask(client, person, "Hello")
    assert told.error is not None
    assert not told.failure.metadata
    assert await tokens_left(client, person) == CAPACITY
    assert await keys_of(redis, person) == []


async def test_request_that_is_wrong_is_ours(client: Stubs, claude: ClaudeServer) -> None:
    """What Claude calls invalid is a defect here, told by an opaque id, and costs nobody anything."""
    person = new_id()
    claude.script(Refuses(400))
    told = await ask(client, person, "Hello")
    assert told.failure.code is grpc.StatusCode.INTERNAL
    assert await tokens_left(client, person) == CAPACITY


@pytest.mark.parametrize("message", [" ", "\n\t ", "\u00a0\u2003", "\u200b", "\0", "a\0b", "", "x" * 4001])
async def test_message_is_words(client: Stubs, claude: ClaudeServer, message: str) -> None:
    """Nothing is no message: Claude would refuse the whole conversation for it."""
    told = await ask(client, new_id(), message)
    assert told.failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(told.failure.violations) == ["message"]
    assert claude.requests == []


async def test_refusal_by_the_model(client: Stubs, claude: ClaudeServer) -> None:
    """Something is said, and the exchange is left out: the model would refuse all that follows it."""
    person = new_id()
    first = await ask(client, person, "Hello")
    claude.script(Says([], stop="refusal"))
    told = await ask(client, person, "Something odd", first.conversation_id)
    assert told.text == REFUSED_BY_MODEL
    assert told.done is not None
    assert (told.done.ending, told.done.remembered) == (coaching_pb2.CHAT_ENDING_REDIRECTED, False)
    await ask(client, person, "Something else", first.conversation_id)
    assert [each["content"] for each in claude.requests[-1]["messages"]] == ["Hello", first.text, "Something else"]


@pytest.mark.parametrize("pieces", [[], ["\n"]])
async def test_answer_is_never_empty(client: Stubs, claude: ClaudeServer, pieces: list[str]) -> None:
    """A model that says nothing is spoken for, and nothing wedges the conversation."""
    claude.script(Says(pieces))
    told = await ask(client, new_id(), "Hello")
    assert told.text.strip() == NOTHING_SAID
    assert told.done is not None
    assert told.done.remembered


async def test_answer_to_a_forgotten_conversation_is_not_kept(client: Stubs, claude: ClaudeServer) -> None:
    """Who forgets a conversation during an answer has forgotten it."""
    person = new_id()
    first = await ask(client, person, "Hello")
    request = coaching_service_pb2.ChatRequest(user_id=person, message="More", conversation_id=first.conversation_id)
    forgotten = asyncio.Event()
    claude.script(Says(["A sentence. ", "Another."], until=forgotten))
    call = client.coaching.Chat(request, timeout=TIMEOUT)
    assert (await call.read()).text_delta
    forget = coaching_service_pb2.DeleteConversationRequest(user_id=person, conversation_id=first.conversation_id)
    await client.coaching.DeleteConversation(forget, timeout=TIMEOUT)
    forgotten.set()
    assert (await call.read()).text_delta == "Another."
    assert not (await call.read()).done.remembered
    assert not await is_there(client, person, first.conversation_id)


async def test_circuit_opens(client: Stubs, claude: ClaudeServer) -> None:
    """Five failures in a row open the circuit: nobody is asked any more, and the report says so.

    Who needs other help than a coach's is still told where it is.
    """
    claude.script(*[BreaksOff(["Well. "], "drop")] * 5)
    for _ in range(5):
        await ask(client, new_id(), "Hello")
    told = await ask(client, new_id(), "Hello")
    assert told.failure.reason == "CIRCUIT_OPEN"
    assert 0 < told.failure.detail(error_details_pb2.RetryInfo).retry_delay.seconds <= 60
    assert len(claude.requests) == 5
    report = await client.system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=TIMEOUT)
    states = {each.name: each.state for each in report.circuit_breakers}
    assert states["external_api"] == system_pb2.CIRCUIT_BREAKER_STATE_OPEN
    in_need = await ask(client, new_id(), "I want to kill myself")
    assert "findahelpline.com" in in_need.text


async def test_leaving_stops_the_model(client: Stubs, claude: ClaudeServer, redis: RedisServer) -> None:
    """When the caller goes, the connection to the model is closed; what was read and written is paid for.

    Of a conversation that had just begun nothing stays: its caller never learnt its id.
    """
    person = new_id()
    claude.script(BreaksOff(["First say hello. ", "And then"], "stall"))
    await left_after_one_piece(client, claude, person)
    async with asyncio.timeout(TIMEOUT):
        while await keys_of(redis, person):
            await asyncio.sleep(0.01)  # the call ends after its connection
    assert CAPACITY - 960 < await tokens_left(client, person) < CAPACITY - 940


async def test_leaving_before_the_answer_costs_the_question(client: Stubs, claude: ClaudeServer) -> None:
    """About what Claude had to read, or asking and leaving would be free."""
    person = new_id()
    claude.script(BreaksOff([], "silence"))
    call = client.coaching.Chat(coaching_service_pb2.ChatRequest(user_id=person, message="Hello"), timeout=TIMEOUT)
    async with asyncio.timeout(TIMEOUT):
        reading = asyncio.ensure_future(call.read())
        while not claude.open:
            await asyncio.sleep(0.01)
        call.cancel()
        await claude.left.wait()
        while await tokens_left(client, person) < CAPACITY - 2000:
            await asyncio.sleep(0.01)  # until what was reserved for an answer comes back
    reading.cancel()
    assert CAPACITY - 2000 < await tokens_left(client, person) < CAPACITY - 1000


async def test_leaving_a_conversation_keeps_what_was_said(client: Stubs, claude: ClaudeServer) -> None:
    """Only what was sent, and not what was held back behind it."""
    person = new_id()
    first = await ask(client, person, "Hello")
    claude.script(BreaksOff(["First say hello. ", "And then"], "stall"))
    await left_after_one_piece(client, claude, person, first.conversation_id)
    async with asyncio.timeout(TIMEOUT):
        while len((await conversation_of(client, person, first.conversation_id)).messages) < 4:
            await asyncio.sleep(0.01)
    kept = await conversation_of(client, person, first.conversation_id)
    assert [each.text for each in kept.messages] == ["Hello", first.text, "Go on", "First say hello. "]


async def left_after_one_piece(client: Stubs, claude: ClaudeServer, person: str, conversation_id: str = "") -> None:
    """Ask, read one piece, leave, and wait until the connection to the model is closed."""
    request = coaching_service_pb2.ChatRequest(user_id=person, message="Go on", conversation_id=conversation_id)
    call = client.coaching.Chat(request, timeout=TIMEOUT)
    assert (await call.read()).text_delta == "First say hello. "
    assert claude.open == 1
    call.cancel()
    async with asyncio.timeout(TIMEOUT):
        await claude.left.wait()
    assert claude.open == 0


async def test_budget_ends(client: Stubs, claude: ClaudeServer) -> None:
    """An answer costs what it cost and no more; at the end of the budget nothing is asked, and a hint says when."""
    person = new_id()
    claude.script(Says(["Hello."], input_tokens=2000, cached_tokens=1000, output_tokens=16_000))
    await ask(client, person, "Hello")
    assert CAPACITY - 19_000 <= await tokens_left(client, person) <= CAPACITY - 18_990
    told = await ask(client, person, "Hello")
    assert told.failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
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


async def test_conversation_of_a_newer_version(client: Stubs, claude: ClaudeServer, redis: RedisServer) -> None:
    """It can be neither continued nor read here, costs nothing, stays as it is, and can be deleted."""
    person = new_id()
    conversation_id = (await ask(client, person, "Hello")).conversation_id
    key = f"coach:{{{person}}}:conversation:{conversation_id}"
    await redis.client.hset(key, "v", "2")
    before, left = await raw_value(redis, key), await tokens_left(client, person)
    claude.script()
    told = await ask(client, person, "And then?", conversation_id)
    assert (told.failure.code, reason_of(told.error)) == (grpc.StatusCode.UNAVAILABLE, "RECORD_VERSION_UNKNOWN")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await conversation_of(client, person, conversation_id)
    assert reason_of(raised.value) == "RECORD_VERSION_UNKNOWN"
    assert (claude.requests, await tokens_left(client, person)) == ([], pytest.approx(left, abs=5))
    assert before.is_still(await raw_value(redis, key))
    request = coaching_service_pb2.DeleteConversationRequest(user_id=person, conversation_id=conversation_id)
    await client.coaching.DeleteConversation(request, timeout=TIMEOUT)
    assert not await is_there(client, person, conversation_id)


async def test_help_is_given_beside_a_conversation_of_a_newer_version(client: Stubs, redis: RedisServer) -> None:
    """Who needs other help than a coach's gets it, though the exchange cannot be remembered."""
    person = new_id()
    conversation_id = (await ask(client, person, "Hello")).conversation_id
    key = f"coach:{{{person}}}:conversation:{conversation_id}"
    await redis.client.hset(key, "v", "2")
    before = await raw_value(redis, key)
    told = await ask(client, person, "I want to kill myself", conversation_id)
    assert "findahelpline.com" in told.text
    assert before.is_still(await raw_value(redis, key))
