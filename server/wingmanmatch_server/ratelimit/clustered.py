"""The buckets on a cluster, where a script sees the keys of one slot only.

A subject's buckets share a slot, so what concerns one subject is atomic as on one server. Over several slots the
scripts run side by side; all or nothing is then kept by giving back what was charged where another slot denies.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from wingmanmatch_server.drivers.redis import ScriptCall, ScriptFailed
from wingmanmatch_server.ratelimit.batch import Answer, Answers, Ask, Asks
from wingmanmatch_server.ratelimit.budget import budget
from wingmanmatch_server.ratelimit.token_bucket import NO_ANSWER, Reply, RequestId, TokenBuckets, reused

REMEMBERED = 10_000  # milliseconds for which it is known what a request_id asked
CLAIM = "1:"  # the format version before the fingerprint; docs/redis-records.md says when to raise it


class ClusteredBuckets(TokenBuckets):
    """Token buckets on a cluster."""

    async def ask(
        self,
        asks: Sequence[Ask],
        *,
        all_or_nothing: bool = False,
        peek: bool = False,
        request: RequestId | None = None,
    ) -> Reply:
        """Do as on one server, atomic in each slot.

        All or nothing over several slots charges where it can, and gives back: others may for that moment see fewer
        tokens than there are, never more.
        """
        mode = ("all" if all_or_nothing else "each", "peek" if peek else "spend")
        places = self._places_by_slot(asks)
        groups = [Asks.of([asks[place] for place in each]) for each in places]
        if request:
            await self._claim(request)
        parts = await asyncio.gather(*(self._ask(group, mode, request, _beside(group, request)) for group in groups))
        if mode == ("all", "spend") and any(map(_refuses, groups, parts)):
            parts = await asyncio.gather(*map(self._give_back, groups, parts))
        return _joined(places, parts)

    def _places_by_slot(self, asks: Sequence[Ask]) -> list[list[int]]:
        slots: dict[int, list[int]] = {}
        for place, ask in enumerate(asks):
            slots.setdefault(self._server.slot_of(ask.key), []).append(place)
        return list(slots.values())

    async def _give_back(self, asks: Asks, part: Reply) -> Reply:
        """Return what is left in a slot once what it charged is put back."""
        if _refuses(asks, part):
            return part
        # What a limit that is only tried denied was not charged.
        back = [
            ask._replace(cost=-ask.cost if answer.allowed else 0)
            for ask, answer in zip(asks, part.answers, strict=True)
        ]
        undone = await self._ask(Asks.of(back), ("each", "spend"), None)
        kept = [
            now._replace(allowed=then.allowed, retry=then.retry)
            for now, then in zip(undone.answers, part.answers, strict=True)
        ]
        return undone._replace(answers=Answers.of(kept))

    async def _claim(self, request: RequestId) -> None:
        """Remember what the request asks, or find that it asked something else before."""
        name, claim = f"rl:req:{request.name}", CLAIM + request.fingerprint
        with self._breaker.guard(), self._server.calling():
            async with budget():
                if await self._server.client.set(name, claim, nx=True, px=REMEMBERED):
                    return
                known = await self._server.client.get(name)
        if known is not None and not known.startswith(CLAIM.encode()):
            raise ScriptFailed(NO_ANSWER)
        if known is not None and known != claim.encode():
            raise reused()

    async def _run(self, calls: list[ScriptCall]) -> Sequence[Any]:
        return await self._server.run(self._script, calls)


def _refuses(asks: Asks, part: Reply) -> bool:
    answers = part.answers
    return not answers.all_pass and any(
        not answer.allowed and not ask.limit.shadow for ask, answer in zip(asks, answers, strict=True)
    )


def _beside(asks: Asks, request: RequestId | None) -> str:
    """Return where to remember the answer: in the slot of the buckets asked."""
    return f"{asks.keys[0].rpartition(':')[0]}:req:{request.name}" if request else ""


def _joined(places: Sequence[Sequence[int]], parts: Sequence[Reply]) -> Reply:
    """Return the slots' answers in the order asked."""
    answers: list[Answer | None] = [None] * sum(map(len, places))
    for each, part in zip(places, parts, strict=True):
        for place, answer in zip(each, part.answers, strict=True):
            answers[place] = answer
    in_order = Answers.of(answer for answer in answers if answer is not None)
    return Reply(in_order, min(part.as_of for part in parts))
