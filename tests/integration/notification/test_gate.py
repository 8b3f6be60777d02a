"""A mail about a match goes out only while it is true."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from support.outbox import Outbox

CONTENT = {"subject": "as rendered"}


class Invitation:
    """Ann has invited Ben."""

    def __init__(self, outbox: Outbox, ann: str, ben: str, match_id: str) -> None:
        """Keep who and what."""
        self.outbox = outbox
        self.ann = ann
        self.ben = ben
        self.match_id = match_id

    async def respond(self, response: str) -> None:
        """Let Ben answer."""
        parameters = {"p_match_id": self.match_id, "p_user_id": self.ben, "p_response": response}
        await self.outbox.database.call("respond_to_match", **parameters)

    async def cancel(self) -> None:
        """Let Ann take it back."""
        await self.outbox.database.call("cancel_match", p_match_id=self.match_id, p_user_id=self.ann)

    async def accept(self) -> None:
        """Let Ben accept."""
        await self.respond("ACCEPT")

    async def decline(self) -> None:
        """Let Ben decline."""
        await self.respond("DECLINE")


@pytest.fixture
async def invitation(outbox: Outbox) -> Invitation:
    """A pending match with its mail waiting."""
    ann, ben = await outbox.join("Ann"), await outbox.join("Ben")
    answer = await outbox.database.call("request_match", p_user_id=ann, p_candidate_user_id=ben)
    return Invitation(outbox, ann, ben, answer["match"]["id"])


async def only_waiting(outbox: Outbox) -> dict[str, Any]:
    """Return the one mail that waits."""
    (notification_id,) = await outbox.sql.fetchrow("select id from notifications where state = 'PENDING'")
    return await outbox.row(str(notification_id))


async def test_invitation_is_addressed_from_the_profile(outbox: Outbox, invitation: Invitation) -> None:
    """The mail goes to the invited person's address, under their name and in their language, and names who asks."""
    row = await only_waiting(outbox)
    addressed = (row["user_id"], row["recipient_email"], row["recipient_name"], row["locale"])
    assert addressed == (invitation.ben, "ben@example.org", "Ben", "de-AT")
    assert row["payload"]["inviter_name"] == "Ann"
    assert row["match_id"] == invitation.match_id


async def test_true_invitation_goes_out(outbox: Outbox, invitation: Invitation) -> None:
    """While the match is pending, its invitation is cleared for sending."""
    (claimed,) = (await outbox.store.claim("one", 9, 60.0)).notifications
    assert claimed.match_id == invitation.match_id
    assert await outbox.store.begin_delivery(claimed, CONTENT, 60.0) is not None


@pytest.mark.parametrize("end", [Invitation.cancel, Invitation.accept, Invitation.decline])
async def test_invitation_on_lease_is_withheld_once_untrue(
    outbox: Outbox, invitation: Invitation, end: Callable[[Invitation], Awaitable[None]]
) -> None:
    """What no cancellation could reach, because a worker held it, is stopped by the last look before sending."""
    (claimed,) = (await outbox.store.claim("one", 9, 60.0)).notifications
    await end(invitation)
    assert await outbox.store.begin_delivery(claimed, CONTENT, 60.0) is None
    row = await outbox.row(claimed.id)
    assert (row["state"], row["rendered"], row["attempt_count"]) == ("CANCELLED", None, 0)


async def test_waiting_invitation_goes_with_its_match(outbox: Outbox, invitation: Invitation) -> None:
    """Taking an invitation back cancels its mail in the same transaction."""
    await invitation.cancel()
    assert await outbox.sql.fetch("select distinct state from notifications") == [("CANCELLED",)]


@pytest.mark.parametrize(
    ("answer", "kind", "name"),
    [
        (Invitation.accept, "MATCH_ACCEPTANCE", {"accepter_name": "Ben"}),
        (Invitation.decline, "MATCH_DECLINE", {"decliner_name": "Ben"}),
    ],
)
async def test_answer_is_told_to_who_asked(
    outbox: Outbox,
    invitation: Invitation,
    answer: Callable[[Invitation], Awaitable[None]],
    kind: str,
    name: dict[str, str],
) -> None:
    """The one mail that waits after an answer goes to the requester and is cleared for sending."""
    await answer(invitation)
    row = await only_waiting(outbox)
    assert (row["kind"], row["recipient_email"]) == (kind, "ann@example.org")
    assert row["payload"].items() >= name.items()
    (claimed,) = (await outbox.store.claim("one", 9, 60.0)).notifications
    assert await outbox.store.begin_delivery(claimed, CONTENT, 60.0) is not None


async def test_mail_about_a_vanished_match_is_withheld(outbox: Outbox) -> None:
    """A match that no longer exists is in no state to write about."""
    await outbox.enqueue(match_id=str(uuid.uuid4()))
    (claimed,) = (await outbox.store.claim("one", 9, 60.0)).notifications
    assert await outbox.store.begin_delivery(claimed, CONTENT, 60.0) is None
