"""Having the server write to strangers, or to addresses to which no email ever comes."""

import asyncio
import uuid
from typing import Any

import grpc
import pytest

from support.credentials import KEY, bearer, user_token
from support.edge import failure_of
from support.requests import TIMEOUT, profile
from wingmanmatch.notification.v1 import notification_service_pb2

VICTIM = "victim@example.org"
NOT_OWN: dict[str, dict[str, Any]] = {
    "another address than the token's": {"email": "eve@example.org"},
    "token without an address": {"email": None},
    "token with an empty address": {"email": ""},
    "address not confirmed": {"email": VICTIM, "email_verified": False},
    "address the user wrote into the metadata": {
        "email": None,
        "user_metadata": {"email": VICTIM, "email_verified": True},
    },
    "several addresses": {"email": [VICTIM, "eve@example.org"]},
    "address beside the own": {"email": "eve+victim@example.org"},
}
UNDELIVERABLE = (
    *("a..b@x.example", "abc.@x.example", ".a@x.example", "=?utf-8?q?=40evil=00?=@x.example", "a" * 65 + "@x.example"),
    *("x@localhost", "x@[127.0.0.1]", "jörg@x.example", '"a b"@x.example', "eve@example.org,victim@example.org"),
)


@pytest.mark.parametrize("claims", NOT_OWN.values(), ids=NOT_OWN)
async def test_address_of_somebody_else(target: Any, claims: dict[str, Any]) -> None:
    """A user's token sets no address but its own, verified one, and nothing of the profile is stored."""
    person = profile(email=VICTIM)
    failure = await failure_of(target.upsert_as_user(person, **claims))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "EMAIL_NOT_VERIFIED")
    assert failure.violations == {"profile.email": "email.verified"}
    assert not any(address in failure.message for address in (VICTIM, "eve"))
    assert await target.stored(person.user_id) is None


async def test_address_of_somebody_else_later(target: Any) -> None:
    """Nor does it change the address of a profile that is there, or anything else along with it."""
    person = profile(email="eve@example.org")
    await target.upsert_as_user(person, email="eve@example.org")
    person.email, person.bio = VICTIM, "Changed."
    assert (await failure_of(target.upsert_as_user(person, email="eve@example.org"))).reason == "EMAIL_NOT_VERIFIED"
    stored = await target.stored(person.user_id)
    assert (stored["email"], stored["bio"] == "Changed.") == ("eve@example.org", False)


@pytest.mark.parametrize("given", ["", "ann@bücher.example", "ANN@Bücher.Example", "Ann@xn--bcher-kva.example"])
async def test_own_address_is_stored_as_it_was_verified(target: Any, given: str) -> None:
    """However it is written, and without it, what is stored is the address in the token, as it is sent."""
    person = profile(email=given)
    answer = await target.upsert_as_user(person, email="ann@bücher.example")
    assert answer.profile.email == "ann@xn--bcher-kva.example"


async def test_back_ends_vouch_for_what_they_give(target: Any) -> None:
    """A back end sets any address, and has to set one."""
    person = profile(email="ann@bücher.example")
    assert (await target.upsert(person)).profile.email == "ann@xn--bcher-kva.example"
    person.email = ""
    failure = await failure_of(target.upsert(person))
    assert failure.violations == {"profile.email": "email.required"}


@pytest.mark.parametrize("address", UNDELIVERABLE, ids=lambda address: address[:30])
async def test_address_to_which_no_email_comes(target: Any, address: str) -> None:
    """It is refused at once, in a profile and as a recipient, instead of losing every email silently."""
    failure = await failure_of(target.upsert(profile(email=address)))
    assert failure.violations == {"profile.email": "email_address.invalid"}
    failure = await failure_of(send(target, KEY, recipient_email=address))
    assert failure.violations == {"recipient_email": "email_address.invalid"}


async def test_internationalized_recipient(target: Any) -> None:
    """An address at an internationalized domain is written to in the form that every mail server takes."""
    sent = await send(target, KEY, recipient_email="ann@bücher.example")
    async with asyncio.timeout(TIMEOUT):
        while not (found := [path for path in target.outbox.glob("*.eml") if sent.notification.id in path.name]):
            await asyncio.sleep(0.05)
    assert b"To: ann@xn--bcher-kva.example" in found[0].read_bytes()


async def test_user_cannot_send_to_an_address(target: Any) -> None:
    """Sending to whatever address is for back ends."""
    user_id = str(uuid.uuid4())
    token = user_token(user_id, email="eve@example.org")
    for recipient in ({"user_id": user_id}, {"recipient_email": VICTIM}, {"recipient_email": "eve@example.org"}):
        assert (await failure_of(send(target, token, **recipient))).reason == "ACCESS_DENIED"


def send(target: Any, credential: str, **recipient: str) -> Any:
    """Call SendNotification."""
    request = notification_service_pb2.SendNotificationRequest(match_decline={"decliner_name": "Ben"}, **recipient)
    return target.client.notification.SendNotification(request, timeout=TIMEOUT, metadata=bearer(credential))
