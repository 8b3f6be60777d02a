"""Callers that go on at a steady pace and never try again, and the record of when each call ended, and how."""

import asyncio
import statistics
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import grpc
from google.rpc import error_details_pb2, status_pb2

from support.requests import profile
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch.notification.v1 import notification_pb2, notification_service_pb2

PACE = 0.02  # seconds between two calls of one caller
PATIENCE = 5.0
WRITE, READ = "write", "read"


@dataclass(frozen=True)
class Ended:
    """One call: `at` is on the clock of time.monotonic, `seconds` how long it took, `reason` that of its ErrorInfo."""

    kind: str
    at: float
    seconds: float
    code: str
    reason: str
    says_when: bool


@dataclass
class Timeline:
    """What callers saw, in the order in which it ended."""

    calls: list[Ended] = field(default_factory=list)

    async def call(
        self, kind: str, method: Callable[..., Awaitable[Any]], request: Any, patience: float = PATIENCE
    ) -> Any:
        """Make one call and note how it ends; return its answer, None if it has none."""
        started, code, reason, says_when, answer = time.monotonic(), "OK", "", False, None
        try:
            answer = await method(request, timeout=patience)
        except grpc.aio.AioRpcError as error:
            code, (reason, says_when) = error.code().name, _details(error)
        now = time.monotonic()
        self.calls.append(Ended(kind, now, now - started, code, reason, says_when))
        return answer

    def of(self, kind: str, since: float = 0.0, until: float = float("inf")) -> list[Ended]:
        """Return the calls of one kind that ended in between."""
        return [call for call in self.calls if call.kind == kind and since <= call.at < until]

    def failures(self, since: float = 0.0, until: float = float("inf")) -> list[Ended]:
        """Return the calls that failed in between."""
        return [call for call in self.calls if call.code != "OK" and since <= call.at < until]

    def last_failure(self, since: float) -> float:
        """Return how many seconds after `since` the last call failed; 0 if none did."""
        return max((call.at - since for call in self.failures(since)), default=0.0)


def codes(calls: Iterable[Ended]) -> Counter[tuple[str, str]]:
    """Return how many calls ended by each status and reason."""
    return Counter((call.code, call.reason) for call in calls)


def p99(calls: Sequence[Ended]) -> float:
    """Return the seconds within which 99 of 100 calls ended."""
    return statistics.quantiles((call.seconds for call in calls), n=100)[98]


@asynccontextmanager
async def steady(timeline: Timeline, clients: Sequence[Stubs], callers: int = 2) -> AsyncIterator[None]:
    """Let callers of each server write and read a profile of their own for the length of the context."""
    tasks = [asyncio.create_task(_go_on(timeline, client)) for client in clients for _ in range(callers)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended


async def _go_on(timeline: Timeline, client: Stubs) -> None:
    me = profile()
    write = matching_service_pb2.UpsertProfileRequest(profile=me)
    read = matching_service_pb2.GetProfileRequest(user_id=me.user_id)
    await client.matching.UpsertProfile(write, timeout=PATIENCE)
    while True:
        await timeline.call(WRITE, client.matching.UpsertProfile, write)
        await asyncio.sleep(PACE)
        await timeline.call(READ, client.matching.GetProfile, read)
        await asyncio.sleep(PACE)


async def seconds_to_deliver(client: Stubs, dsn: str) -> float:
    """Ask for an email until that is acknowledged, and return the seconds until it is out as well."""
    started, answer = time.monotonic(), None
    request = notification_service_pb2.SendNotificationRequest(
        recipient_email=f"{uuid.uuid4().hex}@example.org",
        match_decline=notification_pb2.MatchDecline(decliner_name="Ben"),
    )
    while answer is None:
        try:
            answer = await client.notification.SendNotification(request, timeout=PATIENCE)
        except grpc.aio.AioRpcError:
            await asyncio.sleep(PACE)
    sql = await asyncpg.connect(dsn)
    try:
        query = "select state = 'SENT' from notifications where id = $1"
        while not await sql.fetchval(query, answer.notification.id):
            await asyncio.sleep(PACE)
    finally:
        await sql.close()
    return time.monotonic() - started


async def accepts_writes(dsn: str) -> float:
    """Wait until a server takes changes, and return when it did."""
    while True:
        try:
            sql = await asyncpg.connect(dsn, timeout=1)
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(0.01)
            continue
        try:
            if not await sql.fetchval("select pg_is_in_recovery() or current_setting('transaction_read_only') = 'on'"):
                return time.monotonic()
        finally:
            sql.terminate()
        await asyncio.sleep(0.01)


def _details(error: grpc.aio.AioRpcError) -> tuple[str, bool]:
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if not isinstance(packed, bytes):
        return "", False
    reason, says_when, info = "", False, error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(packed).details:
        says_when = says_when or detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR)
        if detail.Unpack(info):
            reason = info.reason
    return reason, says_when
