"""One user's sessions, as `SessionService` keeps them.

Checked: every change has its effect once, at one instant, in all that is read later (data, version, expire_time, the
list, the number deleted); an ended session stays ended; a version that is not the expected one is told as it is.
Not checked: that sessions expire, as none of a run's does, and by how much TouchSession moves expire_time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from support.history.operations import Operation


@dataclass(frozen=True, slots=True, order=True)
class Session:
    """What is known of a live session.

    `expire` is None after a touch whose answer was lost, `id` is `UNTOLD` after such a creation.
    """

    id: str
    version: int
    value: str
    expire: int | None

    def shows(self, seen: "Session") -> bool:
        """Return whether this is what a caller saw."""
        same = replace(seen, id=self.id, expire=self.expire)
        return self == same and self.id in {UNTOLD, seen.id} and self.expire in {None, seen.expire}


State = tuple[Session, ...]
READS = {"get", "list"}
UNTOLD = "?"


class SessionModel:
    """The state is the user's live sessions by their ids, which are in the order of their creation."""

    def initial(self) -> State:
        """Return no session."""
        return ()

    def reads(self, operation: Operation) -> bool:
        """Return whether the operation leaves every state as it is."""
        return operation.name in READS or not (operation.ok or operation.unknown)

    def step(self, state: State, operation: Operation) -> Iterable[State]:
        """Return the states that may follow."""
        method: Iterable[State] = getattr(self, f"_{operation.name}")(state, operation)
        return method

    def _create(self, state: State, operation: Operation) -> Iterable[State]:
        if operation.ok:
            yield tuple(sorted((*state, operation.result)))
        elif operation.unknown:
            yield tuple(sorted((*state, Session(UNTOLD, 1, str(operation.arguments["value"]), None))))

    def _get(self, state: State, operation: Operation) -> Iterable[State]:
        session = _find(state, operation)
        if (
            session.shows(operation.result)
            if session and operation.ok
            else not session and operation.refused_for("SESSION_NOT_FOUND")
        ):
            yield state

    def _update(self, state: State, operation: Operation) -> Iterable[State]:
        session, expected = _find(state, operation), operation.arguments.get("expected")
        if not session:
            if operation.refused_for("SESSION_NOT_FOUND"):
                yield state
        elif expected not in {None, session.version}:
            if operation.refused_for("SESSION_VERSION_MISMATCH") and operation.result.detail("version") == str(
                session.version
            ):
                yield state
        elif operation.ok or operation.unknown:
            after = replace(session, version=session.version + 1, value=str(operation.arguments["value"]))
            if operation.unknown or after.shows(operation.result):
                yield _replaced(state, after)

    def _touch(self, state: State, operation: Operation) -> Iterable[State]:
        session = _find(state, operation)
        if not session:
            if operation.refused_for("SESSION_NOT_FOUND"):
                yield state
        elif operation.unknown:
            yield _replaced(state, replace(session, expire=None))
        elif operation.ok:
            after = replace(session, expire=operation.result.expire)
            if after.shows(operation.result):
                yield _replaced(state, after)

    def _delete(self, state: State, operation: Operation) -> Iterable[State]:
        if operation.ok or operation.unknown:
            yield tuple(each for each in state if each.id != operation.arguments["id"])

    def _list(self, state: State, operation: Operation) -> Iterable[State]:
        seen = {each.id: each for each in operation.result}
        untold = [each for each in state if each.id == UNTOLD]
        told = [seen.pop(each.id, None) for each in state if each.id != UNTOLD]
        pairs = zip((each for each in state if each.id != UNTOLD), told, strict=True)
        if not all(other and each.shows(other) for each, other in pairs):
            return
        # What is left must be what was created without anybody being told.
        if sorted(each.value for each in untold) == sorted(each.value for each in seen.values()):
            yield state

    def _delete_all(self, state: State, operation: Operation) -> Iterable[State]:
        if operation.unknown or (operation.ok and operation.result == len(state)):
            yield ()


def _find(state: State, operation: Operation) -> Session | None:
    return next((each for each in state if each.id == operation.arguments["id"]), None)


def _replaced(state: State, session: Session) -> State:
    return tuple(session if each.id == session.id else each for each in state)
