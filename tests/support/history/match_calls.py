"""What callers do to matches, in groups of people out of everybody else's reach."""

import asyncio
import random
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from support.history.callers import PING_PATIENCE, TRIES_AGAIN, Caller, new_id
from support.history.match_model import Match
from support.requests import TIMEOUT, join
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch.matching.v1 import matching_service_pb2 as pb

PEOPLE = 4
AT_ONCE = 3  # groups that are active at the same time
CALLS_PER_GROUP = 70


@dataclass
class Group:
    """People who can invite one another, and the matches that callers have been told of."""

    key: str
    people: list[str]
    matches: dict[str, Match] = field(default_factory=dict)
    calls: int = 0


class MatchScene:
    """Groups that were made beforehand, used one after another."""

    def __init__(self, groups: list[Group]) -> None:
        self.groups = groups

    def ping(self, caller: Caller) -> Awaitable[Any]:
        """Ask for a match that is none."""
        request = pb.GetMatchRequest(match_id=caller.new_id(), user_id=caller.new_id())
        return caller.stubs.matching.GetMatch(request, timeout=PING_PATIENCE)

    async def act(self, caller: Caller) -> None:
        """Do one thing in one of the active groups, if any are left."""
        active = [group for group in self.groups if group.calls < CALLS_PER_GROUP][:AT_ONCE]
        if not active:
            return
        group = caller.source.choice(active)
        group.calls += 1
        chance = caller.source.random()
        if not group.matches or chance < 0.25:
            await self._request(caller, group)
        elif chance < 0.35:
            await self._list(caller, group, caller.source.choice(group.people))
        elif chance < 0.6:
            await self._get(caller, group, self._latest(caller, group))
        else:
            await self._settle(caller, group, self._latest(caller, group))

    async def look(self, caller: Caller) -> None:
        """Read every match of everybody."""
        for group in self.groups:
            for user in group.people if group.calls else ():
                await self._list(caller, group, user)

    def _latest(self, caller: Caller, group: Group) -> Match:
        return caller.source.choice(list(group.matches.values())[-3:])

    async def _request(self, caller: Caller, group: Group) -> None:
        user, other = caller.source.sample(group.people, 2)
        request = pb.RequestMatchRequest(user_id=user, candidate_user_id=other, request_id=caller.new_id())
        method = caller.stubs.matching.RequestMatch
        made = await caller.call(
            group.key, "request", method, request, _view, insist=TRIES_AGAIN, user=user, other=other
        )
        if made.ok:
            group.matches[made.result.id] = made.result

    async def _settle(self, caller: Caller, group: Group, match: Match) -> None:
        act = caller.source.choices((self._respond, self._cancel, self._end), (5, 2, 3))[0]
        await act(caller, group, match)

    async def _respond(self, caller: Caller, group: Group, match: Match) -> None:
        accept = caller.source.random() < 0.7
        response = matching_pb2.MATCH_RESPONSE_ACCEPT if accept else matching_pb2.MATCH_RESPONSE_DECLINE
        request = pb.RespondToMatchRequest(
            match_id=match.id, user_id=match.invitee, response=response, request_id=caller.new_id()
        )
        method = caller.stubs.matching.RespondToMatch
        await caller.call(
            group.key, "accept" if accept else "decline", method, request, _view, insist=TRIES_AGAIN, **_people(match)
        )

    async def _cancel(self, caller: Caller, group: Group, match: Match) -> None:
        request = pb.CancelMatchRequest(match_id=match.id, user_id=match.requester, request_id=caller.new_id())
        method = caller.stubs.matching.CancelMatch
        await caller.call(group.key, "cancel", method, request, _view, insist=TRIES_AGAIN, **_people(match))

    async def _end(self, caller: Caller, group: Group, match: Match) -> None:
        user = caller.source.choice((match.requester, match.invitee))
        request = pb.EndMatchRequest(match_id=match.id, user_id=user, request_id=caller.new_id())
        method = caller.stubs.matching.EndMatch
        await caller.call(group.key, "end", method, request, _view, insist=TRIES_AGAIN, **_people(match))

    async def _get(self, caller: Caller, group: Group, match: Match) -> None:
        request = pb.GetMatchRequest(match_id=match.id, user_id=match.requester)
        await caller.call(group.key, "get", caller.stubs.matching.GetMatch, request, _view, **_people(match))

    async def _list(self, caller: Caller, group: Group, user: str) -> None:
        request = pb.ListMatchesRequest(user_id=user, page_size=100)

        def view(response: pb.ListMatchesResponse) -> tuple[Match, ...]:
            return tuple(_seen(each) for each in response.matches)

        await caller.call(group.key, "list", caller.stubs.matching.ListMatches, request, view, user=user)


async def make_groups(stubs: Stubs, source: random.Random, count: int) -> list[Group]:
    """Create the profiles of so many groups."""
    groups = [Group(f"match group {number}", []) for number in range(1, count + 1)]
    for group in groups:
        group.people = await join_together(stubs, source, PEOPLE)
    return groups


async def join_together(stubs: Stubs, source: random.Random, count: int) -> list[str]:
    """Create the profiles of people who are in one place, and return their ids."""
    place = {"latitude": source.uniform(-70, 70), "longitude": source.uniform(-180, 180)}
    ids = [new_id(source) for _ in range(count)]
    await asyncio.gather(*(join(stubs, user_id=each, location=place) for each in ids))
    return ids


async def make_match(stubs: Stubs, source: random.Random) -> Match:
    """Create two people and their accepted match."""
    requester, invitee = await join_together(stubs, source, 2)
    asked = pb.RequestMatchRequest(user_id=requester, candidate_user_id=invitee, request_id=new_id(source))
    match = (await stubs.matching.RequestMatch(asked, timeout=TIMEOUT)).match
    answer = pb.RespondToMatchRequest(
        match_id=match.id, user_id=invitee, response=matching_pb2.MATCH_RESPONSE_ACCEPT, request_id=new_id(source)
    )
    return _view(await stubs.matching.RespondToMatch(answer, timeout=TIMEOUT))


def _people(match: Match) -> dict[str, Any]:
    return {"requester": match.requester, "invitee": match.invitee}


def _view(response: pb.RequestMatchResponse | pb.RespondToMatchResponse | pb.GetMatchResponse) -> Match:
    return _seen(response.match)


def _seen(match: matching_pb2.Match) -> Match:
    state = matching_pb2.MatchState.Name(match.state).removeprefix("MATCH_STATE_")
    return Match(match.requester_id, match.invitee_id, state, match.id)
