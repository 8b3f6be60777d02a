"""The matches of a few people who can only invite one another, as `MatchingService` keeps them.

Checked: nobody is in two pending matches; two people are matched at most once (a run is shorter than the seven days for
which they are kept apart); mutual invitations become one accepted match; an answer, a withdrawal and an end have their
effect once, and only in the states that allow them; everything read later shows it.
Not checked: choosing the nearest person, daily maximum, expiry, blocks, mail.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from support.history.operations import Operation


@dataclass(frozen=True, slots=True, order=True)
class Match:
    """A match; `id` is empty while no caller has been told it."""

    requester: str
    invitee: str
    state: str
    id: str = ""

    def between(self, first: str, second: str) -> bool:
        """Return whether these are its two people."""
        return {self.requester, self.invitee} == {first, second}

    def shows(self, seen: "Match") -> bool:
        """Return whether this is what a caller saw."""
        return self == replace(seen, id=self.id) and self.id in {"", seen.id}


State = tuple[Match, ...]
READS = {"get", "list"}
ANSWERS = {"accept": "ACCEPTED", "decline": "DECLINED", "cancel": "CANCELLED"}


class MatchModel:
    """The state is every match that ever was, in an order of its own."""

    def initial(self) -> State:
        """Return no match."""
        return ()

    def reads(self, operation: Operation) -> bool:
        """Return whether the operation leaves every state as it is."""
        return operation.name in READS or not (operation.ok or operation.unknown)

    def step(self, state: State, operation: Operation) -> Iterable[State]:
        """Return the states that may follow."""
        if operation.name in ANSWERS:
            return self._settle(state, operation, "PENDING", ANSWERS[operation.name])
        if operation.name == "end":
            return self._settle(state, operation, "ACCEPTED", "ENDED")
        method: Iterable[State] = getattr(self, f"_{operation.name}")(state, operation)
        return method

    def _request(self, state: State, operation: Operation) -> Iterable[State]:
        user, other = str(operation.arguments["user"]), str(operation.arguments["other"])
        mine, theirs = _pending(state, user), _pending(state, other)
        known = next((each for each in state if each.between(user, other)), None)
        if known and known.state == "PENDING" and known.requester == other:
            yield from _agreed(state, known, replace(known, state="ACCEPTED"), operation)
        elif mine:
            if operation.refused_for("PENDING_MATCH_EXISTS") and mine.id in {"", operation.result.detail("match_id")}:
                yield state
        elif known or theirs:
            if operation.refused_for("CANDIDATE_UNAVAILABLE"):
                yield state
        else:
            yield from _agreed(state, None, Match(user, other, "PENDING"), operation)

    def _settle(self, state: State, operation: Operation, before: str, after: str) -> Iterable[State]:
        match = _find(state, operation)
        if match and match.state == before:
            yield from _agreed(state, match, replace(match, state=after), operation)
        elif match and operation.refused_for(f"MATCH_NOT_{before}") and operation.result.detail("state") == match.state:
            yield state

    def _get(self, state: State, operation: Operation) -> Iterable[State]:
        match = _find(state, operation)
        if match and match.shows(operation.result):
            yield state

    def _list(self, state: State, operation: Operation) -> Iterable[State]:
        user = operation.arguments["user"]
        mine = sorted((each for each in state if user in {each.requester, each.invitee}), key=_pair)
        seen = sorted(operation.result, key=_pair)
        if len(mine) == len(seen) and all(each.shows(other) for each, other in zip(mine, seen, strict=True)):
            yield state


def _pair(match: Match) -> tuple[str, str]:
    return match.requester, match.invitee


def _pending(state: State, user: str) -> Match | None:
    mine = (each for each in state if user in {each.requester, each.invitee})
    return next((each for each in mine if each.state == "PENDING"), None)


def _find(state: State, operation: Operation) -> Match | None:
    """Return the match that the operation names: by its people as well, for its id may not have been told yet."""
    first, second = str(operation.arguments["requester"]), str(operation.arguments["invitee"])
    return next((each for each in state if (each.requester, each.invitee) == (first, second)), None)


def _agreed(state: State, before: Match | None, after: Match, operation: Operation) -> Iterable[State]:
    """Yield the state with the change, if it is what the caller was told."""
    if not operation.unknown:
        if not operation.ok or not after.shows(operation.result):
            return
        after = replace(after, id=operation.result.id)
    yield tuple(sorted((*(each for each in state if each is not before), after), key=_pair))
