"""Conversation stores under a clock that the test holds."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from wingmanmatch_server.coaching.conversation_store import ConversationStore
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.resilience.breaker import Breaker, Limits
from wingmanmatch_server.resilience.retry import Retry, RetryLimits

TTL = timedelta(hours=72)


def create_store(redis: RedisServer, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> ConversationStore:
    """Return a store on a real server."""
    breaker = Breaker("redis", Limits(3, 30.0), lambda: 0.0)
    retry = Retry(RetryLimits(attempts=1, base=0.0), breaker, lambda: 0.0, lambda: 0.0)
    return ConversationStore(redis, breaker, retry, ttl=TTL, now=now, new_id=lambda: str(uuid.uuid4()))


async def converse(store: ConversationStore, user_id: str, question: str = "Hello?", *, minor: bool = False) -> str:
    """Have a conversation of one exchange and return its id."""
    begun = await store.begin(await store.find(user_id, None))
    assert await store.add(begun, question, "Hello!", minor=minor)
    return begun.id
