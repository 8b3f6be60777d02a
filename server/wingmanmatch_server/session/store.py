"""What sessions ask of Redis. One method is one round trip and one atomic step: it has its whole effect or none.

The times of all replicas are those of the Redis server, which alone reads a clock.
"""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib import resources
from typing import Any

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import RedisServer, Script, ScriptCall
from wingmanmatch_server.drivers.redis_records import unknown_version
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.resilience.retry import Retry
from wingmanmatch_server.session.keys import (
    creation_key,
    digest,
    erasure_key,
    requests_key,
    session_key,
    update_key,
    user_key,
)
from wingmanmatch_server.session.token import SALT_BYTES, SECRET_BYTES, make_token, seal, unseal

# The format versions; docs/redis-records.md says when to raise one.
SESSION_VERSION = "1"
REQUEST_VERSION = "1"
MARKED = timedelta(hours=24)  # how long an erasure refuses sessions of the person
FIELDS = ("v", "id", "user_id", "version", "create_time", "update_time", "expire_time", "max_expire_time", "data")


@dataclass(frozen=True, slots=True)
class Session:
    """A session as stored; times in milliseconds since 1970."""

    id: str
    user_id: str
    version: int
    create_time: int
    update_time: int
    expire_time: int
    max_expire_time: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list. `next_after` is None at its end, and otherwise the `after` of the next page."""

    sessions: Sequence[Session]
    next_after: str | None


class SessionStore:
    """Sessions by their tokens.

    A token may be any text: one that is unknown, expired or malformed takes the same way and raises the same
    errors.Unauthenticated SESSION_NOT_FOUND. A `request_id` is a UUID or None: a mutation repeated with it within 24
    hours returns the first answer again and changes nothing, and raises errors.InvalidArgument REQUEST_ID_REUSED if it
    came with another request.

    A session or a remembered request of an unknown format version is left as it is: every method but the deletions,
    which end sessions of any version, raises errors.Unavailable RECORD_VERSION_UNKNOWN where it meets one.

    Every method raises errors.Unavailable if Redis does not answer or the breaker is open. A mutation may then have
    happened or not. Only what changes nothing, or comes with a `request_id`, is sent a second time.
    """

    def __init__(
        self,
        redis: RedisServer,
        breaker: Breaker,
        retry: Retry,
        *,
        max_age: timedelta,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """`max_age` is how old a session can get; `random_bytes` returns that many that nobody can foresee."""
        self._redis = redis
        self._breaker = breaker
        self._retry = retry
        self._max_age = max_age
        self._random_bytes = random_bytes
        self._create, self._update, self._touch = _script("create"), _script("update"), _script("touch")
        self._delete, self._list, self._delete_of_user = _script("delete"), _script("list"), _script("delete_of_user")

    async def create(
        self, user_id: str, data: bytes, *, ttl: timedelta, request_id: str | None = None
    ) -> tuple[Session, str]:
        """Open a session that lives for `ttl` unless it is extended; return it and its token.

        Redis holds the token's hash and, for a repetition with `request_id`, a form that only this id can open. Raises
        errors.FailedPrecondition ERASED_RECENTLY of a person who was erased within the last 24 hours.
        """
        token = make_token(self._random_bytes(SECRET_BYTES), user_id)
        keys = [session_key(token), user_key(user_id), erasure_key(user_id)]
        arguments = [user_id, data, _milliseconds(ttl), _milliseconds(self._max_age), self._end_of_id()]
        if not request_id:
            _, *fields = await self._run_once(self._create, keys, *arguments, "", "")
            return _session([*fields, data]), token
        sealed = seal(token, request_id, self._random_bytes(SALT_BYTES))
        keys.append(creation_key(user_id, request_id))
        first, *fields = await self._run_repeatedly(self._create, keys, *arguments, digest(data, ttl), sealed)
        return _session([*fields, data]), unseal(first.decode(), request_id, user_id)

    async def get(self, token: str) -> Session:
        """Return the session of a token."""
        version, *fields = await self._retry.call(partial(self._read, session_key(token)), repeatable=True)
        if version == _KNOWN_VERSION:
            return _session(fields)
        if version is None and fields[1] is None:
            raise not_found()
        raise unknown_version("session")

    async def update(
        self, token: str, data: bytes, *, expected_version: int | None = None, request_id: str | None = None
    ) -> Session:
        """Replace a session's data and return it. Raises errors.Aborted if its version is not the one expected."""
        keys = [session_key(token)]
        arguments = [data, "" if expected_version is None else expected_version, ""]
        if request_id:
            keys.append(update_key(token, request_id))
            arguments[-1] = digest(data, expected_version)
        run = self._run_repeatedly if request_id else self._run_once
        return _session([*await run(self._update, keys, *arguments), data])

    async def touch(self, token: str, *, ttl: timedelta | None = None) -> Session:
        """Let a session live for `ttl` from now on, at most to its max_expire_time, and return it.

        Without `ttl` it is the one that the session was created with, and the session never ends earlier for it.
        """
        argument = "" if ttl is None else _milliseconds(ttl)
        return _session(await self._run_once(self._touch, [session_key(token)], argument))

    async def delete(self, token: str) -> None:
        """End the session of a token, if there is one."""
        await self._run_once(self._delete, [session_key(token)])

    async def list_of_user(self, user_id: str, *, page_size: int, after: str | None = None) -> Page:
        """Return a person's live sessions, newest first, those behind the session `after`, which may have ended."""
        more, *rows = await self._run_repeatedly(self._list, [user_key(user_id)], page_size, after or "")
        sessions = [_session(row) for row in rows]
        return Page(sessions, sessions[-1].id if more else None)

    async def delete_of_user(self, user_id: str) -> int:
        """End every session of a person at one instant; return how many lived."""
        (count,) = await self._run_once(self._delete_of_user, [user_key(user_id)])
        return int(count)

    async def erase(self, user_id: str) -> None:
        """Delete all that is stored of a person, and open no session of the person for 24 hours."""
        keys = [user_key(user_id), requests_key(user_id), erasure_key(user_id)]
        await self._run_repeatedly(self._delete_of_user, keys, _milliseconds(MARKED))

    async def _read(self, key: str) -> list[Any]:
        with self._breaker.guard():
            return await self._redis.hmget(key, FIELDS)

    async def _run_once(self, script: Script, keys: Sequence[str], *arguments: Any) -> list[Any]:
        return _answer(await self._retry.call(partial(self._run, script, keys, *arguments), repeatable=False))

    async def _run_repeatedly(self, script: Script, keys: Sequence[str], *arguments: Any) -> list[Any]:
        """Run a script that twice has the effect of once."""
        return _answer(await self._retry.call(partial(self._run, script, keys, *arguments), repeatable=True))

    async def _run(self, script: Script, keys: Sequence[str], *arguments: Any) -> list[Any]:
        async with self._turn():
            (reply,) = await self._redis.run(script, [ScriptCall(keys, arguments)])
        if isinstance(reply, Exception):
            raise reply
        return list(reply)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for a turn in the order of arrival, and take part in the breaker."""
        if self._breaker.open_for():
            raise self._breaker.refusal()
        async with self._redis.turn:
            with self._breaker.guard(), self._redis.calling():
                yield

    def _end_of_id(self) -> str:
        # The last two groups of a random UUID hold its variant and 62 random bits.
        return str(uuid.UUID(bytes=self._random_bytes(16), version=4))[19:]


def not_found() -> errors.Unauthenticated:
    """Return the error of every token that opens nothing."""
    return errors.Unauthenticated("SESSION_NOT_FOUND", "the token opens no session")


def _version_mismatch(version: bytes) -> errors.Aborted:
    message = "the session's version is not the one expected; read it again"
    return errors.Aborted("SESSION_VERSION_MISMATCH", message, {"version": version.decode()})


def _erased_recently(milliseconds: int) -> errors.FailedPrecondition:
    message = "the person was erased within the last 24 hours"
    return errors.FailedPrecondition("ERASED_RECENTLY", message, retry_after=milliseconds / 1000)


def _request_id_reused() -> errors.InvalidArgument:
    message = "request_id was used for another request"
    violation = errors.FieldViolation("request_id", "REQUEST_ID_REUSED", message)
    return errors.InvalidArgument([violation], "REQUEST_ID_REUSED", message)


def _record_version_unknown(record: bytes) -> errors.Unavailable:
    return unknown_version(record.decode())


_KNOWN_VERSION = SESSION_VERSION.encode()
_REFUSALS: dict[bytes, Callable[..., errors.DomainError]] = {
    b"SESSION_NOT_FOUND": not_found,
    b"SESSION_VERSION_MISMATCH": _version_mismatch,
    b"REQUEST_ID_REUSED": _request_id_reused,
    b"ERASED_RECENTLY": _erased_recently,
    b"RECORD_VERSION_UNKNOWN": _record_version_unknown,
}


def _answer(reply: list[Any]) -> list[Any]:
    """Return what stands behind OK in a script's reply. Raises what another reply means."""
    outcome, *answer = reply
    if outcome != b"OK":
        raise _REFUSALS[outcome](*answer)
    return answer


def _session(fields: Sequence[Any]) -> Session:
    session_id, user_id, *numbers, data = fields
    version, create_time, update_time, expire_time, max_expire_time = map(int, numbers)
    return Session(
        id=session_id.decode(),
        user_id=user_id.decode(),
        version=version,
        create_time=create_time,
        update_time=update_time,
        expire_time=expire_time,
        max_expire_time=max_expire_time,
        data=data,
    )


def _milliseconds(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)


def _script(name: str) -> Script:
    folder = resources.files(__package__)
    parts = ((folder / f"{part}.lua").read_text() for part in ("prelude", name))
    versions = f"local SESSION_VERSION, REQUEST_VERSION = '{SESSION_VERSION}', '{REQUEST_VERSION}'\n"
    return Script("".join((versions, *parts)))
