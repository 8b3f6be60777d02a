"""What becomes of what people write: what reaches Claude, what is exported and erased, and that no log has it."""

import asyncio
import io
import logging
from collections.abc import Iterator

import asyncpg
import pytest
import structlog
from google.protobuf.json_format import MessageToDict

from support.claude_server import BreaksOff, ClaudeServer, Refuses, Says
from support.coaching import ask, conversation_of
from support.requests import TIMEOUT, invite, join, join_pair
from support.stubs import Stubs
from wingmanmatch.coaching.v1 import coaching_service_pb2
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch_server.coaching.claude import TALKATIVE
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.telemetry.logs import LogFormat, configure_logs

SECRETS = ("Secretname", "secretmail", "secretquestion", "secretanswer", "secretgarbage", "Secretcity", "secretsummary")


async def test_coach_knows_the_person(client: Stubs, claude: ClaudeServer, dsn: str) -> None:
    """Level, archetype, challenge, meet-up and time are told to the model; names, addresses, places and ids are not."""
    me, friend = await join_pair(
        client,
        first_name="Quentin",
        email="quentin@example.org",
        bio="Collects stamps",
        city="Atlantis",
        time_zone="Asia/Tokyo",
        experience_level=matching_pb2.EXPERIENCE_LEVEL_ADVANCED,
        confidence_archetype=matching_pb2.CONFIDENCE_ARCHETYPE_GHOST,
    )
    match = await invite(client, friend, me, venue_suggestion="The Leaky Cauldron", message="Meet me!")
    answer = matching_service_pb2.RespondToMatchRequest(
        match_id=match.id, user_id=me, response=matching_pb2.MATCH_RESPONSE_ACCEPT
    )
    await client.matching.RespondToMatch(answer, timeout=TIMEOUT)
    mine, theirs = await plan_meetup(dsn, match.id, me, friend)
    await ask(client, me, "Hello")
    facts = claude.requests[-1]["system"][1]["text"]
    for told in ("ADVANCED", "GHOST", '"match_count": 1', mine, "Friday 2099-01-02 07:30", '"local_time": "'):
        assert told in facts
    sent = str(claude.requests[-1])
    for private in ("Quentin", "quentin", "stamps", "Atlantis", "Cauldron", "Meet me", theirs, me, friend, match.id):
        assert private not in sent


async def plan_meetup(dsn: str, match_id: str, me: str, friend: str) -> tuple[str, str]:
    """Start a challenge for one person and plan a meet-up for both; return the titles of their challenges."""
    sql = await asyncpg.connect(dsn)
    try:
        (mine, my_title), (theirs, their_title) = await sql.fetch(
            "select id, title from approach_challenges order by title limit 2"
        )
        await sql.execute(
            "insert into user_challenges (user_id, challenge_id, expire_time)"
            " values ($1, $2, now() + interval '2 days')",
            me,
            mine,
        )
        await sql.execute(
            "insert into meetups (match_id, requester_id, invitee_id, venue_name, venue_author_id, scheduled_time,"
            " requester_challenge_id, invitee_challenge_id)"
            " values ($1, $2, $3, 'The Leaky Cauldron', $2, '2099-01-01T22:30:00Z', $4, $5)",
            match_id,
            friend,
            me,
            theirs,
            mine,
        )
    finally:
        await sql.close()
    return my_title, their_title


async def test_conversations_are_exported_and_erased(client: Stubs, redis: RedisServer) -> None:
    """The person's export has them as the API shows them; after the erasure nothing is left, in Redis or to read."""
    person = (await join(client)).user_id
    told = await ask(client, person, "I'm 15 and shy. How do I make friends?")
    kept = await conversation_of(client, person, told.conversation_id)
    request = matching_service_pb2.ExportProfileRequest(user_id=person)
    records = {each.kind: each.record async for each in client.matching.ExportProfile(request, timeout=TIMEOUT)}
    exported = MessageToDict(records[matching_pb2.EXPORT_RECORD_KIND_CONVERSATION])
    assert exported == MessageToDict(kept, preserving_proto_field_name=True)
    await client.matching.DeleteProfile(matching_service_pb2.DeleteProfileRequest(user_id=person), timeout=TIMEOUT)
    assert [key async for key in redis.client.scan_iter(match=f"*{person}*")] == []


async def test_answer_to_an_erased_person_is_not_kept(client: Stubs, claude: ClaudeServer, redis: RedisServer) -> None:
    """Who is erased during an answer reads it to its end, and leaves nothing."""
    person, erased = (await join(client)).user_id, asyncio.Event()
    claude.script(Says(["One. ", "Two."], until=erased))
    call = client.coaching.Chat(coaching_service_pb2.ChatRequest(user_id=person, message="Hello"), timeout=TIMEOUT)
    assert (await call.read()).text_delta == "One. "
    await client.matching.DeleteProfile(matching_service_pb2.DeleteProfileRequest(user_id=person), timeout=TIMEOUT)
    erased.set()
    assert (await call.read()).text_delta == "Two."
    assert not (await call.read()).done.remembered
    assert [key async for key in redis.client.scan_iter(match=f"*{person}*")] == []


@pytest.fixture(params=["json", "text"])
def logged(request: pytest.FixtureRequest) -> Iterator[io.BytesIO]:
    """What the server's own modules log, as the server is set up to write it."""
    log_format: LogFormat = request.param
    output = io.BytesIO()
    configure_logs(log_format, output)
    yield output
    structlog.reset_defaults()


async def test_no_log_has_what_people_say(
    client: Stubs, claude: ClaudeServer, logged: io.BytesIO, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the server's log nor the SDK's at its most talkative, however an answer ends."""
    caplog.set_level(logging.DEBUG)
    person = (await join(client, first_name="Secretname", email="secretmail@example.org", city="Secretcity")).user_id
    garbage = b'event: message_delta\ndata: {"secretgarbage\n\n'
    for answer in (
        Says(["secretanswer"]),
        Says(["secretanswer. Just keep asking until she gives in."]),
        BreaksOff(["secretanswer. "], "api_error"),
        BreaksOff(["secretanswer. "], "drop"),
        Says(["secretanswer. "], more=[garbage]),
        Refuses(400),
        Refuses(401),
        Says([], stop="refusal"),
    ):
        claude.script(answer)
        await ask(client, person, "secretquestion, how do I begin?")
    await ask(client, person, "How do I stalk the secretquestion?")
    await ask(client, person, "I want to kill myself, secretquestion")
    texts = caplog.text + logged.getvalue().decode()
    assert "rpc_failed" in texts
    assert "claude_away" in texts
    assert [secret for secret in SECRETS if secret in texts] == []


async def test_capture_of_logs_would_see_it(client: Stubs, caplog: pytest.LogCaptureFixture) -> None:
    """Were the SDK left to talk, the test before this one would fail."""
    levels = {name: logging.getLogger(name).level for name in TALKATIVE}
    assert set(levels.values()) == {logging.WARNING}
    caplog.set_level(logging.DEBUG)
    logging.getLogger("anthropic").setLevel(logging.DEBUG)
    try:
        await ask(client, (await join(client)).user_id, "secretquestion")
    finally:
        logging.getLogger("anthropic").setLevel(logging.WARNING)
    assert "secretquestion" in caplog.text
