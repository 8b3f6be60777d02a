"""What the provider tells of mails by HTTP, and people who turn mails off by a link."""

import itertools
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from support.outbox import Outbox
from support.webhooks import SECRET, SignedEvent, body_of, sign
from wingmanmatch_server.drivers.database_shares import ShareLimits, Shares
from wingmanmatch_server.drivers.guarded_database import GuardedDatabase
from wingmanmatch_server.links import LinkInvalid
from wingmanmatch_server.notification.http import notification_routes
from wingmanmatch_server.notification.render import FIELDS
from wingmanmatch_server.notification.store import DeliveryEvent, NotificationStore
from wingmanmatch_server.notification.unsubscribe import UnsubscribeLinks
from wingmanmatch_server.notification.webhook import STATES, Webhooks, read_event
from wingmanmatch_server.resilience.breaker import Breaker, Limits
from wingmanmatch_server.resilience.retry import Retry, RetryLimits
from wingmanmatch_server.web.server import serve_http

NEXT_SECRET = "whsec_" + "A" * 44
LINKS = UnsubscribeLinks("https://notify.example.org/", ["a secret for links, 32 characters"], list(FIELDS))


class Site:
    """The HTTP endpoint over one outbox."""

    def __init__(self, session: aiohttp.ClientSession, outbox: Outbox) -> None:
        """Keep both."""
        self.session = session
        self.outbox = outbox

    async def tell(self, event: SignedEvent, **headers: str) -> int:
        """Deliver an event and return the status it is answered with."""
        async with self.session.post("/webhooks/resend", data=event.payload, headers=event.headers | headers) as answer:
            return answer.status

    async def open(self, method: str, url: str) -> tuple[int, str]:
        """Open a link of a mail here; return the status and the page."""
        path = url.removeprefix("https://notify.example.org")
        async with self.session.request(method, path, data={"List-Unsubscribe": "One-Click"}) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def serving(outbox: Outbox, store: NotificationStore) -> AsyncIterator[Site]:
    """Serve the endpoint over a store on a port of its own."""
    routes = notification_routes(store, Webhooks([SECRET, NEXT_SECRET]), LINKS)
    async with (
        serve_http("127.0.0.1:0", routes) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        yield Site(session, outbox)


@pytest.fixture
async def site(outbox: Outbox) -> AsyncIterator[Site]:
    """The endpoint over the outbox."""
    async with serving(outbox, outbox.store) as site:
        yield site


async def sent(outbox: Outbox, **parameters: Any) -> str:
    """Write a mail that is out."""
    notification_id = await outbox.enqueue(**parameters)
    await outbox.change(notification_id, "state = 'SENT', sent_time = now(), provider_message_id = gen_random_uuid()")
    return notification_id


@pytest.mark.parametrize(("kind", "state"), [(kind.removeprefix("email."), state) for kind, state in STATES.items()])
async def test_event_moves_its_mail(site: Site, kind: str, state: str) -> None:
    """Each kind of event leads to a state; the mail is found by our tag."""
    notification_id = await sent(site.outbox)
    payload = body_of(kind, notification_id)
    assert await site.tell(sign(payload)) == 204
    assert (await site.outbox.row(notification_id))["state"] == state


@pytest.mark.parametrize(
    "events", list(itertools.permutations(["sent", "delivery_delayed", "delivered", "complained"]))
)
async def test_order_and_repetition_do_not_matter(outbox: Outbox, events: tuple[str, ...]) -> None:
    """However late, often and mixed up events come, the state is the highest and never turns back."""
    source = random.Random(",".join(events))
    notification_id, seen = await sent(outbox), []
    told = [read_event(f"msg_{kind}", body_of(kind, notification_id)) for kind in events]
    for event in told + source.choices(told, k=3):
        answer = await outbox.store.record_event(event)
        assert answer is not None
        seen.append(answer.state)
    ranks = ["SENT", "DELAYED", "DELIVERED", "COMPLAINED"]
    assert seen == sorted(seen, key=ranks.index)
    assert seen[-1] == "COMPLAINED"


async def test_event_settles_what_was_in_doubt(outbox: Outbox) -> None:
    """A mail that nobody knew about is out when the provider speaks of it, whoever has it on lease."""
    notification_id = await outbox.enqueue()
    [claimed] = (await outbox.store.claim("one", 1, 60.0)).notifications
    answer = await outbox.store.record_event(
        read_event("msg_1", body_of("delivered", notification_id, email_id="re-1"))
    )
    assert answer is not None
    assert (answer.state, answer.provider_message_id) == ("DELIVERED", "re-1")
    assert await outbox.store.finish(claimed, "AMBIGUOUS") is None
    assert (await outbox.row(notification_id))["state"] == "DELIVERED"


async def test_event_by_the_providers_id(outbox: Outbox) -> None:
    """Without our tag a mail is found by the provider's id; what is not ours is taken note of and nothing else."""
    notification_id = await sent(outbox)
    provider_id = (await outbox.row(notification_id))["provider_message_id"]
    answer = await outbox.store.record_event(read_event("msg_1", body_of("delivered", email_id=provider_id)))
    assert answer is not None
    assert answer.id == notification_id
    assert await outbox.store.record_event(read_event("msg_2", body_of("delivered"))) is None


@pytest.mark.parametrize(
    ("kind", "data", "cause"),
    [
        ("bounced", {"bounce": {"type": "Permanent", "subType": "General"}}, "BOUNCE"),
        ("bounced", {"bounce": {"type": "Transient"}}, None),
        ("complained", {}, "COMPLAINT"),
        ("suppressed", {}, "PROVIDER"),
        ("delivered", {}, None),
    ],
)
async def test_suppression(site: Site, kind: str, data: dict[str, Any], cause: str | None) -> None:
    """After a hard bounce or a complaint an address gets no more mail, however it is written; waiting mails too."""
    waiting = await site.outbox.enqueue(recipient_email="Ann@Example.org")
    assert await site.tell(sign(body_of(kind, await sent(site.outbox), to=["Ann <ann@example.org>"], **data))) == 204
    stored = await site.outbox.store.send("MATCH_DECLINE", {"decliner_name": "Ben"}, recipient_email="ANN@example.org ")
    assert stored.state == ("SUPPRESSED" if cause else "PENDING")
    claim = await site.outbox.store.claim("one", 10, 60.0)
    [claimed] = [each for each in claim.notifications if each.id == waiting]
    cleared = await site.outbox.store.begin_delivery(claimed, {}, 60.0)
    assert (cleared is None) == (cause is not None)
    causes = await site.outbox.sql.fetch("select cause from suppressed_addresses")
    assert [row["cause"] for row in causes] == ([cause] if cause else [])
    kept = await site.outbox.sql.fetchval("select string_agg(s::text, '') from suppressed_addresses s")
    assert "@" not in (kept or "")


async def test_only_the_provider_is_believed(site: Site) -> None:
    """A wrong, old, early or missing signature, another body or another id: refused, and nothing changes."""
    notification_id = await sent(site.outbox)
    payload = body_of("complained", notification_id)
    good = sign(payload)
    forged = [
        sign(payload, secret="whsec_" + "B" * 44),
        sign(payload, age=301),
        sign(payload, age=-301),
        SignedEvent(good.event_id, good.timestamp, good.signature, payload + b" "),
        SignedEvent("msg_other", good.timestamp, good.signature, payload),
        *(
            SignedEvent(good.event_id, good.timestamp, junk, payload)
            for junk in ("", "v1", "v1,", "v1,é", "v2,AAAA", ",")
        ),
        *(SignedEvent(good.event_id, junk, good.signature, payload) for junk in ("", "now", "9" * 30, "-1", "nan")),
        SignedEvent(good.event_id, good.timestamp, good.signature, b"\xff\xfe" + payload),
    ]
    statuses = {await site.tell(event) for event in forged}
    assert statuses == {400}
    assert (await site.outbox.row(notification_id))["state"] == "SENT"
    assert await site.outbox.sql.fetchval("select count(*) from delivery_events") == 0


async def test_both_secrets_and_signatures_hold(site: Site) -> None:
    """While secrets are replaced events signed by either are taken, also with several signatures."""
    payload = body_of("delivered", await sent(site.outbox))
    assert await site.tell(sign(payload, secret=NEXT_SECRET)) == 204
    event = sign(payload)
    assert await site.tell(event, **{"svix-signature": f"v1,AAAA {event.signature}"}) == 204


@pytest.mark.parametrize(
    "payload",
    [
        b"no json",
        b"null",
        b"[]",
        b'{"type": 5, "data": "x"}',
        b'{"type": "email.opened", "data": {"to": 3, "tags": [1, null]}}',
        b'{"type": "email.bounced", "created_at": "yesterday", "data": {"bounce": [], "email_id": {}, "to": [[]]}}',
        b'{"type": "contact.created", "data": {"tags": {"notification_id": "x"}}}',
    ],
)
async def test_strange_but_signed(site: Site, payload: bytes) -> None:
    """What is signed and unknown to us is taken, so that the provider does not repeat it for hours."""
    assert await site.tell(sign(payload)) == 204


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type": "email.\\u0000delivered"}',
        b'{"type": "email.delivered", "data": {"email_id": "a\\u0000b"}}',
        b'{"type": "email.bounced", "data": {"bounce": {"type": "Permanent"}, "to": ["a\\u0000b@example.org"]}}',
        b'{"type": "email.delivered", "created_at": "0001-01-01T00:00:00+14:00"}',
        b'{"type": "email.delivered", "created_at": "9999-12-31T23:59:59-14:00"}',
    ],
)
async def test_signed_and_not_storable(site: Site, payload: bytes) -> None:
    """What no database can keep is refused as the sender's mistake, not reported as ours."""
    assert await site.tell(sign(payload)) == 400
    assert await site.outbox.sql.fetchval("select count(*) from delivery_events") == 0


async def test_too_large(site: Site) -> None:
    """A body larger than any event is not read to its end."""
    assert await site.tell(sign(b" " * (256 * 1024 + 1))) == 413


async def test_events_wait_for_the_database(outbox: Outbox) -> None:
    """What cannot be committed is not taken: the provider will repeat it, and the person is told to."""
    breaker = Breaker("database", Limits(1, 60.0), lambda: 0.0)
    with suppress(TimeoutError), breaker.guard():
        raise TimeoutError
    writes = Breaker("database_writes", Limits(1, 60.0), lambda: 0.0)
    retry = Retry(RetryLimits(3, 1.0), breaker, lambda: 0.0, lambda: 0.0)
    database = GuardedDatabase(outbox.database, breaker, writes, retry, Shares(ShareLimits()))
    async with serving(outbox, NotificationStore(database)) as site:
        assert await site.tell(sign(body_of("delivered"))) == 503
        status, page = await site.open("POST", LINKS.url(str(uuid.uuid4()), "SESSION_REMINDER"))
    assert (status, "try again" in page) == (503, True)


async def test_events_wait_for_a_lock(outbox: Outbox, site: Site) -> None:
    """So it is with a database that is busy with itself."""
    async with outbox.sql.transaction():
        await outbox.sql.execute("lock table delivery_events in access exclusive mode")
        assert await site.tell(sign(body_of("delivered"))) == 503


async def test_one_click(site: Site) -> None:
    """A link turns one kind off for one person when it is posted, and a mail of that kind does not go out."""
    user_id = str(uuid.uuid4())
    link = LINKS.url(user_id, "SESSION_REMINDER")
    for _ in range(2):
        status, page = await site.open("GET", link)
        assert (status, "reminders of meet-ups" in page) == (200, True)
    assert (await site.open("HEAD", link))[0] == 200
    assert await site.outbox.sql.fetchval("select count(*) from notification_preferences") == 0
    for _ in range(2):
        assert (await site.open("POST", link))[0] == 200
    row = await site.outbox.sql.fetchrow("select user_id::text, disabled_kinds from notification_preferences")
    assert tuple(row) == (user_id, ["SESSION_REMINDER"])
    payload = {"partner_name": "Ben", "scheduled_time": "2027-01-01T12:00:00Z"}
    stored = await site.outbox.store.send(
        "SESSION_REMINDER", payload, user_id=user_id, recipient_email="ann@example.org"
    )
    assert stored.state == "SUPPRESSED"


async def test_links_cannot_be_made(site: Site) -> None:
    """A link for another person, kind or purpose, or a mangled one, does nothing, and says the same each time."""
    token = LINKS.url(str(uuid.uuid4()), "SESSION_REMINDER").rpartition("/")[2]
    other = UnsubscribeLinks("", ["another secret for links, 32 chars"], list(FIELDS)).url(
        str(uuid.uuid4()), "MATCH_DECLINE"
    )
    unknown = UnsubscribeLinks("", ["a secret for links, 32 characters"], ["NEWS"]).url(str(uuid.uuid4()), "NEWS")
    for bad in ("x", token[:-1], token + "A", token.swapcase(), other.rpartition("/")[2], unknown.rpartition("/")[2]):
        with pytest.raises(LinkInvalid):
            LINKS.read(bad)
        assert (await site.open("POST", f"/unsubscribe/{bad}"))[0] == 404
        assert (await site.open("GET", f"/unsubscribe/{bad}"))[0] == 404
    assert await site.outbox.sql.fetchval("select count(*) from notification_preferences") == 0


async def test_old_events_are_forgotten(outbox: Outbox) -> None:
    """Events are kept for 30 days, for longer than the provider repeats one."""
    await outbox.store.record_event(DeliveryEvent("msg_1", "email.sent"))
    await outbox.store.record_event(DeliveryEvent("msg_2", "email.sent"))
    await outbox.sql.execute(
        "update delivery_events set receive_time = now() - interval '31 days' where event_id = 'msg_1'"
    )
    await outbox.store.purge_events()
    assert [row["event_id"] for row in await outbox.sql.fetch("select event_id from delivery_events")] == ["msg_2"]
