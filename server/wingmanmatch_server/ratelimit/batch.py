"""What is asked of buckets and what they answer, one by one and in batches.

A batch of a thousand is mostly the same question to a thousand buckets. So it is kept in columns: the keys, and runs of
neighbours that are asked the same. It still reads as a sequence of asks or answers.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, NamedTuple

from wingmanmatch_server.ratelimit.policies import Limit


class Ask(NamedTuple):
    """One bucket, and what is asked of it; a negative cost puts tokens back."""

    key: str
    limit: Limit
    cost: int


class Answer(NamedTuple):
    """What a bucket says. `retry` is 0 where the cost passes and -1 where it never can; times are microseconds."""

    allowed: int
    remaining: int
    retry: int
    reset: int


class Run(NamedTuple):
    """How many neighbours in a batch are asked the same."""

    limit: Limit
    cost: int
    length: int


class Asks(Sequence[Ask]):
    """Asks in columns: `keys` in order, and the `runs` that they are."""

    __slots__ = ("keys", "runs")

    def __init__(self, keys: list[str], runs: list[Run]) -> None:
        self.keys = keys
        self.runs = runs

    @classmethod
    def of(cls, asks: Sequence[Ask]) -> "Asks":
        """Return some asks in columns."""
        if isinstance(asks, Asks):
            return asks
        runs = [Run(limit, cost, len(list(same))) for (limit, cost), same in groupby(asks, itemgetter(1, 2))]
        return cls([ask.key for ask in asks], runs)

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Ask]:
        keys = iter(self.keys)
        return (Ask(key, limit, cost) for limit, cost, length in self.runs for key in islice(keys, length))

    def __getitem__(self, place: Any) -> Any:
        return list(self)[place]


class Answers(Sequence[Answer]):
    """Answers in columns: `retry`, `remaining` and `reset` of each."""

    __slots__ = ("remaining", "reset", "retry")

    def __init__(self, retry: Sequence[int], remaining: Sequence[int], reset: Sequence[int]) -> None:
        self.retry = retry
        self.remaining = remaining
        self.reset = reset

    @classmethod
    def of(cls, answers: Iterable[Answer]) -> "Answers":
        """Return some answers in columns."""
        _, remaining, retry, reset = zip(*answers, strict=True)
        return cls(retry, remaining, reset)

    @classmethod
    def of_debts(cls, runs: Sequence[Run], debts: Sequence[int], waits: Sequence[int]) -> "Answers":
        """Return the answers of buckets that are full in `debts` microseconds. No `waits` at all: every cost passes."""
        remaining: list[int] = []
        for limit, _, length in runs:
            full, interval, start = limit.full, limit.interval, len(remaining)
            remaining += [(full - debt) // interval for debt in debts[start : start + length]]
        return cls(waits or [0] * len(debts), remaining, debts)

    @property
    def all_pass(self) -> bool:
        """Whether no bucket denies."""
        return not any(self.retry)

    def __len__(self) -> int:
        return len(self.retry)

    def __iter__(self) -> Iterator[Answer]:
        return map(Answer, (int(wait == 0) for wait in self.retry), self.remaining, self.retry, self.reset)

    def __getitem__(self, place: Any) -> Any:
        return list(self)[place]

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)
