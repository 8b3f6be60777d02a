"""The meetups of one accepted match, as `MeetupService` and `MatchingService.EndMatch` keep them.

Checked: one scheduled meetup at a time; a change has its effect once, only in the states and on the side of the
scheduled time that allow it; what one person said of the other is never said twice; an end calls off what lies ahead
and nothing that began. An operation that was under way when the scheduled time came may have met it on either side.
Not checked: expiry after seven days, challenges, notes, reputation, mail.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from support.history.operations import Operation

MOVES_A_DAY = 5  # longer than any run
CLOCKS_APART = 0.05  # seconds that the callers' monotonic clock and the database's clock may drift apart in a run


@dataclass(frozen=True, slots=True, order=True)
class Meetup:
    """A meetup as either person sees it; `time` in seconds of the callers' clock, `id` empty while it was not told."""

    number: int
    id: str
    state: str
    time: float
    venue: str
    said_by_requester: str = ""
    said_by_invitee: str = ""
    moves: int = 0

    def shows(self, seen: "Meetup") -> bool:
        """Return whether this is what a caller saw, who cannot know the number, nor how often it was moved."""
        return self == replace(seen, number=self.number, id=self.id, moves=self.moves) and self.id in {"", seen.id}

    def said_by(self, operation: Operation) -> str:
        """Return what the operation's caller said of the other person, "" before that."""
        return self.said_by_requester if operation.arguments["by"] == "requester" else self.said_by_invitee

    @property
    def answered(self) -> bool:
        """Whether anybody said how it went."""
        return bool(self.said_by_requester or self.said_by_invitee)


@dataclass(frozen=True, slots=True)
class Meetups:
    """The state: whether the match is still accepted, and its meetups as they were scheduled."""

    accepted: bool = True
    meetups: tuple[Meetup, ...] = ()


SAID = {"confirm": "PRESENT", "report": "MISSING"}


class MeetupModel:
    """The match begins accepted."""

    def initial(self) -> Meetups:
        """Return an accepted match without a meetup."""
        return Meetups()

    def reads(self, operation: Operation) -> bool:
        """Return whether the operation leaves every state as it is."""
        return operation.name == "get" or not (operation.ok or operation.unknown)

    def step(self, state: Meetups, operation: Operation) -> Iterable[Meetups]:
        """Return the states that may follow."""
        name = "answer" if operation.name in SAID else operation.name
        method: Iterable[Meetups] = getattr(self, f"_{name}")(state, operation)
        return dict.fromkeys(method)

    def _schedule(self, state: Meetups, operation: Operation) -> Iterable[Meetups]:
        time, venue = operation.arguments["time"], str(operation.arguments["venue"])
        assert isinstance(time, float)
        if not state.accepted:
            yield from _refused(state, operation, "MATCH_NOT_ACCEPTED")
            return
        for come in _may_have_come(time, operation):
            if come:
                yield from _refused(state, operation, "MEETUP_TIME_PAST")
            elif any(each.state == "SCHEDULED" for each in state.meetups):
                yield from _refused(state, operation, "MEETUP_EXISTS")
            else:
                yield from _told(state, Meetup(len(state.meetups), "", "SCHEDULED", time, venue), operation)

    def _reschedule(self, state: Meetups, operation: Operation) -> Iterable[Meetups]:
        meetup, time = _find(state, operation), operation.arguments["time"]
        assert isinstance(time, float)
        for refusal in _not_ahead(meetup, operation):
            if refusal:
                yield from _refused(state, operation, refusal)
                continue
            for come in _may_have_come(time, operation):
                if come:
                    yield from _refused(state, operation, "MEETUP_TIME_PAST")
                elif meetup and meetup.time == time:
                    yield from _told(state, meetup, operation)
                elif meetup and meetup.moves == MOVES_A_DAY:
                    yield from _refused(state, operation, "MEETUP_MOVED_TOO_OFTEN")
                elif meetup:
                    yield from _told(state, replace(meetup, time=time, moves=meetup.moves + 1), operation)

    def _cancel(self, state: Meetups, operation: Operation) -> Iterable[Meetups]:
        meetup = _find(state, operation)
        for refusal in _not_ahead(meetup, operation):
            if refusal:
                yield from _refused(state, operation, refusal)
            elif meetup:
                yield from _told(state, replace(meetup, state="CANCELLED"), operation)

    def _answer(self, state: Meetups, operation: Operation) -> Iterable[Meetups]:
        meetup, said = _find(state, operation), SAID[operation.name]
        if not meetup:
            return
        before = meetup.said_by(operation)
        if before == said:
            yield from _told(state, meetup, operation)
        elif before:
            yield from _refused(state, operation, "MEETUP_ANSWERED")
        elif meetup.state not in {"SCHEDULED", "MISSED"}:
            yield from _refused(state, operation, "MEETUP_NOT_SCHEDULED")
        else:
            for come in _may_have_come(meetup.time, operation):
                if come:
                    yield from _told(state, _after_answer(meetup, operation), operation)
                else:
                    yield from _refused(state, operation, "MEETUP_NOT_STARTED")

    def _end(self, state: Meetups, operation: Operation) -> Iterable[Meetups]:
        if not state.accepted:
            yield from _refused(state, operation, "MATCH_NOT_ACCEPTED")
        elif operation.ok or operation.unknown:
            ahead = next((each for each in state.meetups if each.state == "SCHEDULED"), None)
            for refusal in _not_ahead(ahead, operation):
                called_off = replace(ahead, state="CANCELLED") if ahead and not refusal else None
                yield replace(_with(state, called_off) if called_off else state, accepted=False)

    def _get(self, state: Meetups, operation: Operation) -> Iterable[Meetups]:
        meetup = _find(state, operation)
        if meetup and operation.ok and meetup.shows(operation.result):
            yield state


def _after_answer(before: Meetup, operation: Operation) -> Meetup:
    new = SAID[operation.name]
    by_requester = operation.arguments["by"] == "requester"
    meetup = replace(before, said_by_requester=new) if by_requester else replace(before, said_by_invitee=new)
    said = {meetup.said_by_requester, meetup.said_by_invitee}
    if "MISSING" in said:
        return replace(meetup, state="MISSED")
    return replace(meetup, state="COMPLETED") if said == {"PRESENT"} else meetup


def _may_have_come(time: float, operation: Operation) -> Iterable[bool]:
    """Yield whether a time had come when the operation took effect: both where it came while that was under way."""
    if time > operation.start - CLOCKS_APART:
        yield False
    if time <= operation.end + CLOCKS_APART:
        yield True


def _not_ahead(meetup: Meetup | None, operation: Operation) -> Iterable[str]:
    """Yield why a meetup can be neither moved nor called off, "" where it can."""
    if not meetup or meetup.state != "SCHEDULED":
        yield "MEETUP_NOT_SCHEDULED"
        return
    for come in {True} if meetup.answered else _may_have_come(meetup.time, operation):
        yield "MEETUP_STARTED" if come else ""


def _find(state: Meetups, operation: Operation) -> Meetup | None:
    """Return the meetup that the operation names, or the one whose id nobody was told."""
    wanted = operation.arguments["id"]
    named = (each for each in state.meetups if each.id == wanted)
    return next(named, None) or next((each for each in state.meetups if not each.id), None)


def _refused(state: Meetups, operation: Operation, reason: str) -> Iterable[Meetups]:
    if operation.refused_for(reason):
        yield state


def _told(state: Meetups, after: Meetup, operation: Operation) -> Iterable[Meetups]:
    """Yield the state with the change, if it is what the caller was told."""
    if operation.unknown:
        yield _with(state, after)
    elif operation.ok and after.shows(operation.result):
        yield _with(state, replace(after, id=operation.result.id))


def _with(state: Meetups, meetup: Meetup) -> Meetups:
    meetups = dict(enumerate(state.meetups)) | {meetup.number: meetup}
    return replace(state, meetups=tuple(meetups.values()))
