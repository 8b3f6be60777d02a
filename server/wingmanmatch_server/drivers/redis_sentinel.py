"""The primary that sentinels name, and how a change of it is noticed at once.

redis-py asks the sentinels only when it makes a connection, and a demoted primary closes those it has only many seconds
after another was promoted: until then it goes on acknowledging writes that will be lost.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

import structlog
from redis import exceptions
from redis.asyncio.connection import BlockingConnectionPool
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

from wingmanmatch_server.drivers.redis_connections import raise_lost_cancellation

log = structlog.get_logger(__name__)

SWITCHED = "+switch-master"
PROMOTED = "+promoted-slave"  # comes earlier where several replicas have to follow the new primary first
CHANNELS = (SWITCHED, PROMOTED)
SUBSCRIPTION_CHECK = 5.0  # seconds of silence after which a sentinel is asked whether it lives
RESUBSCRIBE_DELAY = 1.0
ANNOUNCED_FOR = 30.0  # seconds in which all sentinels have heard of a change from one another

Address = tuple[str, int]


class Switch(NamedTuple):
    """A change of the primary, and when it was heard of in seconds of a monotonic clock."""

    old: Address
    new: Address
    heard: float


class SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the primary; who finds none free waits for one."""


class Sentinels(Sentinel):
    """The sentinels, of whom some may know later than others that the primary changed."""

    def __init__(self, *arguments: Any, clock: Callable[[], float] = time.monotonic, **options: Any) -> None:
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]
        self._clock = clock
        self._switch: Switch | None = None

    @property
    def announced(self) -> Address | None:
        """The primary that was announced last, while not all of them may have heard of it."""
        switch = self._switch
        return switch.new if switch and self._clock() - switch.heard < ANNOUNCED_FOR else None

    def note(self, old: Address, new: Address) -> None:
        """Remember a change that one of them announced."""
        self._switch = Switch(old, new, self._clock())

    async def discover_master(self, service_name: str) -> Address:
        """Return the primary's address, even if the sentinel that answers has not heard of the last change."""
        host, port = await super().discover_master(service_name)
        found = (host, int(port))
        return self.announced or found if self._switch and found == self._switch.old else found


class SentinelFollower:
    """Hears from every sentinel when the primary changes."""

    def __init__(self, sentinels: Sentinels, service: str, pool: SentinelPool, on_change: Callable[[], object]) -> None:
        """`on_change` is called when the pool's connections lead to the wrong server."""
        self._sentinels = sentinels
        self._service = service
        self._pool = pool
        self._on_change = on_change

    def start(self) -> Sequence["asyncio.Task[None]"]:
        """Start listening, to each sentinel by a task of its own."""
        return [asyncio.create_task(self._follow(each)) for each in list(self._sentinels.sentinels)]

    async def _follow(self, sentinel: Any) -> None:
        heard = True
        while True:
            raise_lost_cancellation()
            try:
                async with aclosing(sentinel.pubsub()) as subscription:
                    await subscription.subscribe(*CHANNELS)
                    await self._catch_up()
                    heard = True
                    await self._listen(subscription, sentinel)
            except (exceptions.RedisError, OSError, TimeoutError) as error:
                if heard:  # logged once an outage, not once an attempt
                    log.warning("sentinel_not_heard", error=type(error).__name__)
                heard = False
            await asyncio.sleep(RESUBSCRIBE_DELAY)

    async def _catch_up(self) -> None:
        """Notice a change that was announced while nobody listened."""
        known = self._pool.master_address
        if known and await self._sentinels.discover_master(self._service) != known:
            self._on_change()

    async def _listen(self, subscription: Any, sentinel: Any) -> None:
        while True:
            raise_lost_cancellation()
            message = await subscription.get_message(ignore_subscribe_messages=True, timeout=SUBSCRIPTION_CHECK)
            if message is None:
                await subscription.ping()
            elif message["type"] == "message":
                await self._heard(message["channel"].decode(), message["data"].decode().split(" "), sentinel)

    async def _heard(self, channel: str, words: Sequence[str], sentinel: Any) -> None:
        if channel == SWITCHED and words[0] == self._service:
            _, old_host, old_port, new_host, new_port = words
            self._changed((old_host, int(old_port)), (new_host, int(new_port)))
        elif channel == PROMOTED and self._pool.master_address:
            host, port = await sentinel.sentinel_get_master_addr_by_name(self._service)
            self._changed(self._pool.master_address, (host.decode(), int(port)))

    def _changed(self, old: Address, new: Address) -> None:
        if new in (old, self._pool.master_address, self._sentinels.announced):
            return  # no change, or announced before by another sentinel
        log.warning("redis_primary_changed")
        self._sentinels.note(old, new)
        self._on_change()
