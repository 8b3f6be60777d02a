"""The outbox as tests arrange and inspect it, and what stands around a dispatcher: a provider and a journal."""

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import structlog

from wingmanmatch_server.drivers.postgres import PostgresDatabase
from wingmanmatch_server.notification.dispatcher import Dispatcher, Listen, Pace
from wingmanmatch_server.notification.mailer import Delivery, Mailer, Outcome, OutgoingMail
from wingmanmatch_server.notification.render import Renderer, create_environment
from wingmanmatch_server.notification.store import NotificationStore

ACCEPTED = Delivery(Outcome.ACCEPTED, provider_message_id="provider-1")
# The server calls neither by itself; on a pool of connections tests can call them side by side.
EXPOSED = """
create function public.enqueue_in_test(
    p_kind text, p_user_id uuid, p_payload jsonb, p_dedupe_key text, p_match_id uuid default null,
    p_recipient_email text default null, p_send_time timestamptz default now(), p_expire_time timestamptz default null)
    returns uuid language sql as 'select internal.enqueue_notification($1, $2, $3, $4, $5, $6, $7, $8)';
create function public.cancel_in_test(p_match_id uuid, p_kind text default null)
    returns integer language sql as 'select internal.cancel_notifications($1, $2)'
"""
PACE = Pace(longest_sleep=600.0, first_retry=0.02, poll_interval=0.02)


class Outbox:
    """The table of mails: `database` and `store` act as the service role, `sql` may do anything."""

    def __init__(self, database: PostgresDatabase, sql: asyncpg.Connection) -> None:
        """Keep both ways in."""
        self.database = database
        self.sql = sql
        self.store = NotificationStore(database)

    @classmethod
    async def open(cls, database: PostgresDatabase, sql: asyncpg.Connection) -> "Outbox":
        """Return an outbox whose database lets tests call `EXPOSED`."""
        await sql.execute(EXPOSED)
        return cls(database, sql)

    async def enqueue(self, **parameters: Any) -> str:
        """Write a mail that can be rendered and is due, but for `parameters`, and return its id.

        Each goes to an address of its own, since one address gets only so many.
        """
        defaults: dict[str, Any] = {
            "kind": "MATCH_DECLINE",
            "user_id": str(uuid.uuid4()),
            "payload": {"decliner_name": "Ben"},
            "dedupe_key": str(uuid.uuid4()),
            "recipient_email": f"ann+{uuid.uuid4().hex[:12]}@example.org",
        }
        named = {f"p_{name}": value for name, value in (defaults | parameters).items()}
        return str(await self.database.call("enqueue_in_test", **named))

    async def enqueue_many(self, count: int, **parameters: Any) -> set[str]:
        """Write several and return their ids."""
        return {await self.enqueue(**parameters) for _ in range(count)}

    async def join(self, first_name: str = "Ann", **profile: Any) -> str:
        """Enter somebody, or change them, who can be matched with all others made here; return the id."""
        defaults: dict[str, Any] = {
            "user_id": str(uuid.uuid4()),
            "email": f"{first_name.lower()}@example.org",
            "first_name": first_name,
            "experience_level": "BEGINNER",
            "confidence_archetype": "ANALYZER",
            "location": {"latitude": 48.2, "longitude": 16.37},
            "locale": "de-AT",
        }
        await self.database.call("upsert_profile", p_profile=defaults | profile)
        return str((defaults | profile)["user_id"])

    async def row(self, notification_id: str) -> dict[str, Any]:
        """Return everything about one mail."""
        query = "select to_jsonb(n)::text from notifications n where id = $1"
        row: dict[str, Any] = json.loads(await self.sql.fetchval(query, uuid.UUID(notification_id)))
        return row

    async def change(self, notification_id: str, assignments: str) -> None:
        """Arrange a row: `assignments` is the SET clause of an UPDATE."""
        query = f"update notifications set {assignments} where id = $1"
        await self.sql.execute(query, uuid.UUID(notification_id))

    async def lapse(self, notification_id: str) -> None:
        """Let a lease run out."""
        await self.change(notification_id, "lease_expire_time = now() - interval '1 second'")


class Provider:
    """A provider of mail that answers as it is told, then accepts; tests await what it is asked."""

    def __init__(self, *answers: Delivery | Exception) -> None:
        """Give `answers` to the first attempts."""
        self.attempts: asyncio.Queue[OutgoingMail] = asyncio.Queue()
        self.open = asyncio.Event()
        self.open.set()
        self._answers = list(answers)

    async def deliver(self, mail: OutgoingMail) -> Delivery:
        """Take note of the attempt, and answer once `open` is set."""
        self.attempts.put_nowait(mail)
        await self.open.wait()
        answer = self._answers.pop(0) if self._answers else ACCEPTED
        if isinstance(answer, Exception):
            raise answer
        return answer

    def away_for(self) -> float:
        """Be there."""
        return 0.0


class Journal:
    """Keeps log events and lets tests await one."""

    def __init__(self) -> None:
        """Begin empty."""
        self.entries: list[dict[str, Any]] = []
        self._grown = asyncio.Event()

    def __call__(self, _logger: object, _method: str, entry: dict[str, Any]) -> None:
        """Take an event in, as a structlog processor."""
        self.entries.append(entry)
        self._grown.set()
        raise structlog.DropEvent

    async def seen(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Return the events of one name once there are `count`."""
        while len(found := [entry for entry in self.entries if entry["event"] == event]) < count:
            await self.more()
        return found

    async def more(self) -> None:
        """Wait for the next event."""
        self._grown.clear()
        await self._grown.wait()


def create_dispatcher(
    outbox: Outbox, mailer: Mailer, *, listen: Listen | None = None, pace: Pace = PACE, owner: str = "one", **brand: Any
) -> Dispatcher:
    """Compose a dispatcher as the server does."""
    renderer = Renderer(create_environment(), **({"sender": "WingmanMatch <hello@notify.example.org>"} | brand))
    listen = listen or outbox.database.listen
    return Dispatcher(outbox.store, renderer, mailer, listen, owner=owner, random=random.Random(7), pace=pace)


@asynccontextmanager
async def running(dispatcher: Dispatcher) -> AsyncIterator[asyncio.Task[None]]:
    """Run a dispatcher, and stop it in order."""
    task = asyncio.create_task(dispatcher.run())
    try:
        yield task
    finally:
        dispatcher.stop()
        await asyncio.gather(task, return_exceptions=True)


async def cannot_listen(_channel: str, _callback: Callable[[], None]) -> Callable[[], Awaitable[None]] | None:
    """Stand for a transport without notifications, as Supabase's REST interface is."""
    return None
