"""Claude by the real SDK over real sockets: what is read of its stream, what fails how, and what is tried again."""

import asyncio
import json
from typing import Any

import pytest

from support.claude import MODEL, PATIENCE, PROMPT, Asking, asking
from support.claude_server import BreaksOff, ClaudeServer, Refuses, Says
from wingmanmatch_server import errors
from wingmanmatch_server.coaching.claude import EARLY, LONGEST_WAIT, request_of
from wingmanmatch_server.coaching.claude_errors import MISCONFIGURED, PAUSE, RETRY_AFTER
from wingmanmatch_server.coaching.model import RequestRefused, Started, Stop, Stopped, Text
from wingmanmatch_server.resilience.breaker import State
from wingmanmatch_server.resilience.deadline import set_deadline

WHOLE = "Say hello first."
AWAY = [Refuses(500), Refuses(529), BreaksOff([], "drop"), BreaksOff([], "end"), BreaksOff([], "overloaded_error")]
SOME = ["Grüße 👋 ", "日本語 is ", "harder."]


def block(kind: str, index: int = 1, **fields: Any) -> dict[str, Any]:
    """Return the event that begins a block of content."""
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def delta(kind: str, index: int = 1, **fields: Any) -> dict[str, Any]:
    """Return the event of a piece of one."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


UNKNOWN: dict[str, list[dict[str, Any] | bytes]] = {
    "thinking": [
        block("thinking", thinking="", signature=""),
        delta("thinking_delta", thinking="Hmm, what would help?"),
        delta("signature_delta", signature="c2ln"),
        {"type": "content_block_stop", "index": 1},
    ],
    "redacted thinking": [block("redacted_thinking", data="c2VjcmV0"), {"type": "content_block_stop", "index": 1}],
    "tool use": [
        block("tool_use", id="toolu_1", name="remind", input={}),
        delta("input_json_delta", partial_json='{"when": "tom'),
        delta("input_json_delta", partial_json='orrow"}'),
        {"type": "content_block_stop", "index": 1},
    ],
    "a block of a later version": [block("hologram", depth=3), delta("hologram_delta", depth=4)],
    "an event of a later version": [{"type": "applause", "volume": 11}],
    "a comment and an event without data": [b": hello\n\n", b"event: hush\n\n"],
}


async def failure(asked: Asking) -> errors.Unavailable:
    """Return why there is no answer."""
    with pytest.raises(errors.Unavailable) as failed:
        await asked.answer()
    return failed.value


async def test_stream_is_read(asked: Asking, claude: ClaudeServer) -> None:
    """What was read, the pieces, why it stopped and what was written; what was cached counts as read."""
    claude.script(Says(["One. ", "Two."], input_tokens=40, cached_tokens=900, output_tokens=9))
    assert await asked.answer() == [Started(940), Text("One. "), Text("Two."), Stopped(9, Stop.COMPLETE)]
    assert claude.headers[0]["authorization"] == "Bearer sk-ant-test"


async def test_request_asks_for_a_stream_and_a_cached_system_prompt(asked: Asking, claude: ClaudeServer) -> None:
    """The instructions, and they alone, end what may be cached."""
    await asked.answer()
    assert claude.requests == [json.loads(json.dumps({**request_of(PROMPT, MODEL), "stream": True}))]
    instructions, facts = claude.requests[0]["system"]
    assert instructions["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in facts


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 64, 1500])
async def test_stream_may_be_cut_anywhere(asked: Asking, claude: ClaudeServer, cut: int) -> None:
    """Events, lines and letters of several bytes may arrive in any pieces."""
    claude.script(Says(SOME, cut=cut))
    assert await asked.text() == "".join(SOME)


async def test_half_a_surrogate_pair_can_be_sent_on(asked: Asking, claude: ClaudeServer) -> None:
    """JSON can hold what UTF-8 cannot."""
    half = b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Oh \\ud83d!"}}'
    claude.script(Says(["Fine."], more=[b"event: content_block_delta\n" + half + b"\n\n"]))
    assert (await asked.text()).encode().decode() == "Oh \ufffd!Fine."


async def test_emoji_over_two_deltas_is_one(asked: Asking, claude: ClaudeServer) -> None:
    """Each delta may have half of a letter, which JSON writes as two."""
    event = 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":%s}\n\n'
    halves = ("Oh \\ud83d", "\\ude00\\ud83d", "\\ude01!")
    deltas = [event % f'{{"type":"text_delta","text":"{half}"}}' for half in halves]
    claude.script(Says(["Fine."], more=[delta.encode() for delta in deltas]))
    assert await asked.text() == "Oh 😀😁!Fine."


@pytest.mark.parametrize("kind", UNKNOWN)
async def test_other_content_is_passed_over(asked: Asking, claude: ClaudeServer, kind: str) -> None:
    """What was not asked for, or nobody knows yet, neither shows nor breaks anything."""
    claude.script(Says(SOME, more=UNKNOWN[kind]))
    assert await asked.text() == "".join(SOME)
    assert asked.breaker.failure_count == 0


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("end_turn", Stop.COMPLETE),
        ("stop_sequence", Stop.COMPLETE),
        ("max_tokens", Stop.LENGTH),
        ("model_context_window_exceeded", Stop.LENGTH),
        ("refusal", Stop.REFUSAL),
        ("of_a_later_version", Stop.COMPLETE),
    ],
)
async def test_stop_is_told(asked: Asking, claude: ClaudeServer, reason: str, stop: Stop) -> None:
    """Why the model stopped."""
    claude.script(Says(["Well."], stop=reason))
    assert (await asked.answer())[-1] == Stopped(12, stop)


@pytest.mark.parametrize("away", AWAY)
async def test_failure_before_the_text_is_tried_again(
    asked: Asking, claude: ClaudeServer, away: Refuses | BreaksOff
) -> None:
    """Once, after a wait, and counted."""
    claude.script(away)
    assert await asked.text() == WHOLE
    assert (len(claude.requests), asked.waits) == (2, [0.5])


@pytest.mark.parametrize("how", ["overloaded_error", "api_error", "rate_limit_error", "drop", "end"])
async def test_failure_after_the_text_is_told(asked: Asking, claude: ClaudeServer, how: str) -> None:
    """What was said is not said again."""
    claude.script(BreaksOff(["First say hello. "], how))
    answer = asked.claude.answer(PROMPT)
    assert [await anext(answer), await anext(answer)] == [Started(940), Text("First say hello. ")]
    with pytest.raises(errors.Unavailable) as failed:
        await anext(answer)
    assert failed.value.reason == "COACH_UNAVAILABLE"
    assert failed.value.retry_after
    assert len(claude.requests) == 1


async def test_garbage_is_a_failure(asked: Asking, claude: ClaudeServer) -> None:
    """Bytes that are no event end the answer, and are quoted nowhere."""
    claude.script(*[Says([], more=[b"event: message_delta\ndata: {secret\n\n"])] * 2)
    failed = await failure(asked)
    assert "secret" not in f"{failed}{failed.metadata}"
    assert failed.__cause__ is None
    assert failed.__suppress_context__


@pytest.mark.parametrize("how", ["stall", "silence"])
async def test_stall_is_a_failure(claude: ClaudeServer, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Pings are no answer. Claude is left at once, and the circuit breaker counts."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.url)
    claude.script(*[BreaksOff([], how)] * 2)
    async with asking(patience=0.5) as asked:
        assert (await failure(asked)).retry_after == RETRY_AFTER
        assert asked.breaker.failure_count == 2
    async with asyncio.timeout(PATIENCE):
        while claude.open:
            await asyncio.sleep(0.01)


async def test_nobody_listening_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that refuses connections."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    async with asking() as asked:
        await failure(asked)
        assert asked.breaker.failure_count == 2


async def test_short_pause_is_waited_for(asked: Asking, claude: ClaudeServer) -> None:
    """Claude asks for a moment, which is no failure."""
    claude.script(Refuses(429, "1"))
    assert await asked.text() == WHOLE
    assert (asked.waits, asked.breaker.failure_count) == ([1.0 + EARLY], 0)


async def test_pause_until_a_date_is_obeyed(asked: Asking, claude: ClaudeServer) -> None:
    """The date is compared with that of the answer; without one it is a pause that names no time."""
    claude.script(Refuses(429, "Sat, 28 Nov 2026 12:00:40 GMT", date="Sat, 28 Nov 2026 12:00:00 GMT"))
    assert (await failure(asked)).retry_after == 40


@pytest.mark.parametrize("header", ["soon", "nan", "inf", ""])
async def test_pause_that_cannot_be_read(asked: Asking, claude: ClaudeServer, header: str) -> None:
    """It is the pause of a refusal that names none."""
    claude.script(Refuses(429, header))
    assert (await failure(asked)).retry_after == PAUSE


async def test_long_pause_is_obeyed(asked: Asking, claude: ClaudeServer) -> None:
    """Nobody asks before it is over, and everybody is told when that is; the circuit stays closed."""
    claude.script(Refuses(429, "30"))
    assert (await failure(asked)).retry_after == 30
    asked.time[0] += 12
    assert (await failure(asked)).retry_after == 18
    assert len(claude.requests) == 1
    asked.time[0] += 18.5 - LONGEST_WAIT
    assert await asked.text() == WHOLE
    assert asked.waits == [1.5 + EARLY]
    assert asked.breaker.state is State.CLOSED


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_bad_key_is_no_outage(asked: Asking, claude: ClaudeServer, status: int) -> None:
    """Claude is there: the circuit stays closed, however often; nothing is repeated."""
    claude.script(*[Refuses(status)] * 6)
    for _ in range(6):
        assert (await failure(asked)).retry_after == MISCONFIGURED
    assert (asked.breaker.state, len(claude.requests)) == (State.CLOSED, 6)


@pytest.mark.parametrize("status", [400, 413])
async def test_wrong_request_is_ours(asked: Asking, claude: ClaudeServer, status: int) -> None:
    """It is a defect, not an outage, and its error quotes nothing."""
    claude.script(Refuses(status))
    with pytest.raises(RequestRefused) as refused:
        await asked.answer()
    assert "as the test wants it" not in str(refused.value)
    assert asked.breaker.failure_count == 0


async def test_circuit_opens_and_lets_one_probe_through(asked: Asking, claude: ClaudeServer) -> None:
    """Five failures open it for 60 s; then one call finds out, and its failure or success decides."""
    claude.script(*[Refuses(500)] * 6)
    while asked.breaker.state is State.CLOSED:
        await failure(asked)
    refused = await failure(asked)
    assert (refused.reason, len(claude.requests)) == ("CIRCUIT_OPEN", 5)
    asked.time[0] += 60
    assert (await failure(asked)).reason == "COACH_UNAVAILABLE"
    assert (asked.breaker.open_for(), len(claude.requests)) == (60, 6)
    asked.time[0] += 60
    probe = asked.claude.answer(PROMPT)
    assert await anext(probe) == Started(940)
    assert (await failure(asked)).reason == "CIRCUIT_OPEN"
    assert [event async for event in probe][-1] == Stopped(12, Stop.COMPLETE)
    assert asked.breaker.state is State.CLOSED


async def test_leaving_closes_the_connection(asked: Asking, claude: ClaudeServer) -> None:
    """Who stops listening stops the model: the API sees the connection go, and the breaker sees nothing."""
    claude.script(BreaksOff(["First say hello. "], "stall"))
    answer = asked.claude.answer(PROMPT)
    await anext(answer)
    assert claude.open == 1
    await answer.aclose()
    await claude.left.wait()
    assert (claude.open, asked.breaker.failure_count) == (0, 0)


@pytest.mark.parametrize("silence", [0.0, 5.0])
async def test_deadline_does_not_blame_claude(asked: Asking, claude: ClaudeServer, silence: float) -> None:
    """Who is cut off by a deadline of their own proves nothing to others, whether Claude wrote or was silent."""
    claude.script(Says(["One. ", "Two. "], until=asyncio.Event()))
    set_deadline(asked.time[0] + 60)
    answer = asked.claude.answer(PROMPT)
    assert [await anext(answer), await anext(answer)] == [Started(940), Text("One. ")]
    asked.time[0] += 60 - silence
    assert await anext(answer) == Text("Two. ")
    waiting = asyncio.ensure_future(anext(answer))
    await asyncio.sleep(0)
    asked.time[0] += silence
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asked.breaker.failure_count == 0
