"""The mail about a match is a row of the very transaction that changes the match."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from support.people import VIENNA, People, new_profile
from wingmanmatch_server import errors

# Times in a mail are told in the zone of whom it goes to.
ZONE = {"time_zone": "Europe/Vienna"}


async def mails(people: People) -> list[dict[str, Any]]:
    """Return every mail, oldest first."""
    rows = await people.sql.fetch("select to_jsonb(n)::text as mail from notifications n order by create_time")
    return [json.loads(row["mail"]) for row in rows]


@pytest.fixture
async def pair(people: People) -> tuple[str, str]:
    """Ann and Ben."""
    ann = await people.join(first_name="Ann", email="ann@example.org")
    return ann, await people.join(first_name="Ben", email="ben@example.org")


async def test_invitation_goes_to_the_invited_person(people: People, pair: tuple[str, str]) -> None:
    """An invitation leaves one waiting mail to the invited person that ends with the match."""
    ann, ben = pair
    match = await people.invite(ann, ben, venue_suggestion="Prater", message="Hi!")
    (mail,) = await mails(people)
    assert (mail["kind"], mail["state"], mail["user_id"]) == ("MATCH_INVITATION", "PENDING", ben)
    assert (mail["match_id"], mail["recipient_email"]) == (match.id, "ben@example.org")
    assert mail["payload"] == ZONE | {"inviter_name": "Ann", "venue_suggestion": "Prater", "message": "Hi!"}
    assert datetime.fromisoformat(mail["expire_time"]) == match.expire_time


@pytest.mark.parametrize(
    ("response", "kind", "payload"),
    [
        ("ACCEPT", "MATCH_ACCEPTANCE", {"accepter_name": "Ben", "venue_name": "Prater"}),
        ("DECLINE", "MATCH_DECLINE", {"decliner_name": "Ben"}),
    ],
)
async def test_answer_goes_to_the_requester(
    people: People, pair: tuple[str, str], response: str, kind: str, payload: dict[str, str]
) -> None:
    """An answer leaves a mail to the requester, and an invitation still waiting is dropped."""
    ann, ben = pair
    await people.answer(await people.invite(ann, ben, venue_suggestion="Prater"), response)
    invitation, answer = await mails(people)
    assert invitation["state"] == "CANCELLED"
    assert (answer["kind"], answer["state"], answer["user_id"]) == (kind, "PENDING", ann)
    assert answer["payload"] == ZONE | payload


async def test_mutual_invitation_is_an_acceptance(people: People, pair: tuple[str, str]) -> None:
    """Asking who asked tells the first requester by the mail of an acceptance."""
    ann, ben = pair
    await people.invite(ann, ben)
    await people.invite(ben, ann)
    assert [(mail["kind"], mail["user_id"]) for mail in await mails(people)] == [
        ("MATCH_INVITATION", ben),
        ("MATCH_ACCEPTANCE", ann),
    ]


async def test_cancelled_and_expired_invitations_are_not_sent(people: People, pair: tuple[str, str]) -> None:
    """Withdrawing a match drops its mail, and so does the sweep of expired ones."""
    ann, ben = pair
    match = await people.invite(ann, ben)
    await people.store.cancel_match(match.id, ann)
    assert [mail["state"] for mail in await mails(people)] == ["CANCELLED"]
    await people.invite(ann, await people.join())
    await people.let_pass(timedelta(hours=73))
    await people.store.expire_matches()
    assert [mail["state"] for mail in await mails(people)] == ["CANCELLED", "CANCELLED"]


async def test_no_mail_without_its_match_and_no_match_without_its_mail(people: People, pair: tuple[str, str]) -> None:
    """When the mail cannot be written the match is not made, and a match rolled back takes its mail along."""
    ann, ben = pair
    await people.sql.execute("alter table notifications add constraint full_up check (false) not valid")
    with pytest.raises(Exception, match="full_up"):
        await people.invite(ann, ben)
    assert await people.sql.fetchval("select count(*) from matches") == 0
    assert await people.candidates(ann) == [ben]

    await people.sql.execute("alter table notifications drop constraint full_up")
    transaction = people.sql.transaction()
    await transaction.start()
    await people.sql.execute("select request_match($1::text::uuid)", ann)
    assert await people.sql.fetchval("select count(*) from notifications") == 1
    await transaction.rollback()
    assert await mails(people) == []


async def test_refused_request_writes_no_mail(people: People, pair: tuple[str, str]) -> None:
    """A request that fails leaves nothing to send."""
    ann, ben = pair
    await people.store.upsert_profile(new_profile(ben, VIENNA, active=False))
    with pytest.raises(errors.FailedPrecondition):
        await people.invite(ann, ben)
    assert await mails(people) == []
