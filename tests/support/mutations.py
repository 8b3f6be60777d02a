"""Every function that changes the database, with arguments about one pair of people."""

import hashlib
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from support.people import VIENNA, in_hours, new_profile

OWNER = "worker"
NOTE = {"inviter_name": "Ann", "venue_suggestion": "Prater", "message": "Hello."}


@dataclass(frozen=True)
class Pair:
    """Two people, and the ids of what is stored of them."""

    people: tuple[str, str]
    ids: dict[str, Any]
    source: random.Random

    def someone(self) -> str:
        """Return one of the two."""
        return self.source.choice(self.people)

    def both(self) -> tuple[str, str]:
        """Return the two, in any order."""
        me, other = self.source.sample(self.people, 2)
        return me, other

    def one_of(self, key: str) -> Any:
        """Return one of several ids."""
        return self.source.choice(self.ids[key])

    def request_id(self) -> str | None:
        """Return none, one whose answer has expired, or a new one."""
        return self.source.choice((None, self.ids["request_id"], str(uuid.UUID(int=self.source.getrandbits(128)))))


def digest_of(user_id: str) -> str:
    """Return under what an erasure keeps what outlives it; support/lock_order.sql has the same."""
    return hashlib.sha256(user_id.encode()).hexdigest()


def _invite(pair: Pair) -> dict[str, Any]:
    me, other = pair.both()
    return {"p_user_id": me, "p_candidate_user_id": pair.source.choice((None, other))}


def _block(pair: Pair) -> dict[str, Any]:
    me, other = pair.both()
    return {"p_user_id": me, "p_blocked_user_id": other}


def _upsert(pair: Pair) -> dict[str, Any]:
    fields = {"email": f"a{pair.source.randrange(9)}@example.org", "first_name": pair.source.choice(("Ann", "Ben"))}
    person = pair.someone()
    return {"p_profile": new_profile(person, VIENNA, **fields), "p_digests": [digest_of(person)]}


def _erase(pair: Pair) -> dict[str, Any]:
    person = pair.someone()
    return {"p_user_id": person, "p_digest": digest_of(person)}


def _unblock(pair: Pair) -> dict[str, Any]:
    arguments = _block(pair)
    return arguments | {"p_blocked_digests": [digest_of(arguments["p_blocked_user_id"])]}


def _meetup(pair: Pair, **more: Any) -> dict[str, Any]:
    return {"p_meetup_id": pair.ids["meetup_id"], "p_user_id": pair.someone()} | more


def _match(pair: Pair, **more: Any) -> dict[str, Any]:
    return {"p_match_id": pair.ids["match_id"], "p_user_id": pair.someone()} | more


def _attempt(pair: Pair, **more: Any) -> dict[str, Any]:
    return pair.one_of("attempts") | more


def _leased(pair: Pair, **more: Any) -> dict[str, Any]:
    lease = pair.one_of("leases")
    return {"p_id": lease["id"], "p_epoch": lease["epoch"]} | more


def _answer_invitation(pair: Pair) -> dict[str, Any]:
    response = pair.source.choice(("ACCEPT", "DECLINE"))
    return _match(pair, p_response=response, p_find_next=True)


def _event(pair: Pair) -> dict[str, Any]:
    return {
        "p_event_id": f"event-{pair.source.randrange(6)}",
        "p_type": "email.bounced",
        "p_state": "BOUNCED",
        "p_suppression": "BOUNCE",
        "p_address": "bounced@example.org",
        "p_notification_id": pair.one_of("notifications"),
    }


Arguments = Callable[[Pair], dict[str, Any]]
# These take a p_request_id as well.
REPEATABLE: dict[str, Arguments] = {
    "block_user": _block,
    "cancel_match": _match,
    "cancel_meetup": _meetup,
    "cancel_notification": lambda pair: {"p_notification_id": pair.one_of("notifications")},
    "confirm_meetup": _meetup,
    "delete_profile": _erase,
    "end_match": _match,
    "report_no_show": _meetup,
    "request_match": _invite,
    "reschedule_meetup": lambda pair: _meetup(pair, p_scheduled_time=in_hours(pair.source.uniform(30, 90))),
    "respond_to_match": _answer_invitation,
    "retry_notification": lambda pair: {"p_notification_id": pair.one_of("notifications")},
    "revoke_share_link": lambda pair: pair.one_of("links"),
    "schedule_meetup": lambda pair: _match(pair, p_venue_name="Prater", p_scheduled_time=in_hours(72)),
    "send_notification": lambda pair: {
        "p_kind": "MATCH_INVITATION",
        "p_payload": NOTE,
        "p_user_id": pair.someone(),
        "p_recipient_email": pair.source.choice((None, *pair.ids["emails"])),
    },
    "share_challenge": lambda pair: _attempt(pair, p_ttl_seconds=3600),
    "share_match": lambda pair: _match(pair, p_ttl_seconds=3600),
    "start_challenge": lambda pair: {"p_user_id": pair.someone(), "p_challenge_id": pair.one_of("challenges")},
    "submit_challenge": _attempt,
    "unblock_user": _unblock,
    "update_meetup_notes": lambda pair: _meetup(pair, p_notes=pair.source.choice(("", "Smile."))),
    "update_notification_preferences": lambda pair: {
        "p_user_id": pair.someone(),
        "p_kinds": [{"kind": "MATCH_DECLINE", "enabled": pair.source.random() < 0.5}],
    },
    "upsert_profile": _upsert,
}
MUTATIONS: dict[str, Arguments] = {
    name: lambda pair, arguments=arguments: arguments(pair) | {"p_request_id": pair.request_id()}
    for name, arguments in REPEATABLE.items()
} | {
    "claim_erasures": lambda _: {},
    "claim_notifications": lambda _: {"p_owner": OWNER, "p_limit": 4, "p_lease_seconds": 60.0},
    "expire_matches": lambda _: {},
    "expire_meetups": lambda _: {},
    "finish_erasure": lambda pair: {"p_erasure_id": pair.ids["erasure_id"]},
    "finish_notification": lambda pair: _leased(
        pair, p_outcome=pair.source.choice(("ACCEPTED", "NOT_ACCEPTED", "THROTTLED")), p_pause_seconds=0.001
    ),
    "purge_delivery_events": lambda _: {},
    "purge_match_events": lambda _: {},
    "purge_request_keys": lambda _: {},
    "purge_share_links": lambda _: {},
    "record_delivery_event": _event,
    "release_notifications": lambda _: {"p_owner": OWNER},
    "resume_deliveries": lambda _: {},
    "store_rendered_notification": lambda pair: _leased(pair, p_rendered={"subject": "Hello"}),
    "purge_address_charges": lambda _pair: {},
    "unsubscribe": lambda pair: {"p_user_id": pair.someone(), "p_kind": "MATCH_DECLINE"},
}
