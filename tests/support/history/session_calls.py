"""What callers do to sessions."""

from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from support.history.callers import PING_PATIENCE, TRIES_AGAIN, Caller
from support.history.operations import Operation
from support.history.session_model import Session
from wingmanmatch.session.v1 import session_pb2
from wingmanmatch.session.v1 import session_service_pb2 as pb

AT_ONCE = 3  # users whose sessions are used at the same time
CALLS_PER_USER = 60
MOST_SESSIONS = 3
USES_ENDED = 0.1  # how often a caller tries any session, ended or not
HOURS = (1, 2, 5, 10)


@dataclass
class User:
    """One user, and the sessions that callers have been told of."""

    id: str
    key: str
    tokens: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    versions: dict[str, int] = field(default_factory=dict)
    calls: int = 0

    def live(self) -> list[str]:
        """Return the sessions that nobody is known to have ended."""
        return [session_id for session_id in self.tokens if session_id not in self.ended]


class SessionScene:
    """Users who come and go."""

    def __init__(self) -> None:
        self.users: list[User] = []

    def ping(self, caller: Caller) -> Awaitable[Any]:
        """Ask for a session that is none."""
        return caller.stubs.session.GetSession(pb.GetSessionRequest(token="none"), timeout=PING_PATIENCE)

    async def act(self, caller: Caller) -> None:
        """Do one thing to the sessions of one of the present users."""
        user = self._present(caller)
        chance, live = caller.source.random(), user.live()
        if not live or (chance < 0.15 and len(live) < MOST_SESSIONS):
            await self._create(caller, user)
        elif chance < 0.25:
            await self._list(caller, user)
        elif chance < 0.265:
            await self._delete_all(caller, user)
        else:
            act = caller.source.choices((self._get, self._update, self._touch, self._delete), (45, 40, 12, 3))[0]
            named = user.tokens if caller.source.random() < USES_ENDED else live
            await act(caller, user, caller.source.choice(sorted(named)))

    async def look(self, caller: Caller) -> None:
        """Read every session of every user."""
        for user in self.users:
            await self._list(caller, user)
            for session_id in user.tokens:
                await self._get(caller, user, session_id)

    def _present(self, caller: Caller) -> User:
        present = [user for user in self.users if user.calls < CALLS_PER_USER]
        while len(present) < AT_ONCE:
            present.append(User(caller.new_id(), f"session user {len(self.users) + 1}"))
            self.users.append(present[-1])
        user = caller.source.choice(present)
        user.calls += 1
        return user

    async def _create(self, caller: Caller, user: User) -> None:
        value, tokens = f"{caller.number}-{user.calls}", list[str]()

        def view(response: pb.CreateSessionResponse) -> Session:
            tokens.append(response.token)
            return _seen(response.session)

        request = pb.CreateSessionRequest(user_id=user.id, data=_data(value), request_id=caller.new_id())
        # A session whose token nobody has could not be named in any later operation, so its creation is insisted on.
        method = caller.stubs.session.CreateSession
        created = await caller.call(user.key, "create", method, request, view, insist=1.0, value=value)
        if created.ok:
            user.tokens[created.result.id] = tokens[-1]

    async def _get(self, caller: Caller, user: User, session_id: str) -> None:
        request = pb.GetSessionRequest(token=user.tokens[session_id])
        view = partial(_remembered, user)
        await caller.call(user.key, "get", caller.stubs.session.GetSession, request, view, id=session_id)

    async def _update(self, caller: Caller, user: User, session_id: str) -> None:
        value, expected = f"{caller.number}-{user.calls}", None
        request = pb.UpdateSessionRequest(token=user.tokens[session_id], data=_data(value), request_id=caller.new_id())
        if caller.source.random() < 0.4:
            expected = request.expected_version = user.versions.get(session_id, 1)
        method = caller.stubs.session.UpdateSession
        arguments = {"id": session_id, "value": value, "expected": expected}
        await caller.call(
            user.key, "update", method, request, partial(_remembered, user), insist=TRIES_AGAIN, **arguments
        )

    async def _touch(self, caller: Caller, user: User, session_id: str) -> None:
        ttl = Duration(seconds=3600 * caller.source.choice(HOURS))
        request = pb.TouchSessionRequest(token=user.tokens[session_id], ttl=ttl)
        await caller.call(
            user.key, "touch", caller.stubs.session.TouchSession, request, partial(_remembered, user), id=session_id
        )

    async def _delete(self, caller: Caller, user: User, session_id: str) -> None:
        request = pb.DeleteSessionRequest(token=user.tokens[session_id])
        method = caller.stubs.session.DeleteSession
        deleted = await caller.call(user.key, "delete", method, request, _nothing, id=session_id)
        if deleted.ok:
            user.ended.add(session_id)

    async def _list(self, caller: Caller, user: User) -> Operation:
        request = pb.ListSessionsRequest(user_id=user.id, page_size=50)

        def view(response: pb.ListSessionsResponse) -> tuple[Session, ...]:
            return tuple(_seen(each) for each in response.sessions)

        return await caller.call(user.key, "list", caller.stubs.session.ListSessions, request, view)

    async def _delete_all(self, caller: Caller, user: User) -> None:
        request = pb.DeleteUserSessionsRequest(user_id=user.id)
        method = caller.stubs.session.DeleteUserSessions
        known = set(user.tokens)
        deleted = await caller.call(user.key, "delete_all", method, request, lambda response: response.deleted_count)
        if deleted.ok:
            user.ended |= known


def _remembered(
    user: User, response: pb.GetSessionResponse | pb.UpdateSessionResponse | pb.TouchSessionResponse
) -> Session:
    """Return what a response shows, and remember the version as a client would."""
    seen = _seen(response.session)
    user.versions[seen.id] = seen.version
    return seen


def _seen(session: session_pb2.Session) -> Session:
    value = str(session.data["value"])
    return Session(session.id, session.version, value, session.expire_time.ToMilliseconds())


def _data(value: str) -> Struct:
    data = Struct()
    data["value"] = value
    return data


def _nothing(_response: pb.DeleteSessionResponse) -> None:
    return None
