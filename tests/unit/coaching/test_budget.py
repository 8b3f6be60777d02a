"""Reserving and settling, against buckets that answer as the limiter does."""

import pytest

from wingmanmatch_server import errors
from wingmanmatch_server.coaching.budget import Taken, TokenBudget


class Bucket:
    """A bucket of one person that holds what it is told to."""

    def __init__(self, capacity: int, left: int, *, exact: bool = True) -> None:
        self.capacity = capacity
        self.left = left
        self.exact = exact
        self.away = False
        self.budget = TokenBudget(self.take, self.put_back, lambda _user_id: self.capacity)

    async def take(self, _user_id: str, tokens: int) -> Taken:
        """Charge all or nothing; a cost of nothing always passes."""
        if self.away:
            raise errors.Unavailable("REDIS_UNAVAILABLE", "away")
        if tokens > self.left:
            return Taken(allowed=False, remaining=self.left, retry_after=60.0, exact=self.exact)
        self.left -= tokens
        return Taken(allowed=True, remaining=self.left, retry_after=None, exact=self.exact)

    async def put_back(self, _user_id: str, tokens: int) -> None:
        """Put tokens back."""
        if self.away:
            raise errors.Unavailable("REDIS_UNAVAILABLE", "away")
        self.left = min(self.capacity, self.left + tokens)


@pytest.mark.parametrize(
    ("reserved", "cost", "left"),
    [(300, 100, 900), (300, 300, 700), (300, 0, 1000), (300, 450, 550), (300, 5000, 0), (5000, 100, 900)],
)
async def test_answer_costs_what_it_cost(reserved: int, cost: int, left: int) -> None:
    """Whatever was reserved; more than there is takes what there is."""
    bucket = Bucket(1000, 1000)
    await bucket.budget.settle(await bucket.budget.reserve("u", reserved), cost)
    assert bucket.left == left


async def test_spent_budget_refuses() -> None:
    """And says when there will be enough."""
    bucket = Bucket(1000, 200)
    with pytest.raises(errors.ResourceExhausted) as refused:
        await bucket.budget.reserve("u", 300)
    assert (refused.value.reason, refused.value.retry_after, bucket.left) == ("COACHING_BUDGET_SPENT", 60.0, 200)


async def test_budget_of_nothing_gives_nothing() -> None:
    """A person whose budget was set to 0 is not answered."""
    with pytest.raises(errors.ResourceExhausted):
        await Bucket(0, 0).budget.reserve("u", 300)


async def test_bucket_that_stood_in_gets_nothing_back() -> None:
    """What was taken from this process's own bucket is not put into the one that all share."""
    bucket = Bucket(1000, 1000, exact=False)
    await bucket.budget.settle(await bucket.budget.reserve("u", 300), 100)
    assert bucket.left == 700


async def test_what_cannot_be_settled_stays_reserved() -> None:
    """The answer is written already: nothing is raised."""
    bucket = Bucket(1000, 1000)
    reservation = await bucket.budget.reserve("u", 300)
    bucket.away = True
    await bucket.budget.settle(reservation, 100)
    await bucket.budget.settle(reservation, 500)
    assert bucket.left == 700
