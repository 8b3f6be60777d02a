"""What the store returns. Fields are named as in the API; enum values are names without their prefix."""

from dataclasses import dataclass
from typing import Any

from wingmanmatch_server.drivers.results import Moment


@dataclass(frozen=True, slots=True)
class Meetup:
    """A meetup as one of its two people sees it: `notes` are that person's own.

    The id of an erased person is the nil UUID. A confirm time is None until that person confirmed.
    """

    id: str
    match_id: str
    requester_id: str
    invitee_id: str
    state: str
    venue_name: str
    scheduled_time: Moment
    requester_challenge_id: str | None
    invitee_challenge_id: str | None
    requester_confirm_time: Moment | None
    invitee_confirm_time: Moment | None
    no_show_user_ids: tuple[str, ...]
    notes: str
    create_time: Moment
    update_time: Moment
    expire_time: Moment


@dataclass(frozen=True, slots=True)
class MeetupPage:
    """Meetups, the latest scheduled first. `next_position` is the `after` of the next page, None at the list's end."""

    meetups: tuple[Meetup, ...]
    next_position: dict[str, Any] | None
