"""What decides while Redis is away: buckets of this process, by the same algorithm as `token_bucket.lua`."""

from collections.abc import Callable, Mapping, Sequence

from wingmanmatch_server.ratelimit.batch import Answer, Ask
from wingmanmatch_server.ratelimit.policies import MICROSECONDS, Limit, Outage

SIZE = 50_000
RETRY = MICROSECONDS  # when a caller may try again where nothing passes


class LocalBuckets:
    """Each policy's outage behaviour. A local bucket has the process's share of the capacity and of the rate."""

    def __init__(self, clock: Callable[[], float], size: int = SIZE) -> None:
        """`clock` returns monotonic seconds."""
        self._clock = clock
        self._size = size
        self._full_at: dict[str, int] = {}
        self.replicas = 1

    def clear(self) -> None:
        """Fill every bucket."""
        self._full_at.clear()

    def ask(self, asks: Sequence[Ask], *, all_or_nothing: bool, peek: bool) -> list[Answer]:
        """Answer as TokenBuckets.ask does."""
        now = int(self._clock() * MICROSECONDS)
        before = {ask.key: self._full_at.get(ask.key) for ask in asks} if all_or_nothing or peek else {}
        answers = [self._ask(ask, now) for ask in asks]
        refused = any(not answer.allowed and not ask.limit.shadow for ask, answer in zip(asks, answers, strict=True))
        if not peek and not (all_or_nothing and refused):
            return answers
        self._restore(before)
        return [self._uncharged(ask, answer, now) for ask, answer in zip(asks, answers, strict=True)]

    def _ask(self, ask: Ask, now: int) -> Answer:
        limit = ask.limit
        if limit.outage is Outage.ALLOW:
            return Answer(1, limit.capacity, 0, 0)
        if limit.outage is Outage.DENY:
            return Answer(0, 0, RETRY, RETRY)
        return self._charge(ask, now, *self._share(limit))

    def _uncharged(self, ask: Ask, answer: Answer, now: int) -> Answer:
        held = self._ask(ask._replace(cost=0), now)
        return answer._replace(remaining=held.remaining, reset=held.reset)

    def _share(self, limit: Limit) -> tuple[int, int]:
        return max(limit.capacity // self.replicas, 1), limit.interval * self.replicas

    def _charge(self, ask: Ask, now: int, capacity: int, interval: int) -> Answer:
        debt = max(self._full_at.get(ask.key, now) - now, 0)
        # A cost above the process's share must still be able to pass.
        after = debt + min(ask.cost, capacity) * interval
        wait = after - capacity * interval
        if ask.cost > 0 and wait > 0:
            return Answer(0, (capacity * interval - debt) // interval, wait, debt)
        if ask.cost > 0:
            self._write(ask.key, now + after)
        return Answer(1, (capacity * interval - after) // interval, 0, after)

    def _restore(self, before: Mapping[str, int | None]) -> None:
        for key, full_at in before.items():
            if full_at is None:
                self._full_at.pop(key, None)
            else:
                self._full_at[key] = full_at

    def _write(self, key: str, full_at: int) -> None:
        self._full_at.pop(key, None)
        while len(self._full_at) >= self._size:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[key] = full_at
