"""Two people with an accepted match, and all that they can do to a meet-up."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from support.people import People
from wingmanmatch_server import errors
from wingmanmatch_server.matching.rows import Match
from wingmanmatch_server.meetup.rows import Meetup


class Pair:
    """Ann, who invited Ben, and Ben, who accepted."""

    def __init__(self, people: People, match: Match) -> None:
        self.people = people
        self.match = match
        self.ann: str = match.requester_id
        self.ben: str = match.invitee_id

    async def schedule(self, **details: Any) -> Meetup:
        """Let Ann schedule a meet-up three days ahead."""
        return await self.people.schedule(self.match, self.ann, **details)

    async def begin(self, meetup: Meetup, *, ago: timedelta = timedelta(minutes=1)) -> None:
        """Make a meet-up have begun."""
        await self.people.sql.execute(
            "update meetups set scheduled_time = now() - $2::interval where id = $1", uuid.UUID(meetup.id), ago
        )

    async def begun(self) -> Meetup:
        """Schedule a meet-up and let it begin."""
        meetup = await self.schedule()
        await self.begin(meetup)
        return meetup

    async def state(self, meetup: Meetup) -> str:
        """Return the state in which both see a meet-up."""
        seen = {(await self.people.meetups.get_meetup(meetup.id, each)).state for each in self.both}
        (state,) = seen
        return str(state)

    @property
    def both(self) -> tuple[str, str]:
        """Both people."""
        return self.ann, self.ben

    async def scores(self) -> tuple[int, int]:
        """Return both reputations."""
        found = [(await self.people.store.get_reputation(each)).score for each in self.both]
        return found[0], found[1]


async def refusal(call: Awaitable[Any]) -> tuple[type[errors.DomainError], str]:
    """Return how a call is refused."""
    with pytest.raises(errors.DomainError) as caught:
        await call
    return type(caught.value), caught.value.reason


Act = Callable[[People, str, str], Awaitable[Any]]
ACTS: dict[str, Act] = {
    "move": lambda people, meetup, user: people.meetups.reschedule_meetup(meetup, user, venue_name="Augarten"),
    "cancel": lambda people, meetup, user: people.meetups.cancel_meetup(meetup, user),
    "confirm": lambda people, meetup, user: people.meetups.confirm_meetup(meetup, user),
    "report": lambda people, meetup, user: people.meetups.report_no_show(meetup, user),
    "note": lambda people, meetup, user: people.meetups.update_meetup_notes(meetup, user, "Smile."),
    "get": lambda people, meetup, user: people.meetups.get_meetup(meetup, user),
}
