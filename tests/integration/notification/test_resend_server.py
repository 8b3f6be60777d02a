"""What the tests hold for Resend: keys, limits and faults as its documentation has them, also as a program."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.resend_server import KEY, resend_server

MAIL = {"from": "hello@notify.example.org", "to": ["ann@example.org"], "subject": "Hello", "tags": []}
Answer = tuple[int, Any, Any]


class Account:
    """Somebody who calls the API without the SDK."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """Keep the connections."""
        self._session = session

    async def send(self, body: Any = MAIL, key: str | None = None, **headers: str) -> Answer:
        """Ask for a mail; return status, body and headers."""
        given = {"Authorization": f"Bearer {KEY}", **headers} | ({"Idempotency-Key": key} if key is not None else {})
        async with self._session.post("/emails", json=body, headers=given) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers


@asynccontextmanager
async def account(url: str) -> AsyncIterator[Account]:
    """Open connections."""
    async with aiohttp.ClientSession(url) as session:
        yield Account(session)


async def test_one_key_is_one_mail() -> None:
    """The same request under the same key is answered as before and sends nothing; without keys each is a mail."""
    async with resend_server() as server, account(server.url) as resend:
        first, again = await resend.send(key="k"), await resend.send(key="k")
        assert first[:2] == again[:2]
        assert (len(server.ledger), server.replays) == (1, 1)
        await resend.send()
        await resend.send()
        assert [each.key for each in server.ledger] == ["k", None, None]


async def test_key_stands_for_its_body() -> None:
    """Another body under a known key is refused, and so is a key of no or too great length."""
    async with resend_server() as server, account(server.url) as resend:
        await resend.send(key="k")
        status, body, _ = await resend.send(MAIL | {"subject": "Other"}, key="k")
        assert (status, body["name"]) == (409, "invalid_idempotent_request")
        for key in ("", "k" * 257):
            status, body, _ = await resend.send(key=key)
            assert (status, body["name"]) == (400, "invalid_idempotency_key")
        assert len(server.ledger) == 1


async def test_second_request_meets_the_first() -> None:
    """While a key is in use a second request is refused; once the client of the first has left, it is free again."""
    async with resend_server(delay=600.0) as server, account(server.url) as resend:
        first = asyncio.create_task(resend.send(key="k"))
        await server.asked(1)
        status, body, _ = await resend.send(key="k")
        assert (status, body["name"]) == (409, "concurrent_idempotent_requests")
        first.cancel()
        server.delay = 0.0
        while (await resend.send(key="k"))[0] != 200:
            await asyncio.sleep(0)
        assert len(server.ledger) == 1


async def test_limit_is_told() -> None:
    """Every answer says what is left of the second, and a refusal when to come back."""
    async with resend_server(per_second=1) as server, account(server.url) as resend:
        answers = [await resend.send() for _ in range(20)]
    accepted = next(headers for status, _, headers in answers if status == 200)
    assert (accepted["ratelimit-limit"], accepted["ratelimit-remaining"]) == ("1", "0")
    refused = next(each for each in answers if each[0] == 429)
    assert (refused[1]["name"], refused[2]["retry-after"]) == ("rate_limit_exceeded", "1")
    assert len(server.ledger) == sum(status == 200 for status, _, _ in answers)


@pytest.mark.parametrize(
    ("body", "headers", "status", "name"),
    [
        (MAIL, {"Authorization": "Bearer re_other"}, 403, "invalid_api_key"),
        (MAIL | {"subject": ""}, {}, 422, "missing_required_field"),
        (MAIL | {"from": "hello@other.example.org"}, {}, 403, "validation_error"),
    ],
)
async def test_refusals(body: Any, headers: dict[str, str], status: int, name: str) -> None:
    """What Resend would not take is refused by its name, and is in no ledger."""
    async with resend_server() as server, account(server.url) as resend:
        server.domains = {"notify.example.org"}
        answer = await resend.send(body, **headers)
        assert (answer[0], answer[1]["name"], server.ledger) == (status, name, [])


async def test_as_a_program() -> None:
    """Tests in other languages start it, tell it how to misbehave, and read what it took."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.resend_server", "--per-second", "100"),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert program.stdout
        said = (await program.stdout.readline()).decode().split()
        given = dict(each.split("=", 1) for each in said)
        assert given["RESEND_API_KEY"] == KEY
        url = given["RESEND_API_URL"]
        async with account(url) as resend, aiohttp.ClientSession(url) as session:
            told = ["page_after_accepting", {"status": 429, "name": "daily_quota_exceeded", "headers": {"a": "b"}}]
            assert (await session.post("/behaviours", json=told)).status == 204
            assert (await session.post("/behaviours", json=["dance"])).status == 400
            with pytest.raises(ValueError, match="Expecting value"):
                await resend.send(key="k")
            assert (await resend.send(key="k"))[:2][0] == 429
            assert (await resend.send(key="k"))[0] == 200
            ledger = await (await session.get("/ledger")).json()
        assert [(each["key"], each["body"]["subject"]) for each in ledger] == [("k", "Hello")]
    finally:
        program.kill()
        await program.communicate()
