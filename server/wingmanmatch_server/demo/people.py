"""The people of the story."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from wingmanmatch.matching.v1 import matching_pb2

Say = Callable[[str], None]


class DemoFailed(Exception):
    """The journey did not go as it should; the text says where."""


@dataclass(frozen=True, slots=True)
class Person:
    """Someone in the story."""

    name: str
    level: matching_pb2.ExperienceLevel.ValueType
    archetype: matching_pb2.ConfidenceArchetype.ValueType
    miles_north: float
    time_zone: str
    user_id: str

    @property
    def address(self) -> str:
        """Where the person's mail goes; nobody reads example.org."""
        return f"{self.name.lower()}.{self.user_id[:8]}@example.org"


def new_people() -> tuple[Person, Person, Person]:
    """Return the three, who did not exist before."""
    return (
        Person(
            "Ada",
            matching_pb2.EXPERIENCE_LEVEL_BEGINNER,
            matching_pb2.CONFIDENCE_ARCHETYPE_SCHOLAR,
            0.0,
            "Europe/Vienna",
            str(uuid.uuid4()),
        ),
        Person(
            "Ben",
            matching_pb2.EXPERIENCE_LEVEL_INTERMEDIATE,
            matching_pb2.CONFIDENCE_ARCHETYPE_NATURALIST,
            1.2,
            "Europe/London",
            str(uuid.uuid4()),
        ),
        Person(
            "Chloe",
            matching_pb2.EXPERIENCE_LEVEL_BEGINNER,
            matching_pb2.CONFIDENCE_ARCHETYPE_GHOST,
            6.5,
            "Europe/Vienna",
            str(uuid.uuid4()),
        ),
    )


def expect(fact: bool, step: str) -> None:  # noqa: FBT001
    """Raise DemoFailed about the step unless the fact holds."""
    if not fact:
        raise DemoFailed(f"the step '{step}' did not go as it should")
