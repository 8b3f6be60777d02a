"""The model of meetups: what it explains, and what it must not. Each operation takes a second, one every two."""

from typing import Any

import pytest

from support.history.linearizability import Impossible, Linearizable, check
from support.history.meetup_model import Meetup, MeetupModel
from support.history.operations import Operation
from support.history.writing import Script

LATER = 1000.0  # far behind every operation
SOON = 1.5  # between the first operation and the second


def meetup(time: float = LATER, state: str = "SCHEDULED", **said: str) -> Meetup:
    """Return a meetup as callers see it."""
    return Meetup(0, "m1", state, time, "Park", **said)


def scheduled(time: float = LATER) -> Script:
    """Return a history in which a meetup was scheduled."""
    return Script().add("schedule", meetup(time), by="requester", time=time, venue="Park")


def act(by: str = "requester", **more: Any) -> dict[str, Any]:
    """Return the arguments of what one of the two does to the meetup."""
    return {"by": by, "id": "m1", **more}


ANN, BEN = act("requester"), act("invitee")
SECOND = {"by": "invitee", "time": LATER, "venue": "Pier"}

GOOD = {
    "moved and called off": scheduled()
    .add("reschedule", meetup(2000.0), **act(time=2000.0))
    .add("cancel", meetup(2000.0, "CANCELLED"), **BEN)
    .refuse("cancel", "MEETUP_NOT_SCHEDULED", **ANN)
    .add("schedule", Meetup(1, "m2", "SCHEDULED", LATER, "Pier"), **SECOND),
    "one at a time": scheduled().refuse("schedule", "MEETUP_EXISTS", **SECOND),
    "both came": scheduled(SOON)
    .add("confirm", meetup(SOON, said_by_requester="PRESENT"), **ANN)
    .add("confirm", meetup(SOON, said_by_requester="PRESENT"), **ANN)
    .add("confirm", meetup(SOON, "COMPLETED", said_by_requester="PRESENT", said_by_invitee="PRESENT"), **BEN)
    .refuse("report", "MEETUP_ANSWERED", **BEN),
    "one was missing and says so": scheduled(SOON)
    .add("report", meetup(SOON, "MISSED", said_by_requester="MISSING"), **ANN)
    .add("confirm", meetup(SOON, "MISSED", said_by_requester="MISSING", said_by_invitee="PRESENT"), **BEN),
    "too early": scheduled().refuse("confirm", "MEETUP_NOT_STARTED", **ANN),
    "too late": scheduled(SOON)
    .refuse("cancel", "MEETUP_STARTED", **ANN)
    .refuse("reschedule", "MEETUP_STARTED", **act(time=LATER)),
    "to a past time": scheduled().refuse("reschedule", "MEETUP_TIME_PAST", **act(time=-1.0)),
    "the time comes during a call": scheduled(2.5).add("cancel", meetup(2.5, "CANCELLED"), **ANN),
    "the time came during a call": scheduled(2.5).refuse("cancel", "MEETUP_STARTED", **ANN),
    "ended ahead": scheduled()
    .add("end", "x", by="invitee")
    .add("get", meetup(state="CANCELLED"), id="m1")
    .refuse("end", "MATCH_NOT_ACCEPTED", by="requester")
    .refuse("schedule", "MATCH_NOT_ACCEPTED", **SECOND),
    "ended once it began": scheduled(SOON).add("end", "x", by="invitee").add("get", meetup(SOON), id="m1"),
    "unknown schedule": Script()
    .lose("schedule", by="requester", time=LATER, venue="Park")
    .refuse("schedule", "MEETUP_EXISTS", **SECOND)
    .add("get", meetup(), id="m1"),
    "unknown cancellation": scheduled()
    .lose("cancel", **ANN)
    .add("get", meetup(), id="m1")
    .add("get", meetup(state="CANCELLED"), id="m1"),
}
BAD = {
    "lost meetup": scheduled().add("schedule", Meetup(1, "m2", "SCHEDULED", LATER, "Pier"), **SECOND),
    "lost move": scheduled().add("reschedule", meetup(2000.0), **act(time=2000.0)).add("get", meetup(), id="m1"),
    "lost cancellation": scheduled().add("cancel", meetup(state="CANCELLED"), **ANN).add("get", meetup(), id="m1"),
    "lost confirmation": scheduled(SOON)
    .add("confirm", meetup(SOON, said_by_requester="PRESENT"), **ANN)
    .add("get", meetup(SOON), id="m1"),
    "cancelled twice": scheduled()
    .add("cancel", meetup(state="CANCELLED"), **ANN)
    .add("cancel", meetup(state="CANCELLED"), **BEN),
    "confirmed ahead": scheduled().add("confirm", meetup(said_by_requester="PRESENT"), **ANN),
    "called off once it began": scheduled(SOON).add("cancel", meetup(SOON, "CANCELLED"), **ANN),
    "not begun, long after": scheduled(SOON).refuse("confirm", "MEETUP_NOT_STARTED", **ANN),
    "begun, long before": scheduled().refuse("cancel", "MEETUP_STARTED", **ANN),
    "said both": scheduled(SOON)
    .add("confirm", meetup(SOON, said_by_requester="PRESENT"), **ANN)
    .add("report", meetup(SOON, "MISSED", said_by_requester="MISSING"), **ANN),
    "completed by one": scheduled(SOON).add("confirm", meetup(SOON, "COMPLETED", said_by_requester="PRESENT"), **ANN),
    "still on though the match ended": scheduled().add("end", "x", by="invitee").add("get", meetup(), id="m1"),
    "scheduled after the end": Script()
    .add("end", "x", by="invitee")
    .add("schedule", meetup(), by="requester", time=LATER, venue="Park"),
    "a second while one is on": scheduled().refuse("schedule", "MATCH_NOT_ACCEPTED", **SECOND),
}


@pytest.mark.parametrize("script", GOOD.values(), ids=GOOD)
def test_good(script: Script) -> None:
    """What meetups may do is explained."""
    assert isinstance(check(MeetupModel(), script.operations), Linearizable)


@pytest.mark.parametrize("script", BAD.values(), ids=BAD)
def test_bad(script: Script) -> None:
    """What meetups must not do is not explained, and only by its last answer."""
    operations: list[Operation] = script.operations
    assert isinstance(check(MeetupModel(), operations[:-1]), Linearizable)
    assert isinstance(check(MeetupModel(), operations), Impossible)
