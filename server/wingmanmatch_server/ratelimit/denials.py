"""What is known of empty buckets: a denied caller who comes back too early costs Redis nothing."""

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.ratelimit.batch import Answer, Ask
from wingmanmatch_server.ratelimit.policies import MICROSECONDS
from wingmanmatch_server.ratelimit.token_bucket import FORGET_CHANNEL

log = structlog.get_logger(__name__)

SIZE = 10_000
LONGEST = 2.0  # seconds
RESUBSCRIBE_DELAY = 0.25
KEY_START = "rl:{"  # of every bucket's key


class _Memory(NamedTuple):
    """A bucket without a token: when it will be full, the interval of a token, and until when that cannot change."""

    full_at: float
    interval: int
    until: float


class Denials:
    """The newest denials by buckets without a token, each until the next token is there and for LONGEST at most.

    Until then no caller can take a token, whatever the cost and whichever process decides, so what is remembered is
    what Redis would say. It is used only while this process hears of everyone who puts tokens back. Keys that are
    deleted in Redis itself are announced to no process, hence LONGEST.
    """

    def __init__(self, clock: Callable[[], float], size: int = SIZE) -> None:
        """`clock` returns monotonic seconds."""
        self._clock = clock
        self._size = size
        self._memory: dict[str, _Memory] = {}
        self._hearing = False
        # Raised whenever something is forgotten: a denial asked for before that may be out of date.
        self.epoch = 0

    def know_none_of(self, keys: Iterable[str]) -> bool:
        """Tell whether nothing is remembered of any of these buckets."""
        return self._memory.keys().isdisjoint(keys)

    def known(self, ask: Ask) -> Answer | None:
        """Return the denial that Redis would answer with, or None if Redis has to be asked."""
        memory = self._memory.get(ask.key)
        if memory is None:
            return None
        limit, now = ask.limit, self._clock()
        debt = (memory.full_at - now) * MICROSECONDS
        wait = debt + (ask.cost - limit.capacity) * limit.interval
        if now >= memory.until or limit.interval != memory.interval:
            del self._memory[ask.key]
            return None
        return Answer(0, 0, math.ceil(wait), math.ceil(debt)) if 0 < ask.cost <= limit.capacity and wait > 0 else None

    def note(self, ask: Ask, answer: Answer, as_of: float, epoch: int) -> None:
        """Remember a denial that was asked for when `self.epoch` was `epoch`."""
        if not self._hearing or epoch != self.epoch or answer.retry <= 0 or answer.remaining > 0:
            return
        if len(self._memory) >= self._size:
            del self._memory[next(iter(self._memory))]
        limit, full_at = ask.limit, as_of + answer.reset / MICROSECONDS
        next_token = full_at - (limit.capacity - 1) * limit.interval / MICROSECONDS
        self._memory[ask.key] = _Memory(full_at, limit.interval, min(next_token, as_of + LONGEST))

    def forget(self, key: str | None = None) -> None:
        """Forget one bucket, or all of them."""
        self.epoch += 1
        if key is None:
            self._memory.clear()
        else:
            self._memory.pop(key, None)

    async def follow(self, server: RedisServer) -> None:
        """Hear what is forgotten anywhere, until cancelled; remember nothing while it cannot be heard."""
        while True:
            try:
                async with server.subscribed(FORGET_CHANNEL) as messages:
                    self._hearing = True
                    async for message in messages:
                        self.forget(_key_in(message))
            except errors.Unavailable:
                if self._hearing:  # told once an outage, not at each attempt to hear again
                    log.warning("denials_unheard")
            except Exception:
                log.exception("denials_unheard")
            finally:
                self._hearing = False
                self.forget()
            await asyncio.sleep(RESUBSCRIBE_DELAY)


def _key_in(message: bytes) -> str | None:
    """Return the key that a message names, or None, for every key, where a newer server says something else."""
    key = message.decode(errors="replace")
    return key if key.startswith(KEY_START) else None
