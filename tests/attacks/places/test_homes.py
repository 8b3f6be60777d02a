"""Nobody's home is found by what an ordinary account is answered."""

import random
import statistics
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.places import Cell, Place, cell_of, meters
from support.stalkers import PRIVACY, Person, Stalker, moved, new_id, world

SEED = 11


@dataclass(frozen=True)
class Found:
    """What an attack on one person brought: all answers, the place that they lead to, and how far that is off."""

    heard: list[bytes]
    calls: int
    place: Place
    target: str
    home: Place

    def error(self, cell: Cell) -> float:
        """Return the metres from the home to the best guess: the middle of the cell that was found."""
        return meters(cell.centre, self.home)


async def attacked(
    admin_dsn: str, folder: Path, *, homes: int, calls: int, city_only: bool, second_home: bool
) -> list[Found]:
    """Attack people in a world of their own, each with accounts of the attacker's; the same in every run.

    With `second_home` everybody lives elsewhere in the same cell.
    """
    found = []
    async with world(admin_dsn, folder) as client:
        for number in range(homes):
            source = random.Random(SEED * 1000 + number)
            target, cell, corners = somebody(source, city_only=city_only)
            home = cell.at(*corners[second_home])
            await Person(client, target, home).settle(location_privacy=PRIVACY[city_only])
            stalker = Stalker(client, target, rough_idea(source, cell), source)
            place = await stalker.attack(calls)
            found.append(Found(stalker.heard, stalker.calls, place, target, home))
    return found


Parts = tuple[float, float]


def somebody(source: random.Random, *, city_only: bool) -> tuple[str, Cell, tuple[Parts, Parts]]:
    """Return an id, a cell somewhere on earth, and where in it the person's two homes are."""
    cell = cell_of((source.uniform(-55, 65), source.uniform(-170, 170)), city_only=city_only)
    homes = (source.random(), source.random()), (source.random(), source.random())
    return new_id(source), cell, homes


def rough_idea(source: random.Random, cell: Cell) -> Place:
    """Return where the attacker begins: some miles from the person's area."""
    return moved(cell.centre, source.uniform(-6, 6), source.uniform(-6, 6))


def check_homes(found: list[Found], *, city_only: bool, median: float) -> None:
    """Fail unless the attacks measured well, and still brought no more than the cell."""
    errors = []
    for each in found:
        cell = cell_of(each.home, city_only=city_only)
        assert meters(each.place, cell.stand_in(each.target)) < 1, "the attack finds the stand-in"
        errors.append(each.error(cell))
    print(
        f"{len(found)} people, {min(each.calls for each in found)} calls each: median error "
        f"{statistics.median(errors):.0f} m, least {min(errors):.0f} m"
    )
    assert statistics.median(errors) >= median
    assert sum(error < 50 for error in errors) < 0.05 * len(errors)


@pytest.mark.parametrize(("city_only", "median"), [(False, 350), (True, 3000)])
async def test_home_is_found_to_its_cell_only(
    admin_dsn: str, tmp_path: Path, *, city_only: bool, median: float
) -> None:
    """By radius, shown distances, order, pages and invitations an attacker gets the cell, and two homes are one."""
    size = {"homes": 3, "calls": 150, "city_only": city_only}
    here = await attacked(admin_dsn, tmp_path / "here", second_home=False, **size)
    there = await attacked(admin_dsn, tmp_path / "there", second_home=True, **size)
    check_homes(here, city_only=city_only, median=median)
    assert [each.heard for each in here] == [each.heard for each in there]
    assert all(each.calls >= 150 for each in here)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("city_only", "median"), [(False, 350), (True, 3000)])
async def test_twenty_homes_and_five_hundred_calls_each(
    admin_dsn: str, tmp_path: Path, *, city_only: bool, median: float
) -> None:
    """Twenty people and five hundred calls against each bring no more than three people and fewer calls."""
    size = {"homes": 20, "calls": 500, "city_only": city_only}
    here = await attacked(admin_dsn, tmp_path / "here", second_home=False, **size)
    there = await attacked(admin_dsn, tmp_path / "there", second_home=True, **size)
    check_homes(here, city_only=city_only, median=median)
    check_homes(there, city_only=city_only, median=median)
    assert [each.heard for each in here] == [each.heard for each in there]
    assert all(each.calls >= 500 for each in here)
