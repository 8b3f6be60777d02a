"""Callers that ask for mails and do not give up: each call is made again, with its request_id, until it is answered.

Whatever fails meanwhile, every acknowledged mail must then be there, once.
"""

import asyncio
import itertools
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import grpc

from support.resend_server import Accepted
from wingmanmatch.notification.v1 import notification_pb2, notification_service_pb2, notification_service_pb2_grpc

PATIENCE = 5.0  # seconds that a caller waits for one attempt
PAUSE = 0.02
# As if the time had passed for which the mails of a dispatcher that lost the database are its own, and the pauses.
LAPSE = """
update notifications set lease_expire_time = now() - interval '1 second' where lease_expire_time > now();
update notifications set next_attempt_time = now() where state = 'PENDING' and next_attempt_time > now();
notify notifications;
"""
# What a caller may hear while something is away, or busy.
TEMPORARY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class MailLoad:
    """What the callers saw: `acknowledged` has the id of each mail by that of its request."""

    def __init__(self, *stubs: notification_service_pb2_grpc.NotificationServiceStub, pause: float = PAUSE) -> None:
        self.acknowledged: dict[str, str] = {}
        self.refused: Counter[grpc.StatusCode] = Counter()
        self._stubs = stubs
        self._pause = pause
        self._grown = asyncio.Condition()
        self._stopping = False

    async def more(self, count: int) -> None:
        """Return when so many more calls were answered."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(60), self._grown:
            await self._grown.wait_for(lambda: len(self.acknowledged) >= wanted)

    async def refusals(self, count: int) -> None:
        """Return when so many more calls were refused."""
        wanted = self.refused.total() + count
        async with asyncio.timeout(60), self._grown:
            await self._grown.wait_for(lambda: self.refused.total() >= wanted)

    async def run(self, callers: int) -> None:
        """Call until told to stop, and return when every call that was begun is answered."""
        stubs = itertools.islice(itertools.cycle(self._stubs), callers)
        await asyncio.gather(*(self._call_again_and_again(stub) for stub in stubs))

    def stop(self) -> None:
        """Let the callers end what they have begun."""
        self._stopping = True

    async def _call_again_and_again(self, stub: notification_service_pb2_grpc.NotificationServiceStub) -> None:
        while not self._stopping:
            request_id = str(uuid.uuid4())
            request = notification_service_pb2.SendNotificationRequest(
                recipient_email=f"{request_id}@example.org",
                match_decline=notification_pb2.MatchDecline(decliner_name="Ben"),
                request_id=request_id,
            )
            answer = await self._until_answered(stub, request)
            async with self._grown:
                self.acknowledged[request_id] = answer.notification.id
                self._grown.notify_all()
            await asyncio.sleep(self._pause)

    async def _until_answered(
        self,
        stub: notification_service_pb2_grpc.NotificationServiceStub,
        request: notification_service_pb2.SendNotificationRequest,
    ) -> notification_service_pb2.SendNotificationResponse:
        while True:
            try:
                return await stub.SendNotification(request, timeout=PATIENCE)
            except grpc.aio.AioRpcError as error:
                async with self._grown:
                    self.refused[error.code()] += 1
                    self._grown.notify_all()
                await asyncio.sleep(PAUSE)


@asynccontextmanager
async def mail_load(
    *stubs: notification_service_pb2_grpc.NotificationServiceStub, callers: int = 8, pause: float = PAUSE
) -> AsyncIterator[MailLoad]:
    """Keep callers calling the servers in turn for the length of the context, and wait for what they have begun."""
    load = MailLoad(*stubs, pause=pause)
    running = asyncio.create_task(load.run(callers))
    try:
        yield load
        load.stop()
        async with asyncio.timeout(60):
            await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def assert_each_once(load: MailLoad, dsn: str, ledger: Sequence[Accepted]) -> None:
    """Wait until all mails are out; fail if one is missing, went out twice, or was asked for by nobody."""
    sql = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(60):
            while await sql.fetchval("select count(*) from notifications where state <> 'SENT'"):
                await sql.execute(LAPSE)
                await asyncio.sleep(0.2)
        rows = {str(row["id"]): row["recipient_email"] for row in await sql.fetch("select * from notifications")}
    finally:
        await sql.close()
    assert rows == {mail: f"{request}@example.org" for request, mail in load.acknowledged.items()}
    assert Counter(each.notification_id for each in ledger) == Counter(rows.keys())
    assert set(load.refused) <= TEMPORARY
