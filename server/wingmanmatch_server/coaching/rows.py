"""What the store returns, and so all that the coach can know of people. Enum values are names without their prefix."""

from dataclasses import dataclass

from wingmanmatch_server.drivers.results import Moment


@dataclass(frozen=True, slots=True)
class KnownProfile:
    """What is known of a person with a profile. `time_zone` is the name of an IANA zone."""

    experience_level: str
    confidence_archetype: str
    time_zone: str


@dataclass(frozen=True, slots=True)
class KnownChallenge:
    """The challenge that a person has under way."""

    title: str
    difficulty: str
    expire_time: Moment


@dataclass(frozen=True, slots=True)
class KnownMeetup:
    """A person's next meetup, and the title of the person's own challenge in it."""

    scheduled_time: Moment
    challenge_title: str | None


@dataclass(frozen=True, slots=True)
class PersonContext:
    """What the coach knows of a person, each None where there is nothing. No name, address, place or free text."""

    profile: KnownProfile | None
    match_count: int
    challenge: KnownChallenge | None
    meetup: KnownMeetup | None


@dataclass(frozen=True, slots=True)
class StandingErasure:
    """In how many seconds the id of an erased person may return; None where no erasure stands."""

    retry_after_seconds: float | None


@dataclass(frozen=True, slots=True)
class PlannedPerson:
    """One of the two people of a plan."""

    user_id: str
    experience_level: str
    confidence_archetype: str
    done_challenge_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A challenge that a plan can propose."""

    id: str
    title: str
    difficulty: str


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What a plan for a match is made from."""

    match_id: str
    requester: PlannedPerson
    invitee: PlannedPerson
    challenges: tuple[CatalogueEntry, ...]
