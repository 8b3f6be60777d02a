"""Plans by fixed rules."""

import itertools
import uuid
from dataclasses import replace
from typing import Any

import pytest

from wingmanmatch_server.coaching.planner import LEVELS, VENUES, by_catalogue
from wingmanmatch_server.coaching.rows import CatalogueEntry, PlanFacts, PlannedPerson

CATALOGUE = tuple(
    CatalogueEntry(f"{level}-{number}", f"{level} {number}", level) for level in LEVELS for number in range(4)
)


def person(level: str, archetype: str = "GHOST", done: tuple[str, ...] = ()) -> PlannedPerson:
    """Return somebody."""
    return PlannedPerson(f"{level}-{archetype}", level, archetype, done)


def facts(requester: PlannedPerson, invitee: PlannedPerson, **changes: Any) -> PlanFacts:
    """Return what a plan is made from."""
    return replace(PlanFacts("m", requester, invitee, CATALOGUE), **changes)


def test_same_facts_give_the_same_plan() -> None:
    """In whatever order the catalogue comes."""
    given = facts(person("BEGINNER"), person("INTERMEDIATE", "SCHOLAR"))
    assert by_catalogue(given) == by_catalogue(replace(given, challenges=CATALOGUE[::-1]))


def test_pairs_do_not_all_do_the_same() -> None:
    """What is left to choose is chosen by the match."""
    plans = {
        by_catalogue(facts(person("BEGINNER"), person("ADVANCED"), match_id=str(uuid.UUID(int=number)))).challenges[0]
        for number in range(40)
    }
    assert len(plans) == 4


@pytest.mark.parametrize(("mine", "theirs"), list(itertools.product(LEVELS, LEVELS)))
def test_challenges_fit_the_level(mine: str, theirs: str) -> None:
    """The requester's first, each of the person's own level."""
    plan = by_catalogue(facts(person(mine), person(theirs)))
    assert [each.title.split()[0] for each in plan.challenges] == [mine, theirs]
    assert not plan.by_coach


def test_nothing_is_done_twice() -> None:
    """Unless everything was done: then anything is better than nothing."""
    own = tuple(each.id for each in CATALOGUE if each.difficulty == "ADVANCED")
    plan = by_catalogue(facts(person("ADVANCED", done=own), person("BEGINNER")))
    assert plan.challenges[0].title.startswith("INTERMEDIATE")
    everything = tuple(each.id for each in CATALOGUE)
    plan = by_catalogue(facts(person("ADVANCED", done=everything), person("BEGINNER")))
    assert plan.challenges[0].title.startswith("ADVANCED")


@pytest.mark.parametrize("archetype", VENUES)
def test_place_suits_the_less_experienced(archetype: str) -> None:
    """Who needs it more decides."""
    plan = by_catalogue(facts(person("ADVANCED", "SPRINTER"), person("BEGINNER", archetype)))
    assert plan.venue_idea == VENUES[archetype][0]


def test_empty_catalogue_leaves_the_place() -> None:
    """A plan without challenges is still one."""
    plan = by_catalogue(facts(person("BEGINNER"), person("BEGINNER"), challenges=()))
    assert plan.venue_idea
    assert plan.challenges == []
