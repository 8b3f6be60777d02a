"""What is known of empty buckets: a denied caller who comes back too early costs Redis nothing."""

import asyncio
import math
from collections.abc import Callable, Iterable

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.ratelimit.batch import Answer, Ask
from wingmanmatch_server.ratelimit.policies import MICROSECONDS
from wingmanmatch_server.ratelimit.token_bucket import FORGET_CHANNEL

log = structlog.get_logger(__name__)

SIZE = 10_000
RESUBSCRIBE_DELAY = 0.25
KEY_START = "rl:{"  # of every bucket's key


class Denials:
    """The newest denials, each until the instant at which what was denied may pass.

    What is remembered is a bound: a bucket is at least that empty, as long as nobody puts tokens back. It is used only
    while this process hears of everyone who does.
    """

    def __init__(self, clock: Callable[[], float], size: int = SIZE) -> None:
        """`clock` returns monotonic seconds."""
        self._clock = clock
        self._size = size
        self._full_at: dict[str, tuple[float, int]] = {}
        self._hearing = False
        # Raised whenever something is forgotten: a denial asked for before that may be out of date.
        self.epoch = 0

    def know_none_of(self, keys: Iterable[str]) -> bool:
        """Tell whether nothing is remembered of any of these buckets."""
        return self._full_at.keys().isdisjoint(keys)

    def known(self, ask: Ask) -> Answer | None:
        """Return the denial that Redis would answer with, or None if Redis has to be asked."""
        entry = self._full_at.get(ask.key)
        if entry is None:
            return None
        full_at, interval = entry
        limit, debt = ask.limit, (full_at - self._clock()) * MICROSECONDS
        wait = debt + (ask.cost - limit.capacity) * interval
        if wait <= 0 or interval != limit.interval:
            if debt <= 0:
                del self._full_at[ask.key]
            return None
        remaining = max(int(limit.capacity - debt / interval), 0)
        return Answer(0, remaining, math.ceil(wait), math.ceil(debt))

    def note(self, ask: Ask, answer: Answer, as_of: float, epoch: int) -> None:
        """Remember a denial that was asked for when `self.epoch` was `epoch`."""
        if not self._hearing or epoch != self.epoch or answer.retry <= 0:
            return
        if len(self._full_at) >= self._size:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[ask.key] = (as_of + answer.reset / MICROSECONDS, ask.limit.interval)

    def forget(self, key: str | None = None) -> None:
        """Forget one bucket, or all of them."""
        self.epoch += 1
        if key is None:
            self._full_at.clear()
        else:
            self._full_at.pop(key, None)

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
