"""Conversations in Redis. One method is one atomic step, or repeats one until nobody else was faster.

    coach:{USER}:conversation:ID   a conversation; a hash of its version and its body, which Redis expires
    coach:{USER}:conversations     the ids of a person's conversations: a sorted set by the time they expire

A person's keys share a hash tag, so on a cluster each call finds all that it needs in one slot.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

from wingmanmatch_server import errors
from wingmanmatch_server.coaching.history import Conversation, Message, extended
from wingmanmatch_server.coaching.model import Author
from wingmanmatch_server.drivers.redis import RedisServer, Script, ScriptCall, away
from wingmanmatch_server.resilience.breaker import Breaker

MOST = 50  # conversations a person; the one that would expire first gives way
UNANSWERED = timedelta(minutes=10)  # how long a new conversation waits for its first answer
STORED = -1
ATTEMPTS = 5


class ConversationStore:
    """Conversations by person.

    Every method raises errors.Unavailable if Redis does not answer or the breaker is open.
    """

    def __init__(
        self,
        redis: RedisServer,
        breaker: Breaker,
        *,
        ttl: timedelta,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        """A conversation is forgotten when nothing was said for `ttl`. `now` knows its offset; `new_id` gives UUIDs."""
        self._redis = redis
        self._breaker = breaker
        self._ttl = ttl
        self._now = now
        self._new_id = new_id
        self._save, self._delete = _script("save"), _script("delete")

    async def begin(self, user_id: str) -> Conversation:
        """Create a conversation that waits for its first answer, and is forgotten if none comes."""
        now = self._now()
        begun = Conversation(self._new_id(), user_id, now, now, now + UNANSWERED)
        await self._store(begun, UNANSWERED)
        return replace(begun, version=1)

    async def get(self, user_id: str, conversation_id: str) -> Conversation:
        """Return a conversation to the person who had it. Raises errors.NotFound CONVERSATION_NOT_FOUND."""
        async with self._turn():
            version, body = await self._redis.client.hmget(_key(user_id, conversation_id), ("version", "body"))
        if version is None:
            raise _not_found(conversation_id)
        return _parse(body, conversation_id, user_id, int(version))

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
                conversation = await self.get(conversation.user_id, conversation.id)
            except errors.NotFound:
                return False
        raise errors.Aborted("CONFLICT", "the conversation is continued elsewhere at the same time")

    async def delete(self, user_id: str, conversation_id: str) -> None:
        """Forget a conversation; an unknown one is as good as forgotten."""
        await self._run(self._delete, user_id, conversation_id, conversation_id)

    async def delete_of_user(self, user_id: str) -> int:
        """Forget every conversation of a person; return how many there were.

        An answer under way is not remembered afterwards.
        """
        return int(await self._run(self._delete, user_id, "", ""))

    async def _store(self, conversation: Conversation, ttl: timedelta) -> bool:
        reply = await self._run(
            self._save,
            conversation.user_id,
            conversation.id,
            conversation.version,
            _body(conversation),
            ttl // timedelta(milliseconds=1),
            conversation.id,
            _milliseconds(conversation.update_time),
            MOST,
        )
        return int(reply) == STORED

    async def _run(self, script: Script, user_id: str, conversation_id: str, *arguments: str | int) -> Any:
        keys = (_key(user_id, conversation_id), f"coach:{{{user_id}}}:conversations")
        async with self._turn():
            (reply,) = await self._redis.run(script, [ScriptCall(keys, arguments)])
        if isinstance(reply, Exception):
            raise reply
        return reply

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for a turn in the order of arrival, and take part in the breaker."""
        if self._breaker.open_for():
            raise self._breaker.refusal()
        async with self._redis.turn:
            with self._breaker.guard(), away():
                yield


def _key(user_id: str, conversation_id: str) -> str:
    return f"coach:{{{user_id}}}:conversation:{conversation_id}"


def _not_found(conversation_id: str) -> errors.NotFound:
    metadata = {"conversation_id": conversation_id}
    return errors.NotFound("CONVERSATION_NOT_FOUND", "no such conversation exists for this person", metadata)


def _body(conversation: Conversation) -> str:
    fields = {
        "messages": [[each.author, each.text, _milliseconds(each.create_time)] for each in conversation.messages],
        "summary": conversation.summary,
        "minor": conversation.minor,
        "times": [
            _milliseconds(each)
            for each in (conversation.create_time, conversation.update_time, conversation.expire_time)
        ],
    }
    return json.dumps(fields, ensure_ascii=False)


def _parse(body: bytes, conversation_id: str, user_id: str, version: int) -> Conversation:
    fields = json.loads(body)
    create_time, update_time, expire_time = map(_moment, fields["times"])
    return Conversation(
        conversation_id,
        user_id,
        create_time,
        update_time,
        expire_time,
        messages=tuple(Message(Author(author), text, _moment(at)) for author, text, at in fields["messages"]),
        summary=fields["summary"],
        minor=fields["minor"],
        version=version,
    )


def _milliseconds(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)


def _script(name: str) -> Script:
    return Script((resources.files(__package__) / f"{name}.lua").read_text())
