"""What the store returns. Fields are named as in the API; enum values are names without their prefix."""

from dataclasses import dataclass
from typing import Any

from wingmanmatch_server.drivers.results import Moment


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge of the catalogue, or one that left it."""

    id: str
    title: str
    points: int
    difficulty: str
    description: str


@dataclass(frozen=True, slots=True)
class ChallengeList:
    """The whole catalogue, the easiest first. Equal versions mean equal catalogues."""

    version: str
    challenges: tuple[Challenge, ...]


@dataclass(frozen=True, slots=True)
class UserChallenge:
    """A person's attempt at a challenge. `submit_time` is None until it was submitted."""

    id: str
    user_id: str
    challenge: Challenge
    state: str
    notes: str
    earned_points: int
    create_time: Moment
    submit_time: Moment | None
    expire_time: Moment


@dataclass(frozen=True, slots=True)
class SubmittedChallenge:
    """An attempt that was submitted, and the sum of the person's points with it."""

    user_challenge: UserChallenge
    total_points: int


@dataclass(frozen=True, slots=True)
class UserChallengePage:
    """A person's attempts, newest first, and the sum of the person's points.

    `next_position` is the `after` of the next page, None at the end of the list.
    """

    user_challenges: tuple[UserChallenge, ...]
    next_position: dict[str, Any] | None
    total_points: int


@dataclass(frozen=True, slots=True)
class SharedChallenge:
    """All that a link to an attempt shows."""

    first_name: str
    challenge: Challenge
    state: str
