"""The store against a model of it: whatever is done in whatever order, both agree."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.sessions import create_store, pass_time
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.session.store import SessionStore

USERS = ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002")
# Time passes by multiples of 20 minutes and no life is one: no outcome hangs on the milliseconds that the test takes.
STEP = 20
MAX_AGE = 150

users = st.sampled_from(USERS)
lives = st.sampled_from((30, 70, 110))
chosen = st.integers(0, 3)
operations = st.one_of(
    st.tuples(st.just("create"), users, lives),
    st.tuples(st.just("update"), chosen, st.sampled_from((None, 0, 1))),
    st.tuples(st.just("touch"), chosen, st.one_of(st.none(), lives)),
    st.tuples(st.just("delete"), chosen),
    st.tuples(st.just("delete_of_user"), users),
    st.tuples(st.just("pass"), st.integers(1, 4)),
)


@dataclass
class Expected:
    """What the model knows of a session; minutes."""

    user_id: str
    ttl: int
    expire: int
    max_expire: int
    data: bytes = b"0"
    version: int = 1


class Model:
    """Sessions as a caller understands them, beside the store that has to agree."""

    def __init__(self, redis: RedisServer, store: SessionStore) -> None:
        self.redis, self.store = redis, store
        self.now = 0
        self.sessions: dict[str, Expected] = {}
        self.tokens: list[str] = []

    def live(self, token: str) -> Expected | None:
        """Return the session that a token should open now."""
        session = self.sessions.get(token)
        return session if session and session.expire > self.now else None

    def of_user(self, user_id: str) -> list[Expected]:
        """Return a person's live sessions, newest first."""
        found = [self.live(token) for token in reversed(self.tokens)]
        return [session for session in found if session and session.user_id == user_id]

    def token(self, choice: int) -> str:
        """Return one of the newest tokens, or one that nobody has."""
        return self.tokens[-1 - choice] if choice < len(self.tokens) else "nobody's"

    async def apply(self, name: str, *arguments: Any) -> None:
        """Do one operation to both."""
        await getattr(self, f"_{name}")(*arguments)

    async def check(self) -> None:
        """Compare everything that can be read."""
        for token in self.tokens:
            found = await outcome(self.store.get(token))
            assert described(found) == described(self.live(token))
        for user_id in USERS:
            page = await self.store.list_of_user(user_id, page_size=50)
            assert [described(each) for each in page.sessions] == [described(each) for each in self.of_user(user_id)]
        live = [token for token in self.tokens if self.live(token)]
        people = {self.sessions[token].user_id for token in live}
        assert await self.redis.client.dbsize() == len(live) + len(people)

    async def _create(self, user_id: str, ttl: int) -> None:
        _, token = await self.store.create(user_id, b"0", ttl=timedelta(minutes=ttl))
        max_expire = self.now + MAX_AGE
        self.sessions[token] = Expected(user_id, ttl, min(self.now + ttl, max_expire), max_expire)
        self.tokens.append(token)

    async def _update(self, choice: int, behind: int | None) -> None:
        token, data = self.token(choice), str(self.now).encode()
        session = self.live(token)
        expected = None if behind is None else (session.version if session else 1) + behind
        found = await outcome(self.store.update(token, data, expected_version=expected))
        if session and not behind:
            session.data, session.version = data, session.version + 1
        assert found == "SESSION_VERSION_MISMATCH" if session and behind else described(found) == described(session)

    async def _touch(self, choice: int, ttl: int | None) -> None:
        token = self.token(choice)
        session = self.live(token)
        found = await outcome(self.store.touch(token, ttl=timedelta(minutes=ttl) if ttl else None))
        if session:
            wanted = self.now + ttl if ttl else max(session.expire, self.now + session.ttl)
            session.expire = min(wanted, session.max_expire)
        assert described(found) == described(session)

    async def _delete(self, choice: int) -> None:
        await self.store.delete(self.token(choice))
        self.sessions.pop(self.token(choice), None)

    async def _delete_of_user(self, user_id: str) -> None:
        assert await self.store.delete_of_user(user_id) == len(self.of_user(user_id))
        self.sessions = {token: each for token, each in self.sessions.items() if each.user_id != user_id}

    async def _pass(self, steps: int) -> None:
        self.now += steps * STEP
        await pass_time(self.redis, timedelta(minutes=steps * STEP))


async def outcome(call: Any) -> Any:
    """Return what a call returns, None if its token opens nothing, or the reason it fails with."""
    try:
        return await call
    except errors.Unauthenticated:
        return None
    except errors.Aborted as error:
        return error.reason


def described(session: Any) -> tuple[str, bytes, int] | None:
    """Return what the model and the store say of a session in the same words."""
    return None if session is None else (session.user_id, session.data, session.version)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.lists(operations, max_size=25))
async def test_store_agrees_with_the_model(redis: RedisServer, plan: list[tuple[Any, ...]]) -> None:
    """Creating, updating, touching, ending and waiting in any order leave what the model says."""
    await redis.client.flushdb()
    model = Model(redis, create_store(redis, max_age=timedelta(minutes=MAX_AGE)))
    for operation in plan:
        await model.apply(*operation)
        await model.check()
