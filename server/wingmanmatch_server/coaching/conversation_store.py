"""Conversations in Redis. One method is one atomic step, or repeats one until nobody else was faster.

    coach:{USER}:conversation:ID   a conversation; a hash, which Redis expires
    coach:{USER}:conversations     the ids of a person's conversations: a sorted set by the time they expire
    coach:{USER}:minor             there if the person said in one of them to be younger than 18

The hash has its format version `v`, a `version` that counts its changes, its `messages` as JSON, its `summary`, and
its times in milliseconds since 1970. A newer server of the same format may add fields of its own, which are kept.

A person's keys share a hash tag, so on a cluster each call finds all that it needs in one slot.
"""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import resources
from itertools import chain
from typing import Any

from wingmanmatch_server import errors
from wingmanmatch_server.coaching.history import Conversation, Message, extended
from wingmanmatch_server.coaching.model import Author
from wingmanmatch_server.drivers.redis import RedisServer, Script, ScriptCall
from wingmanmatch_server.drivers.redis_records import unknown_version
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.resilience.retry import Retry

VERSION = "1"  # of the format of a conversation; docs/redis-records.md says when to raise it
MOST = 50  # conversations a person; the one that would expire first gives way
UNANSWERED = timedelta(minutes=10)  # how long a new conversation waits for its first answer
STORED, UNKNOWN_VERSION = -1, -2
ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Damaged:
    """A stored conversation that cannot be read."""

    id: str


class ConversationStore:
    """Conversations by person.

    Every method raises errors.Unavailable if Redis does not answer or the breaker is open. Those that read or write a
    conversation of an unknown format version raise it too, as RECORD_VERSION_UNKNOWN, and leave it as it is; the
    deletions delete it.
    """

    def __init__(
        self,
        redis: RedisServer,
        breaker: Breaker,
        retry: Retry,
        *,
        ttl: timedelta,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        """A conversation is forgotten when nothing was said for `ttl`. `now` knows its offset; `new_id` gives UUIDs."""
        self._redis = redis
        self._breaker = breaker
        self._retry = retry
        self._ttl = ttl
        self._now = now
        self._new_id = new_id
        self._load, self._save, self._delete = _script("load"), _script("save"), _script("delete")

    async def find(self, user_id: str, conversation_id: str | None) -> Conversation:
        """Return a conversation of a person, without an id a new one that is not stored yet.

        Raises errors.NotFound CONVERSATION_NOT_FOUND.
        """
        *fields, minor = await self._run_repeatedly(self._load, user_id, conversation_id or "")
        if conversation_id:
            return replace(_parse(fields, conversation_id, user_id), minor=bool(minor))
        now = self._now()
        return Conversation(self._new_id(), user_id, now, now, now + UNANSWERED, minor=bool(minor))

    async def begin(self, conversation: Conversation) -> Conversation:
        """Store a new conversation, which is forgotten if no answer comes; return it with its version."""
        await self._store(conversation, UNANSWERED)
        return replace(conversation, version=1)

    async def of_person(self, user_id: str) -> list[Conversation | Damaged]:
        """Return what a person has said something in, the one that is forgotten first leading."""
        async with self._turn():
            ids = await self._redis.client.zrange(_keys(user_id, "")[1], 0, -1)
        found: list[Conversation | Damaged] = []
        for each in ids:
            with suppress(errors.NotFound):
                found.append(await self._find_or_damaged(user_id, each.decode()))
        return [each for each in found if isinstance(each, Damaged) or each.messages]

    async def _find_or_damaged(self, user_id: str, conversation_id: str) -> Conversation | Damaged:
        try:
            return await self.find(user_id, conversation_id)
        except (ValueError, TypeError):
            return Damaged(conversation_id)

    async def add(self, conversation: Conversation, question: str, answer: str, *, minor: bool) -> bool:
        """Add an exchange and return True, or change nothing and return False if the conversation was forgotten.

        Two exchanges at once are both kept. Raises errors.Aborted CONFLICT if others were faster again and again.
        """
        for _ in range(ATTEMPTS):
            now = self._now()
            grown = replace(extended(conversation, question, answer, now, minor=minor), expire_time=now + self._ttl)
            if await self._store(grown, self._ttl):
                return True
            try:
                conversation = await self.find(conversation.user_id, conversation.id)
            except errors.NotFound:
                return False
        raise errors.Aborted("CONFLICT", "the conversation is continued elsewhere at the same time")

    async def delete(self, user_id: str, conversation_id: str) -> None:
        """Forget a conversation; an unknown one is as good as forgotten."""
        await self._run_repeatedly(self._delete, user_id, conversation_id, conversation_id)

    async def delete_of_user(self, user_id: str) -> int:
        """Forget every conversation of a person, and what else is kept of them; return how many there were.

        An answer under way is not remembered afterwards.
        """
        return int(await self._run_repeatedly(self._delete, user_id, "", ""))

    async def _store(self, conversation: Conversation, ttl: timedelta) -> bool:
        reply = await self._run(
            self._save,
            conversation.user_id,
            conversation.id,
            VERSION,
            conversation.version,
            ttl // timedelta(milliseconds=1),
            conversation.id,
            _milliseconds(conversation.update_time),
            MOST,
            int(conversation.minor),
            *_fields(conversation),
        )
        if reply == UNKNOWN_VERSION:
            raise unknown_version("conversation")
        return int(reply) == STORED

    async def _run_repeatedly(self, script: Script, user_id: str, conversation_id: str, *arguments: str | int) -> Any:
        """Run a script that twice has the effect of once."""
        attempt = partial(self._run, script, user_id, conversation_id, *arguments)
        return await self._retry.call(attempt, repeatable=True)

    async def _run(self, script: Script, user_id: str, conversation_id: str, *arguments: str | int) -> Any:
        async with self._turn():
            (reply,) = await self._redis.run(script, [ScriptCall(_keys(user_id, conversation_id), arguments)])
        if isinstance(reply, Exception):
            raise reply
        return reply

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for a turn in the order of arrival, and take part in the breaker."""
        if self._breaker.open_for():
            raise self._breaker.refusal()
        async with self._redis.turn:
            with self._breaker.guard(), self._redis.calling():
                yield


def _keys(user_id: str, conversation_id: str) -> tuple[str, str, str]:
    person = f"coach:{{{user_id}}}"
    return f"{person}:conversation:{conversation_id}", f"{person}:conversations", f"{person}:minor"


def _not_found(conversation_id: str) -> errors.NotFound:
    metadata = {"conversation_id": conversation_id}
    return errors.NotFound("CONVERSATION_NOT_FOUND", "no such conversation exists for this person", metadata)


def _fields(conversation: Conversation) -> tuple[str | int, ...]:
    """Return the names and values of the fields that are stored."""
    messages = [[each.author, each.text, _milliseconds(each.create_time)] for each in conversation.messages]
    fields: dict[str, str | int] = {
        "messages": json.dumps(messages, ensure_ascii=False),
        "summary": conversation.summary,
        "create_time": _milliseconds(conversation.create_time),
        "update_time": _milliseconds(conversation.update_time),
        "expire_time": _milliseconds(conversation.expire_time),
    }
    return tuple(chain.from_iterable(fields.items()))


def _parse(fields: Sequence[bytes | None], conversation_id: str, user_id: str) -> Conversation:
    """Return the conversation of fields in the order of load.lua."""
    if not any(fields):
        raise _not_found(conversation_id)
    if fields[0] != VERSION.encode():
        raise unknown_version("conversation")
    version, messages, summary, *times = (field or b"" for field in fields[1:])
    create_time, update_time, expire_time = (_moment(int(each)) for each in times)
    return Conversation(
        conversation_id,
        user_id,
        create_time,
        update_time,
        expire_time,
        messages=tuple(Message(Author(author), text, _moment(at)) for author, text, at in json.loads(messages)),
        summary=summary.decode(),
        version=int(version),
    )


def _milliseconds(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)


def _script(name: str) -> Script:
    return Script((resources.files(__package__) / f"{name}.lua").read_text())
