"""The store against a model of it: whatever people do in whatever order, both agree."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.challenges import DURATION_DAYS, Challenges, somebody
from wingmanmatch_server import errors
from wingmanmatch_server.challenge.rows import Challenge

PEOPLE = 2
OFFERED = 3
# Time passes by steps of days and half a day: no outcome hangs on the milliseconds that the test takes.
DAYS = (0.5, 3.0, 7.5)

person = st.integers(0, PEOPLE - 1)
operations = st.one_of(
    st.tuples(st.just("start"), person, st.integers(0, OFFERED - 1)),
    st.tuples(st.just("submit"), person, st.integers(0, 4)),
    st.tuples(st.just("pass"), st.sampled_from(DAYS)),
)


@dataclass
class Attempt:
    """What the model knows of one."""

    id: str
    owner: int
    challenge: int
    expire: float
    submitted: bool = False


class Model:
    """Attempts as people understand them, beside the store that has to agree."""

    def __init__(self, challenges: Challenges, people: list[str], catalogue: Sequence[Challenge]) -> None:
        self.challenges, self.people, self.catalogue = challenges, people, catalogue
        self.now = 0.0
        self.attempts: list[Attempt] = []

    def state(self, attempt: Attempt) -> str:
        """Return what state an attempt must be in."""
        if attempt.submitted:
            return "SUBMITTED"
        return "STARTED" if attempt.expire > self.now else "EXPIRED"

    def points(self, owner: int) -> int:
        """Return what a person must have earned."""
        mine = (each for each in self.attempts if each.owner == owner and each.submitted)
        return sum(self.catalogue[each.challenge].points for each in mine)

    async def apply(self, name: str, *arguments: Any) -> None:
        """Do one operation to both."""
        await getattr(self, f"_{name}")(*arguments)

    async def check(self) -> None:
        """Compare all that people can read."""
        for owner, user_id in enumerate(self.people):
            listed = await self.challenges.store.list_of_user(user_id, page_size=100)
            mine = [each for each in reversed(self.attempts) if each.owner == owner]
            found = [(each.id, each.state) for each in listed.user_challenges]
            assert sorted(found) == sorted((each.id, self.state(each)) for each in mine)
            assert listed.total_points == self.points(owner)

    async def _start(self, owner: int, challenge: int) -> None:
        challenge_id = self.catalogue[challenge].id
        answer = await outcome(self.challenges.store.start(self.people[owner], challenge_id))
        busy = [
            each
            for each in self.attempts
            if (each.owner, each.challenge, self.state(each)) == (owner, challenge, "STARTED")
        ]
        if busy:
            assert answer == "CHALLENGE_IN_PROGRESS"
        else:
            expire = self.now + DURATION_DAYS
            self.attempts.append(Attempt(answer.id, owner, challenge, expire))

    async def _submit(self, owner: int, back: int) -> None:
        if back >= len(self.attempts):
            return
        attempt = self.attempts[-1 - back]
        answer = await outcome(self.challenges.store.submit(attempt.id, self.people[owner]))
        if attempt.owner != owner:
            assert answer == "USER_CHALLENGE_NOT_FOUND"
        elif self.state(attempt) != "STARTED":
            assert answer == f"CHALLENGE_{self.state(attempt)}"
        else:
            attempt.submitted = True
            assert answer.total_points == self.points(owner)

    async def _pass(self, days: float) -> None:
        self.now += days
        await self.challenges.let_pass(timedelta(days=days))


async def outcome(call: Awaitable[Any]) -> Any:
    """Return the answer, or the reason of the refusal."""
    try:
        return await call
    except errors.DomainError as error:
        return error.reason


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.lists(operations, max_size=15))
async def test_store_agrees_with_the_model(challenges: Challenges, plan: list[tuple[Any, ...]]) -> None:
    """Starting, submitting and waiting in any order leave what the model says."""
    people = [await somebody(challenges) for _ in range(PEOPLE)]
    model = Model(challenges, people, await challenges.catalogue())
    for operation in plan:
        await model.apply(*operation)
        await model.check()
