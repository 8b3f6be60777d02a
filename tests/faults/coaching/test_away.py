"""The coach while something it works with is away: Redis, the database, Claude, its callers, or itself."""

import asyncio
import importlib
import os
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from structlog.testing import capture_logs

from support.claude_server import BreaksOff, ClaudeServer, Refuses, Says, serving_claude
from support.coaching import Told, ask, conversation_of, tokens_left
from support.databases import fresh_database
from support.own_postgres import OwnPostgres
from support.requests import TIMEOUT, join
from support.served import Served, start
from support.server import roomy_limits, serving_application
from support.stubs import Stubs, open_stubs
from support.valkey import OwnValkey, own_valkey
from wingmanmatch.coaching.v1 import coaching_pb2, coaching_service_pb2
from wingmanmatch.system.v1 import system_pb2, system_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migrations import migrate

CAPACITY = 100_000
CHATS = 100
STALLED = BreaksOff(["First say hello. ", "And then"], "stall")
HELP = "findahelpline.com"
UNSETTLED = "coaching_tokens_unsettled"


@pytest.fixture
async def claude(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ClaudeServer]:
    """The API, where the SDK finds it."""
    importlib.import_module("anthropic")
    async with serving_claude() as claude:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.url)
        yield claude


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    """A Valkey of the test's own."""
    with own_valkey(tmp_path) as valkey:
        yield valkey


@pytest.fixture
async def dsn(admin_dsn: str) -> AsyncIterator[str]:
    """A database of the test's own."""
    async with fresh_database(admin_dsn) as dsn:
        yield dsn


@asynccontextmanager
async def coached(dsn: str, redis_url: str, folder: Path, **settings: Any) -> AsyncIterator[Stubs]:
    """Serve a coach."""
    folder.mkdir()
    given = {"anthropic_api_key": "sk-ant-test", "rate_limits_file": roomy_limits(folder)} | settings
    async with serving_application(dsn, redis_url, folder, **given) as client:
        yield client


def new_id() -> str:
    """Return the id of somebody new."""
    return str(uuid.uuid4())


async def all_closed(client: Stubs) -> None:
    """Return once every circuit breaker is closed."""
    async with asyncio.timeout(30):
        while True:
            listed = await client.system.ListCircuitBreakers(
                system_service_pb2.ListCircuitBreakersRequest(), timeout=TIMEOUT
            )
            if {each.state for each in listed.circuit_breakers} == {system_pb2.CIRCUIT_BREAKER_STATE_CLOSED}:
                return
            await asyncio.sleep(0.05)


def retry_after(told: Told) -> float:
    """Return the seconds after which the caller may come back."""
    hint = told.failure.detail(error_details_pb2.RetryInfo).retry_delay
    return float(hint.ToTimedelta().total_seconds())


async def test_redis_is_killed(claude: ClaudeServer, dsn: str, valkey: OwnValkey, tmp_path: Path) -> None:
    """The answer under way is told whole, and that it is not remembered; others are refused; help is given.

    Once Redis is back, what was said before is there.
    """
    person = new_id()
    async with coached(dsn, valkey.url, tmp_path / "server") as client:
        before = await ask(client, person, "Hello")
        killed = asyncio.Event()
        claude.script(Says(["First say hello. ", "Then smile."], until=killed))
        request = coaching_service_pb2.ChatRequest(
            user_id=person, message="And now?", conversation_id=before.conversation_id
        )
        call = client.coaching.Chat(request, timeout=TIMEOUT)
        assert (await call.read()).text_delta == "First say hello. "
        valkey.kill()
        killed.set()
        assert (await call.read()).text_delta == "Then smile."
        assert not (await call.read()).done.remembered
        assert await call.code() is grpc.StatusCode.OK

        refused = await ask(client, person, "Hello?", before.conversation_id)
        assert refused.failure.code is grpc.StatusCode.UNAVAILABLE
        assert retry_after(refused) > 0
        in_need = await ask(client, person, "I want to kill myself", before.conversation_id)
        assert HELP in in_need.text
        assert in_need.done is not None
        assert (in_need.done.remembered, in_need.conversation_id) == (False, before.conversation_id)

        valkey.start()
        await all_closed(client)
        kept = await conversation_of(client, person, before.conversation_id)
        assert [each.text for each in kept.messages] == ["Hello", before.text]
        assert (await ask(client, person, "Back?", before.conversation_id)).error is None


async def test_database_is_killed(claude: ClaudeServer, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """The coach goes on and knows nobody."""
    postgres = OwnPostgres(tmp_path / "postgres")
    postgres.start()
    try:
        await migrate(postgres.dsn, read_migrations(), baseline=True)
        async with coached(postgres.dsn, engines.redis_url, tmp_path / "server") as client:
            person = (await join(client)).user_id
            assert "SCHOLAR" in await facts_told(client, claude, person)
            postgres.crash()
            assert await facts_told(client, claude, person) == "About the person, as data: {}"
    finally:
        postgres.stop()


async def test_database_stalls(claude: ClaudeServer, dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """Nobody waits for it longer than for a moment."""
    async with coached(dsn, engines.redis_url, tmp_path / "server") as client:
        person = (await join(client)).user_id
        sql = await asyncpg.connect(dsn)
        try:
            async with sql.transaction():
                await sql.execute("lock table user_profiles in access exclusive mode")
                assert await facts_told(client, claude, person) == "About the person, as data: {}"
        finally:
            await sql.close()
        assert "SCHOLAR" in await facts_told(client, claude, person)


async def facts_told(client: Stubs, claude: ClaudeServer, person: str) -> str:
    """Ask, be answered, and return what Claude was told of the person."""
    told = await ask(client, person, "Hello")
    assert (told.error, told.text) == (None, "Say hello first.")
    return str(claude.requests[-1]["system"][1]["text"])


@pytest.mark.slow
async def test_claude_stalls(claude: ClaudeServer, dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """Every stall ends with a clear status though pings come on and on; the fifth in a row opens the circuit."""
    async with coached(dsn, engines.redis_url, tmp_path / "server") as client:
        person = new_id()
        claude.script(*[STALLED] * 5)
        for told in await asyncio.gather(*(ask(client, person, "Hello", patience=60) for _ in range(5))):
            assert told.failure.reason == "COACH_UNAVAILABLE"
            assert retry_after(told) > 0
        conversation_id = told.failure.metadata["conversation_id"]
        kept = await conversation_of(client, person, conversation_id)
        assert [each.text for each in kept.messages] == ["Hello", "First say hello. "]
        assert CAPACITY - 5 * 960 < await tokens_left(client, person) < CAPACITY - 5 * 940
        asked = len(claude.requests)
        refused = await ask(client, person, "Hello")
        assert (refused.failure.reason, len(claude.requests)) == ("CIRCUIT_OPEN", asked)
        assert 0 < retry_after(refused) <= 60
        assert HELP in (await ask(client, person, "I want to kill myself")).text
        report = await client.system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=TIMEOUT)
        states = {each.name: each.state for each in report.circuit_breakers}
        assert states["external_api"] == system_pb2.CIRCUIT_BREAKER_STATE_OPEN


async def test_pause_is_for_everybody(claude: ClaudeServer, dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """A limit of the provider's is no limit of a caller's: UNAVAILABLE, with its hint, and nobody asks meanwhile."""
    async with coached(dsn, engines.redis_url, tmp_path / "server") as client:
        claude.script(Refuses(429, "100"))
        for _ in range(3):
            told = await ask(client, new_id(), "Hello")
            assert (told.failure.code, told.failure.reason) == (grpc.StatusCode.UNAVAILABLE, "COACH_UNAVAILABLE")
            assert 90 < retry_after(told) <= 100
        assert len(claude.requests) == 1


async def spent(client: Stubs, people: list[str]) -> int:
    """Return how many of them have paid more than their answer cost."""
    return sum([await tokens_left(client, each) < CAPACITY - 960 for each in people])


async def test_a_hundred_callers_leave(claude: ClaudeServer, dsn: str, valkey: OwnValkey, tmp_path: Path) -> None:
    """Every connection to Claude is closed, every budget settled, nothing kept that nobody can find, nothing leaked."""
    async with coached(dsn, valkey.url, tmp_path / "server") as client:
        assert (await ask(client, new_id(), "Hello")).error is None
        tasks = len(asyncio.all_tasks())
        people = [new_id() for _ in range(CHATS)]
        claude.default = STALLED
        requests = [coaching_service_pb2.ChatRequest(user_id=each, message="Hello") for each in people]
        calls = [client.coaching.Chat(request, timeout=60) for request in requests]
        assert {(await call.read()).text_delta for call in calls} == {"First say hello. "}
        assert claude.open == CHATS
        with capture_logs() as events:
            for call in calls:
                call.cancel()
            async with asyncio.timeout(60):
                while claude.open or len(asyncio.all_tasks()) > tasks:
                    await asyncio.sleep(0.01)
                # Where the machine is too busy for Redis, what could not be put back is told.
                while await spent(client, people) != [each["event"] for each in events].count(UNSETTLED):
                    await asyncio.sleep(0.1)
        claude.default = Says(["Still here."])
        assert (await ask(client, people[0], "Hello")).text == "Still here."
        report = await client.system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=TIMEOUT)
        assert {each.failure_count for each in report.circuit_breakers if each.name == "external_api"} == {0}


@asynccontextmanager
async def doomed_server(folder: Path, **options: str) -> AsyncIterator[Served]:
    """Yield a server in a process of its own, started while this one serves Claude, and kill it if nobody did."""
    server = await asyncio.to_thread(partial(start, folder, log=subprocess.DEVNULL, **options))
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        assert server.process.stdout
        server.process.stdout.close()


async def test_server_is_killed(claude: ClaudeServer, dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """What was said before is there at the next start, an answer that was cut is not; what it had reserved is spent."""
    options = {"DATABASE_URL": dsn, "REDIS_URL": engines.redis_url}
    options |= {"ANTHROPIC_API_KEY": "sk-ant-test", "ANTHROPIC_BASE_URL": claude.url}
    person = new_id()
    async with doomed_server(tmp_path / "doomed", **options) as doomed, open_stubs(doomed.grpc) as client:
        before = await ask(client, person, "Hello", patience=60)
        claude.script(STALLED)
        request = coaching_service_pb2.ChatRequest(
            user_id=person, message="And now?", conversation_id=before.conversation_id
        )
        call = client.coaching.Chat(request, timeout=TIMEOUT)
        assert (await call.read()).text_delta
        async with httpx.AsyncClient() as http:
            metrics = (await http.get(doomed.metrics, timeout=TIMEOUT)).text
        for line in ('coaching_answers_total{ending="COMPLETE"} 1.0', 'coaching_tokens_total{direction="input"} 940.0'):
            assert line in metrics
        os.kill(doomed.process.pid, signal.SIGKILL)
        doomed.process.wait(10)
        async with asyncio.timeout(TIMEOUT):
            await claude.left.wait()
    async with coached(dsn, engines.redis_url, tmp_path / "server") as client:
        kept = await conversation_of(client, person, before.conversation_id)
        assert [each.role for each in kept.messages] == [
            coaching_pb2.CONVERSATION_ROLE_PERSON,
            coaching_pb2.CONVERSATION_ROLE_COACH,
        ]
        assert CAPACITY - 6000 < await tokens_left(client, person) < CAPACITY - 960
        assert (await ask(client, person, "Back?", before.conversation_id)).error is None
