"""What a new project's catalogue holds, without any seed."""

from uuid import UUID

import asyncpg
import pytest

from support.challenges import Challenges

DIFFICULTIES = ["BEGINNER", "INTERMEDIATE", "ADVANCED"]
# Of what no challenge may be made: persuading, counting and rating people, or going on after a no.
UNSEEMLY = ("number", "convince", "persuade", "flirt", "date", "attractive", "girl", "guy", "target", "reject", "score")


async def test_catalogue_of_a_new_project(challenges: Challenges) -> None:
    """There are enough of each difficulty, the easiest first, and what is harder is worth more."""
    catalogue = await challenges.catalogue()
    by_difficulty = {level: [each for each in catalogue if each.difficulty == level] for level in DIFFICULTIES}
    assert min(map(len, by_difficulty.values())) >= 8
    assert list(catalogue) == [each for level in DIFFICULTIES for each in by_difficulty[level]]
    points = [each.points for each in catalogue]
    assert points == sorted(points)
    assert len({each.title for each in catalogue}) == len(catalogue)
    result = await challenges.store._database.call_as_anonymous("list_challenges")
    fields = {"id", "title", "description", "difficulty", "points"}
    assert all(set(each) == fields for each in result["challenges"])


async def test_ids_are_for_good(challenges: Challenges) -> None:
    """They are written in the migration, a pattern of difficulty and number, and not made by the database."""
    for level, difficulty in enumerate(DIFFICULTIES, start=1):
        ids = sorted(each.id for each in await challenges.catalogue() if each.difficulty == difficulty)
        assert ids == [str(UUID(f"c1a11e9e-000{level}-4000-8000-{n:012}")) for n in range(1, len(ids) + 1)]


async def test_every_challenge_is_explained_and_seemly(challenges: Challenges) -> None:
    """Each says in two sentences or more what to do, and none speaks of people as of something to get."""
    for each in await challenges.catalogue():
        assert 100 <= len(each.description) <= 400
        assert each.description.count(". ") + each.description.count(": ") >= 1
        words = {word.strip('.,:;"?!').lower() for word in f"{each.title} {each.description}".split()}
        assert words.isdisjoint(UNSEEMLY), each.title


async def test_what_is_in_use_is_not_deleted(challenges: Challenges) -> None:
    """A challenge that somebody took on cannot be deleted, only retired; nobody takes it on any more."""
    ann = await challenges.people.join()
    attempt = await challenges.start(ann)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await challenges.sql.execute("delete from approach_challenges where id = $1", attempt.challenge.id)
    (kept,) = (await challenges.store.list_of_user(ann)).user_challenges
    assert kept.challenge == attempt.challenge
