"""The catalogue under any order of reads, changes and lost copies: nobody gets what was changed before they asked."""

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from wingmanmatch_server.challenge.catalogue import Catalogue
from wingmanmatch_server.challenge.rows import Challenge, ChallengeList

STEPS = ("ask", "change", "change_unheard", "lose_copies", "answer_oldest", "answer_newest", "leave")


class World:
    """A database that is changed, copies that are lost, and callers. Every answer waits until it is let through."""

    def __init__(self) -> None:
        self.catalogue = Catalogue(self, self, lambda: 0.0)
        self.content = 0
        self.heard = 0
        self.changes_heard = 0
        self.most_reading = 0
        self.asked: list[tuple[int, asyncio.Task[Any]]] = []
        self._copies: dict[str, Sequence[Challenge]] = {}
        self._waiting: list[asyncio.Event] = []
        self._reading = 0

    async def list_challenges(self) -> ChallengeList:
        """Answer with what was there when the question came."""
        self._reading += 1
        self.most_reading = max(self.most_reading, self._reading)
        seen = self.content
        await self._pass()
        self._reading -= 1
        return ChallengeList(str(seen), (Challenge(str(seen), "", 1, "BEGINNER", ""),))

    async def get_version(self, known_version: str) -> str:
        """Never asked: changes are heard of."""
        raise AssertionError(known_version)

    async def get(self, version: str) -> Sequence[Challenge] | None:
        """Return a copy, as it was when the question came."""
        copy = self._copies.get(version)
        await self._pass()
        return copy

    async def put(self, version: str, challenges: Sequence[Challenge]) -> None:
        """Keep a copy, some time later."""
        await self._pass()
        self._copies[version] = challenges

    def ask(self) -> None:
        """Let somebody ask, and note what was the last change heard of."""

        async def ask() -> Any:
            return await self.catalogue.challenges()

        self.asked.append((self.heard, asyncio.create_task(ask())))

    def change_unheard(self) -> None:
        """Change the catalogue; the news is under way."""
        self.content += 1

    def change(self) -> None:
        """Change the catalogue, and let that be heard."""
        self.content += 1
        self.heard, self.changes_heard = self.content, self.changes_heard + 1
        self.catalogue.changed()

    def lose_copies(self) -> None:
        """Forget all copies."""
        self._copies.clear()

    def answer_oldest(self) -> None:
        """Let what has waited longest through."""
        if self._waiting:
            self._waiting.pop(0).set()

    def answer_newest(self) -> None:
        """Let what came last through."""
        if self._waiting:
            self._waiting.pop().set()

    def leave(self) -> None:
        """Let the last caller give up."""
        if self.asked:
            self.asked.pop()[1].cancel()

    async def settle(self) -> None:
        """Let every task do what it can do now."""
        for _ in range(10):
            await asyncio.sleep(0)

    async def end(self) -> None:
        """Let everything through until nobody waits."""
        async with asyncio.timeout(5):
            while self._waiting or not all(task.done() for _, task in self.asked):
                self.answer_oldest()
                await self.settle()

    async def _pass(self) -> None:
        gate = asyncio.Event()
        self._waiting.append(gate)
        await gate.wait()


@settings(max_examples=100, deadline=None)
@given(plan=st.lists(st.sampled_from(STEPS), max_size=40))
async def test_nobody_gets_what_was_changed_before_they_asked(plan: list[str]) -> None:
    """Between two changes heard of, one read at a time; and each answer is as new as the last change heard of."""
    world = World()
    for step in plan:
        getattr(world, step)()
        await world.settle()
    await world.end()
    for since, task in world.asked:
        (challenge,) = task.result()
        assert since <= int(challenge.id) <= world.content
    assert world.most_reading <= 1 + world.changes_heard
