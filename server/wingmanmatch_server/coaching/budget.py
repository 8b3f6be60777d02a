"""A person's tokens for a day: reserved before an answer, settled after it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from wingmanmatch_server import errors

T = TypeVar("T")
log = structlog.get_logger(__name__)

SECONDS_A_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Taken:
    """What a bucket answered; `retry_after` in seconds, None where it allowed.

    `exact` is False where the bucket of this process stood in for the one that all share.
    """

    allowed: bool
    remaining: int
    retry_after: float | None
    exact: bool = True


# Both take a person's id and a number of tokens.
Take = Callable[[str, int], Awaitable[Taken]]
PutBack = Callable[[str, int], Awaitable[None]]
Capacity = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Reservation:
    """Tokens taken for an answer that is not written yet."""

    user_id: str
    tokens: int
    exact: bool


class TokenBudget:
    """Tokens by person, in a bucket that fills in a day."""

    def __init__(self, take: Take, put_back: PutBack, capacity: Capacity) -> None:
        """`take` charges all or nothing; `put_back` fills no bucket above its capacity, which is a person's day."""
        self._take = take
        self._put_back = put_back
        self._capacity = capacity

    async def reserve(self, user_id: str, tokens: int) -> Reservation:
        """Take what an answer may cost at most. Raises errors.ResourceExhausted COACHING_BUDGET_SPENT.

        An answer that may cost more than a whole day's budget takes all of it, and where the budget is 0 none is given.
        """
        tokens = max(1, min(tokens, self._capacity(user_id)))
        taken = await self._take(user_id, tokens)
        if not taken.allowed:
            message = "the day's coaching budget is spent"
            raise errors.ResourceExhausted("COACHING_BUDGET_SPENT", message, retry_after=taken.retry_after)
        return Reservation(user_id, tokens, taken.exact)

    async def settle(self, reservation: Reservation, tokens: int) -> None:
        """Put back what was not needed, or take what was needed more, as far as the bucket has it.

        Never raises: the answer is written already. What cannot be settled stays reserved.
        """
        difference = reservation.tokens - tokens
        try:
            if difference > 0 and reservation.exact:
                await self._put_back(reservation.user_id, difference)
            elif difference < 0:
                await self._take_up_to(reservation.user_id, -difference)
        except errors.Unavailable as error:
            log.warning("coaching_tokens_unsettled", reason=error.reason)

    async def _take_up_to(self, user_id: str, tokens: int) -> None:
        tokens = min(tokens, self._capacity(user_id))
        taken = await self._take(user_id, tokens)
        if not taken.allowed and taken.remaining > 0:
            await self._take(user_id, min(tokens, taken.remaining))


async def whole(work: Coroutine[Any, Any, T]) -> T:
    """Do `work` to its end, however often the caller is cancelled meanwhile, and only then be cancelled."""
    task, cancelled = asyncio.ensure_future(work), None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()
