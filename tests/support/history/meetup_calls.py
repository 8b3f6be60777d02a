"""What callers do to the meetups of accepted matches."""

import random
from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from support.history.callers import PING_PATIENCE, TRIES_AGAIN, Caller
from support.history.match_calls import make_match
from support.history.match_model import Match
from support.history.meetup_model import Meetup
from support.history.recorder import Recorder
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch.meetup.v1 import meetup_pb2
from wingmanmatch.meetup.v1 import meetup_service_pb2 as pb

AT_ONCE = 3  # pairs that are active at the same time
CALLS_PER_PAIR = 80
LEADS = (0.3, 1.0, 3600.0)  # seconds ahead: some meetups begin within the run


@dataclass
class Pair:
    """Two people with an accepted match, and the meetups that callers have been told of."""

    key: str
    match: Match
    meetups: list[str] = field(default_factory=list)
    calls: int = 0


class MeetupScene:
    """Pairs that were made beforehand, used one after another."""

    def __init__(self, pairs: list[Pair]) -> None:
        self.pairs = pairs

    def ping(self, caller: Caller) -> Awaitable[Any]:
        """Ask for a meetup that is none."""
        request = pb.GetMeetupRequest(meetup_id=caller.new_id(), user_id=caller.new_id())
        return caller.stubs.meetup.GetMeetup(request, timeout=PING_PATIENCE)

    async def act(self, caller: Caller) -> None:
        """Do one thing for one of the active pairs, if any are left."""
        active = [pair for pair in self.pairs if pair.calls < CALLS_PER_PAIR][:AT_ONCE]
        if not active:
            return
        pair = caller.source.choice(active)
        pair.calls += 1
        if not pair.meetups or caller.source.random() < 0.15:
            await self._schedule(caller, pair)
            return
        act = caller.source.choices(
            (self._get, self._reschedule, self._cancel, self._confirm, self._report, self._end),
            (40, 12, 8, 20, 4, 0.7),
        )[0]
        await act(caller, pair, caller.source.choice(pair.meetups[-2:]))

    async def look(self, caller: Caller) -> None:
        """Read every meetup of everybody."""
        for pair in self.pairs:
            for meetup_id in pair.meetups:
                await self._get(caller, pair, meetup_id)

    async def _schedule(self, caller: Caller, pair: Pair) -> None:
        by, user = self._either(caller, pair)
        milliseconds = self._time(caller)
        venue = f"Park {caller.number}-{pair.calls}"
        request = pb.ScheduleMeetupRequest(
            match_id=pair.match.id,
            user_id=user,
            venue_name=venue,
            scheduled_time=_timestamp(milliseconds),
            request_id=caller.new_id(),
        )
        arguments = {"by": by, "venue": venue, "time": caller.recorder.from_wall(milliseconds)}
        method, view = caller.stubs.meetup.ScheduleMeetup, self._view(caller)
        made = await caller.call(pair.key, "schedule", method, request, view, insist=TRIES_AGAIN, **arguments)
        if made.ok:
            pair.meetups.append(made.result.id)

    async def _reschedule(self, caller: Caller, pair: Pair, meetup_id: str) -> None:
        by, user = self._either(caller, pair)
        milliseconds = self._time(caller)
        request = pb.RescheduleMeetupRequest(
            meetup_id=meetup_id,
            user_id=user,
            scheduled_time=_timestamp(milliseconds),
            request_id=caller.new_id(),
        )
        arguments = {"by": by, "id": meetup_id, "time": caller.recorder.from_wall(milliseconds)}
        method, view = caller.stubs.meetup.RescheduleMeetup, self._view(caller)
        await caller.call(pair.key, "reschedule", method, request, view, insist=TRIES_AGAIN, **arguments)

    async def _cancel(self, caller: Caller, pair: Pair, meetup_id: str) -> None:
        by, user = self._either(caller, pair)
        request = pb.CancelMeetupRequest(meetup_id=meetup_id, user_id=user, request_id=caller.new_id())
        method, view = caller.stubs.meetup.CancelMeetup, self._view(caller)
        await caller.call(pair.key, "cancel", method, request, view, insist=TRIES_AGAIN, by=by, id=meetup_id)

    async def _confirm(self, caller: Caller, pair: Pair, meetup_id: str) -> None:
        by, user = self._either(caller, pair)
        request = pb.ConfirmMeetupRequest(meetup_id=meetup_id, user_id=user, request_id=caller.new_id())
        method, view = caller.stubs.meetup.ConfirmMeetup, self._view(caller)
        await caller.call(pair.key, "confirm", method, request, view, insist=TRIES_AGAIN, by=by, id=meetup_id)

    async def _report(self, caller: Caller, pair: Pair, meetup_id: str) -> None:
        by, user = self._either(caller, pair)
        request = pb.ReportNoShowRequest(meetup_id=meetup_id, user_id=user, request_id=caller.new_id())
        method, view = caller.stubs.meetup.ReportNoShow, self._view(caller)
        await caller.call(pair.key, "report", method, request, view, insist=TRIES_AGAIN, by=by, id=meetup_id)

    async def _end(self, caller: Caller, pair: Pair, _meetup_id: str) -> None:
        by, user = self._either(caller, pair)
        request = matching_service_pb2.EndMatchRequest(match_id=pair.match.id, user_id=user, request_id=caller.new_id())
        method = caller.stubs.matching.EndMatch
        await caller.call(pair.key, "end", method, request, _ended, insist=TRIES_AGAIN, by=by)

    async def _get(self, caller: Caller, pair: Pair, meetup_id: str) -> None:
        _, user = self._either(caller, pair)
        request = pb.GetMeetupRequest(meetup_id=meetup_id, user_id=user)
        view = self._view(caller)
        await caller.call(pair.key, "get", caller.stubs.meetup.GetMeetup, request, view, id=meetup_id)

    def _either(self, caller: Caller, pair: Pair) -> tuple[str, str]:
        return caller.source.choice((("requester", pair.match.requester), ("invitee", pair.match.invitee)))

    def _time(self, caller: Caller) -> int:
        return caller.recorder.to_wall(caller.recorder.now() + caller.source.choice(LEADS))

    def _view(self, caller: Caller) -> partial[Meetup]:
        return partial(_seen, caller.recorder)


async def make_pairs(stubs: Stubs, source: random.Random, count: int) -> list[Pair]:
    """Create so many pairs."""
    return [Pair(f"meetups of pair {number}", await make_match(stubs, source)) for number in range(1, count + 1)]


def _timestamp(milliseconds: int) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMilliseconds(milliseconds)
    return timestamp


def _ended(response: matching_service_pb2.EndMatchResponse) -> str:
    return response.match.id


def _seen(recorder: Recorder, response: pb.ScheduleMeetupResponse | pb.GetMeetupResponse) -> Meetup:
    meetup = response.meetup
    return Meetup(
        0,
        meetup.id,
        meetup_pb2.MeetupState.Name(meetup.state).removeprefix("MEETUP_STATE_"),
        recorder.from_wall(meetup.scheduled_time.ToMilliseconds()),
        meetup.venue_name,
        _said(meetup, about=meetup.invitee_id, confirmed=meetup.HasField("requester_confirm_time")),
        _said(meetup, about=meetup.requester_id, confirmed=meetup.HasField("invitee_confirm_time")),
    )


def _said(meetup: meetup_pb2.Meetup, *, about: str, confirmed: bool) -> str:
    if confirmed:
        return "PRESENT"
    return "MISSING" if about in meetup.no_show_user_ids else ""
