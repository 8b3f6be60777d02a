"""Mails to Resend by its own SDK, over a real connection, and what each of its answers means."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from support.resend_server import (
    KEY,
    Behaviour,
    ResendServer,
    answer,
    drop,
    drop_after_accepting,
    page_after_accepting,
    resend_server,
    stall,
)
from wingmanmatch_server.notification import resend_mailer
from wingmanmatch_server.notification.mailer import Attachment, Delivery, Outcome, OutgoingMail
from wingmanmatch_server.notification.resend_mailer import ResendMailer, open_resend
from wingmanmatch_server.resilience.breaker import Breaker, Limits, State

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MAIL = OutgoingMail(
    notification_id="5f0e9c1e-0b68-4a34-9a53-8d6d9ef0a001",
    kind="MATCH_DECLINE",
    idempotency_key="ntf/5f0e9c1e-0b68-4a34-9a53-8d6d9ef0a001/g1",
    create_time=NOON,
    send_time=NOON,
    recipient_email="ann@example.org",
    recipient_name="Ann",
    sender="WingmanMatch <hello@notify.example.org>",
    subject="About your invitation",
    html="<p>Hello</p>",
    text="Hello",
    headers={"X-Entity-Ref-ID": "5f0e9c1e-0b68-4a34-9a53-8d6d9ef0a001"},
)


class Bench:
    """A mailer, the account it uses, and its breaker, whose clock stands still."""

    def __init__(self, server: ResendServer, breaker: Breaker, mailer: ResendMailer) -> None:
        """Keep them."""
        self.server = server
        self.breaker = breaker
        self.mailer = mailer


@pytest.fixture
async def bench() -> Any:
    """A mailer in front of an account of its own."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(resend_server())
        breaker = Breaker("email", Limits(3, 120.0), lambda: 0.0)
        yield Bench(server, breaker, await stack.enter_async_context(open_resend(KEY, server.url + "/", breaker)))


async def test_mail_arrives_whole(bench: Bench) -> None:
    """Everything of a mail reaches Resend, with our id in a tag and files as base64."""
    calendar = Attachment("meetup.ics", "text/calendar; method=PUBLISH", "BEGIN:VCALENDAR\r\n")
    mail = replace(MAIL, recipient_name="Ann, O'Hara", reply_to="care@example.org", attachments=(calendar,))
    delivery = await bench.mailer.deliver(mail)
    [accepted] = bench.server.ledger
    assert delivery == Delivery(Outcome.ACCEPTED, provider_message_id=accepted.id)
    assert accepted.key == MAIL.idempotency_key
    assert accepted.body == {
        "from": MAIL.sender,
        "to": ['"Ann, O\'Hara" <ann@example.org>'],
        "subject": MAIL.subject,
        "html": MAIL.html,
        "text": MAIL.text,
        "headers": MAIL.headers,
        "reply_to": "care@example.org",
        "tags": [
            {"name": "notification_id", "value": MAIL.notification_id},
            {"name": "kind", "value": "MATCH_DECLINE"},
        ],
        "attachments": [
            {
                "filename": "meetup.ics",
                "content": "QkVHSU46VkNBTEVOREFSDQo=",
                "content_type": "text/calendar; method=PUBLISH",
            }
        ],
    }


@pytest.mark.parametrize(
    ("behaviour", "outcome", "error", "pause"),
    [
        (answer(400, "validation_error"), Outcome.BAD_MESSAGE, "400 validation_error", None),
        (answer(401, "restricted_api_key"), Outcome.CONFIG, "401 restricted_api_key", 300.0),
        (answer(403, "validation_error"), Outcome.CONFIG, "403 validation_error", 300.0),
        (answer(409, "concurrent_idempotent_requests"), Outcome.IN_FLIGHT, "409 concurrent_idempotent_requests", None),
        (answer(409, "invalid_idempotent_request"), Outcome.KEY_MISMATCH, "409 invalid_idempotent_request", None),
        (answer(422, "invalid_parameter"), Outcome.BAD_MESSAGE, "422 invalid_parameter", None),
        (answer(422, "invalid_from_address"), Outcome.CONFIG, "422 invalid_from_address", 300.0),
        (answer(429, "rate_limit_exceeded"), Outcome.THROTTLED, "429 rate_limit_exceeded", 1.0),
        (answer(429, "rate_limit_exceeded", Retry_After="7"), Outcome.THROTTLED, "429 rate_limit_exceeded", 7.0),
        (answer(429, "daily_quota_exceeded", ratelimit_reset="90"), Outcome.QUOTA, "429 daily_quota_exceeded", 90.0),
        (answer(429, "monthly_quota_exceeded"), Outcome.QUOTA, "429 monthly_quota_exceeded", 3600.0),
        (answer(429, "monthly_quota_exceeded", retry_after="1e12"), Outcome.QUOTA, "429 monthly_quota_exceeded", 86400),
        (answer(500, "application_error"), Outcome.AMBIGUOUS, "500 application_error", None),
        (answer(503, "to ann@example.org"), Outcome.AMBIGUOUS, "503 unnamed", None),
        (drop, Outcome.AMBIGUOUS, "RemoteProtocolError", None),
        (drop_after_accepting, Outcome.AMBIGUOUS, "RemoteProtocolError", None),
        (page_after_accepting, Outcome.AMBIGUOUS, "500 application_error", None),
    ],
)
async def test_outcomes(bench: Bench, behaviour: Behaviour, outcome: Outcome, error: str, pause: float | None) -> None:
    """Each answer is told apart by what may be done next, and never quotes the mail."""
    bench.server.misbehave(behaviour)
    assert await bench.mailer.deliver(MAIL) == Delivery(outcome, error=error, pause_seconds=pause)
    assert bench.breaker.failure_count == (outcome is Outcome.AMBIGUOUS)


async def test_stall_is_doubt(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is not answered in time may have been taken."""
    monkeypatch.setattr(resend_mailer, "TIMEOUT", resend_mailer.httpx.Timeout(0.1))
    async with open_resend(KEY, bench.server.url, bench.breaker) as mailer:
        bench.server.misbehave(stall)
        assert await mailer.deliver(MAIL) == Delivery(Outcome.AMBIGUOUS, error="ReadTimeout")


async def test_refused_connection_is_safe(bench: Bench) -> None:
    """Where nobody listens nothing was sent."""
    async with open_resend(KEY, "http://127.0.0.1:1", bench.breaker) as mailer:
        assert await mailer.deliver(MAIL) == Delivery(Outcome.NOT_ACCEPTED, error="ConnectError")


async def test_wrong_key_is_configuration(bench: Bench) -> None:
    """A key that Resend does not know is nobody's fault but ours, and does not open the breaker."""
    async with open_resend("re_wrong", bench.server.url, bench.breaker) as mailer:
        deliveries = [await mailer.deliver(MAIL) for _ in range(5)]
    assert {each.outcome for each in deliveries} == {Outcome.CONFIG}
    assert bench.breaker.state is State.CLOSED


@pytest.mark.parametrize("address", ["", "ann", "ann@example.org, ben@example.org", "ann@example.org\r\nBcc: x@y.z"])
async def test_not_one_address(bench: Bench, address: str) -> None:
    """What is not one address costs no request."""
    delivery = await bench.mailer.deliver(replace(MAIL, recipient_email=address))
    assert delivery.outcome is Outcome.BAD_MESSAGE
    assert bench.server.requests == []


async def test_repeats_send_nothing(bench: Bench) -> None:
    """A lost answer is asked for again under the same key, and there is one mail."""
    bench.server.misbehave(drop_after_accepting)
    outcomes = [(await bench.mailer.deliver(MAIL)).outcome for _ in range(2)]
    assert outcomes == [Outcome.AMBIGUOUS, Outcome.ACCEPTED]
    assert len(bench.server.ledger) == bench.server.replays == 1


async def test_breaker_keeps_mails_back(bench: Bench) -> None:
    """Three failures in a row open the breaker; then nothing is tried, and it says for how long."""
    bench.server.misbehave(drop, drop, drop)
    outcomes = [(await bench.mailer.deliver(MAIL)).outcome for _ in range(4)]
    assert outcomes == [Outcome.AMBIGUOUS] * 3 + [Outcome.WITHHELD]
    assert len(bench.server.requests) == 3
    assert bench.mailer.away_for() == 120.0


async def test_connections_are_kept(bench: Bench) -> None:
    """Mails one after another share one connection, and many at once share eight."""
    for _ in range(20):
        await bench.mailer.deliver(MAIL)
    assert bench.server.connections == 1
    await asyncio.gather(*(bench.mailer.deliver(replace(MAIL, idempotency_key=str(n))) for n in range(50)))
    assert bench.server.connections <= 8


async def test_accounts_are_not_mixed() -> None:
    """Two accounts used at the same time each send by their own key, to their own place."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(resend_server(delay=0.001)) for _ in range(2)]
        breakers = [Breaker("email", Limits(1000, 1.0), lambda: 0.0) for _ in servers]
        mailers = [
            await stack.enter_async_context(open_resend(f"re_{number}", server.url, breaker))
            for number, (server, breaker) in enumerate(zip(servers, breakers, strict=True))
        ]
        await asyncio.gather(*(mailer.deliver(MAIL) for mailer in mailers * 30))
    assert [set(server.api_keys) for server in servers] == [{"Bearer re_0"}, {"Bearer re_1"}]


async def test_last_request_of_the_window_asks_for_quiet() -> None:
    """When Resend says that nothing is left in this second, nobody has to be refused to find out."""
    async with resend_server(per_second=1) as server, AsyncExitStack() as stack:
        breaker = Breaker("email", Limits(3, 120.0), lambda: 0.0)
        mailer = await stack.enter_async_context(open_resend(KEY, server.url, breaker))
        delivery = await mailer.deliver(MAIL)
    assert (delivery.outcome, delivery.pause_seconds) == (Outcome.ACCEPTED, 1.0)
