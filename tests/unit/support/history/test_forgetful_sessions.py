"""Random histories of a session service in memory: explained if it is honest, found out if it forgets one change."""

import random
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from support.history.linearizability import Impossible, Linearizable, check
from support.history.operations import Operation, Refusal
from support.history.session_model import Session, SessionModel
from support.history.writing import operation

CHANGES = ("create", "update", "touch", "delete")


class Sessions:
    """One user's sessions, whose every change is acknowledged, but the one numbered `forgotten` is not made."""

    def __init__(self, forgotten: int | None) -> None:
        self.live: dict[str, Session] = {}
        self.changes = 0
        self.updates: dict[int, str] = {}  # the session of each update, by the number of the change
        self._forgotten = forgotten

    def do(self, name: str, number: int, session_id: str) -> object:
        """Do one thing and return the answer."""
        session = self.live.get(session_id)
        if name == "list":
            return tuple(self.live.values())
        if name == "create":
            session = Session(f"s{number}", 1, f"v{number}", number)
        elif name == "delete":
            self._change({each: kept for each, kept in self.live.items() if each != session_id}, made=bool(session))
            return None
        elif not session:
            return Refusal("SESSION_NOT_FOUND")
        elif name == "update":
            session = replace(session, version=session.version + 1, value=f"v{number}")
        elif name == "touch":
            session = replace(session, expire=number)
        if name == "update":
            self.updates[self.changes + 1] = session_id
        if name != "get":
            self._change(self.live | {session.id: session}, made=True)
        return session

    def _change(self, after: dict[str, Session], *, made: bool) -> None:
        self.changes += made
        if not made or self.changes != self._forgotten:
            self.live = after


def history_of(sessions: Sessions, source: random.Random, count: int) -> list[Operation]:
    """Return what callers are told who do so many things; each has its effect somewhere between start and end."""
    history, known = [], ["s0"]
    for number in range(1, count + 1):
        name = source.choice((*CHANGES, "get", "list")) if number > 1 else "create"
        session_id = source.choice(known[-3:])
        answer = sessions.do(name, number, session_id)
        if name == "create":
            known.append(f"s{number}")
        arguments = {"id": session_id, "value": f"v{number}"}
        history.append(operation(name, number - source.random() * 4, number + source.random() * 4, answer, **arguments))
    end = count + 10
    return [*history, operation("list", end, end + 1, sessions.do("list", 0, ""))]


seeds = st.integers(0, 2**32)


@settings(max_examples=200, deadline=None)
@given(seed=seeds, count=st.integers(1, 50))
def test_honest(seed: int, count: int) -> None:
    """An honest service's answers are explained, however its calls overlap."""
    history = history_of(Sessions(None), random.Random(seed), count)
    assert isinstance(check(SessionModel(), history), Linearizable)


@settings(max_examples=200, deadline=None)
@given(seed=seeds, count=st.integers(1, 50))
def test_forgetful(seed: int, count: int) -> None:
    """A service that acknowledges an update and forgets it is found out if the session is listed at the end.

    No other order of overlapping calls explains it: each update that was made shows in the version.
    """
    honest = Sessions(None)
    history_of(honest, random.Random(seed), count)
    candidates = [number for number, updated in honest.updates.items() if updated in honest.live]
    assume(candidates)
    forgetful = Sessions(random.Random(seed).choice(candidates))
    history = history_of(forgetful, random.Random(seed), count)
    assert isinstance(check(SessionModel(), history), Impossible)
