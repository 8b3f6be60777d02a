"""Whatever changes at once about the same two people, nothing waits in a circle."""

import random
from collections.abc import Iterable, Sequence

import pytest

from support.databases import fresh_database
from support.matrix import (
    Matrix,
    blocks_of_mutations,
    count_deadlocks,
    drives,
    open_matrix,
    pairs_of_mutations,
)
from support.mutations import MUTATIONS


async def deadlocks_of(admin_dsn: str, rounds: Iterable[Sequence[str]], turns: int) -> tuple[int, Matrix]:
    """Drive the rounds, each in each situation so many times, and return how many deadlocks there were."""
    source = random.Random(1)
    async with fresh_database(admin_dsn) as dsn:
        async with open_matrix(dsn, source) as matrix:
            for functions, situation in drives(rounds, turns):
                await matrix.meet(functions, situation)
        return await count_deadlocks(admin_dsn, dsn), matrix


async def test_every_mutation_is_driven(fresh_database_dsn: str) -> None:
    """The tests below know each function that may write: a new one is to be added to support/mutations.py."""
    async with open_matrix(fresh_database_dsn, random.Random(1)) as matrix:
        assert await matrix.mutating_functions() == set(MUTATIONS)


@pytest.mark.parametrize("other", ["upsert_profile", "expire_matches", "delete_profile"])
async def test_a_profile_is_deleted_meanwhile(admin_dsn: str, other: str) -> None:
    """Erasing a person does not deadlock with what creates, changes or times out something of the person."""
    deadlocks, matrix = await deadlocks_of(admin_dsn, [("delete_profile", other) * 8], turns=2)
    assert deadlocks == 0
    assert matrix.outcomes["delete_profile", "done"] > 0
    assert matrix.outcomes[other, "done"] > 0


async def test_every_pair_of_mutations_meets(admin_dsn: str) -> None:
    """Sixteen callers at a time, until each two functions have met in each situation: no deadlock."""
    deadlocks, matrix = await deadlocks_of(admin_dsn, blocks_of_mutations(random.Random(1)), turns=1)
    assert deadlocks == 0
    assert {name for name, outcome in matrix.outcomes if outcome == "done"} == set(MUTATIONS)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_every_pair_of_mutations_meets_alone(admin_dsn: str) -> None:
    """Each two functions have sixteen callers, a few hundred calls in all, to themselves: no deadlock."""
    deadlocks, matrix = await deadlocks_of(admin_dsn, pairs_of_mutations(), turns=3)
    assert deadlocks == 0
    assert {name for name, outcome in matrix.outcomes if outcome == "done"} == set(MUTATIONS)
