"""Strangers, and a backend's stolen key, that want an inbox full of their words: what reaches the provider."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from pydantic import SecretStr

from support import resend_server as resend
from support.credentials import KEY, SETTINGS, bearer, user_token
from support.databases import fresh_database
from support.requests import TIMEOUT, profile
from support.server import serving_application
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch.meetup.v1 import meetup_service_pb2
from wingmanmatch.notification.v1 import notification_pb2, notification_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

BACKEND = bearer(KEY)
PHISHING = "http://evil.example/login"
PLACE = "Cafe Central"
WAITING = {notification_pb2.NOTIFICATION_STATE_PENDING, notification_pb2.NOTIFICATION_STATE_SENDING}
DIGEST = notification_pb2.NOTIFICATION_KIND_DIGEST


@dataclass
class World:
    """A server at the shipped limits, the provider that it sends by, and the victim, who has an account."""

    client: Stubs
    provider: resend.ResendServer
    sql: asyncpg.Connection
    victim: matching_pb2.Profile = field(default_factory=profile)

    async def join(self, person: matching_pb2.Profile) -> str:
        """Let somebody make a profile, with a token of their own."""
        request = matching_service_pb2.UpsertProfileRequest(profile=person)
        await self.client.matching.UpsertProfile(request, metadata=token(person.user_id), timeout=TIMEOUT)
        return person.user_id

    async def sock_puppet(self) -> str:
        """Let the attacker make one more profile beside the victim."""
        return await self.join(profile(location=self.victim.location))

    async def invite(self, puppet: str) -> str:
        """Let a puppet invite the victim, with a link for a message; return the match."""
        request = matching_service_pb2.RequestMatchRequest(
            user_id=puppet, candidate_user_id=self.victim.user_id, venue_suggestion=PLACE, message=PHISHING
        )
        answer = await self.client.matching.RequestMatch(request, metadata=token(puppet), timeout=TIMEOUT)
        return str(answer.match.id)

    async def match(self, puppet: str) -> str:
        """Let the victim accept a puppet's invitation; return the match."""
        match_id = await self.invite(puppet)
        request = matching_service_pb2.RespondToMatchRequest(
            match_id=match_id, user_id=self.victim.user_id, response=matching_pb2.MATCH_RESPONSE_ACCEPT
        )
        await self.client.matching.RespondToMatch(request, metadata=token(self.victim.user_id), timeout=TIMEOUT)
        return match_id

    async def schedule(self, match_id: str, puppet: str, ahead: timedelta = timedelta(days=3)) -> str:
        """Let a puppet schedule a meetup; return it."""
        request = meetup_service_pb2.ScheduleMeetupRequest(
            match_id=match_id, user_id=puppet, venue_name=PLACE, scheduled_time=datetime.now(UTC) + ahead
        )
        return str(
            (await self.client.meetup.ScheduleMeetup(request, metadata=token(puppet), timeout=TIMEOUT)).meetup.id
        )

    async def emails(self) -> list[notification_pb2.Notification]:
        """Return the victim's emails, once none is due any more that may be sent."""
        request = notification_service_pb2.ListNotificationsRequest(user_id=self.victim.user_id, page_size=100)
        own = token(self.victim.user_id)
        async with asyncio.timeout(TIMEOUT):
            while True:
                listed = await self.client.notification.ListNotifications(request, metadata=own, timeout=TIMEOUT)
                if not any(each.state in WAITING for each in listed.notifications):
                    return list(listed.notifications)
                await asyncio.sleep(0.05)  # nobody tells a caller of the state of an email

    async def pass_time(self, span: timedelta) -> None:
        """Let all that was sent, and all that waits, be so much older, and wake the dispatcher."""
        await self.sql.execute("update address_charges set charge_time = charge_time - $1::interval", span)
        await self.sql.execute(
            "update notifications set send_time = send_time - $1::interval,"
            " next_attempt_time = next_attempt_time - $1::interval where state = 'PENDING'",
            span,
        )
        await self.sql.execute("select pg_notify('notifications', '')")

    def inbox(self) -> list[dict[str, Any]]:
        """Return what the provider took for the victim."""
        return [dict(each.body) for each in self.provider.ledger if self.victim.email in str(each.body["to"])]


def token(user_id: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a user's own token."""
    return bearer(user_token(user_id))


@pytest.fixture(scope="module")
async def served(
    admin_dsn: str, engines: EmbeddedEngines, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Stubs, resend.ResendServer, asyncpg.Connection]]:
    """A server that sends by a provider, at the shipped limits, and its database."""
    folder: Path = tmp_path_factory.mktemp("mail")
    async with fresh_database(admin_dsn) as dsn, resend.resend_server() as provider:
        settings = SETTINGS | {
            "resend_api_key": SecretStr(resend.KEY),
            "resend_api_url": provider.url,
            "public_url": "https://notify.example.org",
        }
        async with serving_application(dsn, engines.redis_url, folder, **settings) as client:
            sql = await asyncpg.connect(dsn)
            try:
                yield client, provider, sql
            finally:
                await sql.close()


@pytest.fixture
async def world(served: tuple[Stubs, resend.ResendServer, asyncpg.Connection]) -> World:
    """A new victim on the module's server."""
    world = World(*served)
    await world.join(world.victim)
    return world


async def refused(call: Any) -> tuple[str, float] | None:
    """Return the reason and the seconds to wait of a call that is refused, None for one that is not."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        status = rpc_status.from_call(error)
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        for detail in status.details:
            detail.Unpack(info)
            detail.Unpack(retry)
        return info.reason, retry.retry_delay.ToTimedelta().total_seconds()
    return None


async def test_moving_a_meetup_137_times_is_one_email(world: World) -> None:
    """Of 137 moves five pass, and all that the victim gets of them and the scheduling is one email."""
    puppet = await world.sock_puppet()
    meetup_id = await world.schedule(await world.match(puppet), puppet)
    outcomes: Counter[Any] = Counter()
    for place in range(137):
        request = meetup_service_pb2.RescheduleMeetupRequest(
            meetup_id=meetup_id, user_id=puppet, venue_name=f"{PLACE} {place}"
        )
        call = world.client.meetup.RescheduleMeetup(request, metadata=token(puppet), timeout=TIMEOUT)
        outcome = await refused(call)
        outcomes[outcome and outcome[0]] += 1
        assert outcome is None or outcome[1] > 0
    assert outcomes[None] == 5
    assert set(outcomes) <= {None, "MEETUP_MOVED_TOO_OFTEN", "RATE_LIMITED"}
    await world.emails()
    before = len(world.inbox())
    assert before <= 1  # the invitation
    await world.pass_time(timedelta(minutes=2))
    await world.emails()
    assert len(world.inbox()) == before + 1
    assert world.inbox()[-1]["attachments"]


async def test_reminders_cannot_be_made_to_order(world: World) -> None:
    """Meetups whose reminder would be due a moment later, each cancelled for the next, remind nobody."""
    puppet = await world.sock_puppet()
    match_id = await world.match(puppet)
    for _ in range(5):
        meetup_id = await world.schedule(match_id, puppet, timedelta(hours=2, seconds=1))
        await world.pass_time(timedelta(seconds=5))  # until the reminder would be due
        request = meetup_service_pb2.CancelMeetupRequest(meetup_id=meetup_id, user_id=puppet)
        await world.client.meetup.CancelMeetup(request, metadata=token(puppet), timeout=TIMEOUT)
    kinds = Counter(each.kind for each in await world.emails())
    assert kinds[notification_pb2.NOTIFICATION_KIND_SESSION_REMINDER] == 0
    assert len(world.inbox()) <= 1  # the invitation


async def test_25_sock_puppets_send_three_invitations(world: World) -> None:
    """Of 25 invitations, each taken back for the next, three are sent, and a digest stands for what is left."""
    for _ in range(25):
        puppet = await world.sock_puppet()
        match_id = await world.invite(puppet)
        await world.emails()  # the attacker waits until it is out
        request = matching_service_pb2.CancelMatchRequest(match_id=match_id, user_id=puppet)
        await world.client.matching.CancelMatch(request, metadata=token(puppet), timeout=TIMEOUT)
    last = await world.invite(await world.sock_puppet())
    states = Counter(each.state for each in await world.emails() if each.kind != DIGEST)
    assert len(world.inbox()) == states[notification_pb2.NOTIFICATION_STATE_SENT] == 3
    assert states[notification_pb2.NOTIFICATION_STATE_HELD] == 1
    await world.pass_time(timedelta(minutes=10))
    await world.emails()
    assert len(world.inbox()) == 4
    digest = world.inbox()[-1]
    assert "Invitations: 1\n" in digest["text"]
    assert "evil" not in digest["text"] + digest["html"]
    (told,) = [each for each in await world.emails() if each.match_id == last]
    assert told.state == notification_pb2.NOTIFICATION_STATE_DIGESTED
    await world.pass_time(timedelta(hours=1))
    await world.emails()
    assert len(world.inbox()) == 4


async def test_backends_key_sends_three_emails_to_an_address(world: World) -> None:
    """A backend that names 24 people and one address gets three emails sent; unknown people cost nothing."""
    outcomes: Counter[str | None] = Counter()
    puppets = [await world.sock_puppet() for _ in range(8)]

    def send(user_id: str) -> Any:
        request = notification_service_pb2.SendNotificationRequest(
            user_id=user_id,
            recipient_email=world.victim.email.upper() if user_id in puppets else "",
            match_invitation=notification_pb2.MatchInvitation(inviter_name="Eve", venue_suggestion=PLACE),
        )
        return refused(world.client.notification.SendNotification(request, metadata=BACKEND, timeout=TIMEOUT))

    for _ in range(5):
        assert await send(nobody := str(uuid.uuid4())) == ("PROFILE_NOT_FOUND", 0)
        assert await send(nobody) == ("PROFILE_NOT_FOUND", 0)
    for puppet in puppets * 3:
        outcome = await send(puppet)
        outcomes[outcome and outcome[0]] += 1
    assert outcomes == {None: 3, "RATE_LIMITED": 21}
    async with asyncio.timeout(TIMEOUT):
        while len(sent := [e for e in world.provider.ledger if world.victim.email in str(e.body["to"]).lower()]) < 3:
            await world.provider.took(len(world.provider.ledger) + 1)
    assert len(sent) == 3


async def test_links_of_strangers_are_not_links(world: World) -> None:
    """A message that is a link arrives as text that no client links, and one click turns the kind off."""
    await world.invite(await world.sock_puppet())
    await world.emails()
    (mail,) = world.inbox()
    for part in ("text", "html", "subject"):
        assert "evil.example" not in mail[part]
        assert "http://" not in mail[part].replace("http://www.w3.org", "")
    assert "http[:]//evil[.]example/login" in mail["text"]
    assert "http[:]//evil[.]example/login" in mail["html"]
    assert mail["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["headers"]["List-Unsubscribe"].startswith("<https://notify.example.org/unsubscribe/")
