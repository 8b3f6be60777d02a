"""What the store returns. Fields are named as in the API; enum values are names without their prefix."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from wingmanmatch_server.drivers.results import Moment


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile, without the location."""

    user_id: str
    email: str
    first_name: str
    last_name: str
    bio: str
    photo_url: str
    experience_level: str
    confidence_archetype: str
    city: str
    location_privacy: str
    max_travel_miles: int
    time_zone: str
    locale: str
    active: bool
    create_time: Moment
    update_time: Moment


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """A profile as it was stored. `relocated`: this call made a far move; False where a first answer is repeated."""

    profile: Profile
    relocated: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a person may see of another whom they could invite."""

    user_id: str
    first_name: str
    bio: str
    photo_url: str
    experience_level: str
    confidence_archetype: str
    distance_miles: float
    reputation: int


@dataclass(frozen=True, slots=True)
class CandidatePage:
    """Candidates, nearest first. `next_position` is the `after` of the next page, None at the end of the list."""

    candidates: tuple[Candidate, ...]
    next_position: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Match:
    """A match. The id of an erased person is the nil UUID. `respond_time` is None until somebody answered."""

    id: str
    requester_id: str
    invitee_id: str
    state: str
    venue_suggestion: str
    message: str
    create_time: Moment
    respond_time: Moment | None
    expire_time: Moment


@dataclass(frozen=True, slots=True)
class MatchPage:
    """Matches, newest first. `next_position` is the `after` of the next page, None at the end of the list."""

    matches: tuple[Match, ...]
    next_position: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class RequestedMatch:
    """The match that a request made or accepted, and the other person."""

    match: Match
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class AnsweredMatch:
    """The match that was answered, and the next invitation with its candidate where one was made."""

    match: Match
    next_match: Match | None
    next_candidate: Candidate | None


@dataclass(frozen=True, slots=True)
class Reputation:
    """What others may know of a person's reliability."""

    user_id: str
    score: int
    badge: str
    completed_count: int
    no_show_count: int


@dataclass(frozen=True, slots=True)
class SharedMatch:
    """All that a link to a match shows."""

    first_name: str
    respond_time: Moment


@dataclass(frozen=True, slots=True)
class MatchEvent:
    """What happened to a match, with the match as it was then. `sequence` numbers a person's events without gaps."""

    sequence: int
    kind: str
    event_time: Moment
    meetup_id: str | None
    match: Match


class FeedPosition(NamedTuple):
    """A place in a person's feed of events: behind the event of that number, or with None at the last event."""

    user_id: str
    after: int | None


@dataclass(frozen=True, slots=True)
class Feed:
    """A person's events after the number `after`, and the number of the last there is.

    There are no events where `after` is None. `last_sequence` is None for somebody who has no profile.
    """

    user_id: str
    after: int | None
    last_sequence: int | None
    events: tuple[MatchEvent, ...]

    @property
    def has_more(self) -> bool:
        """Whether more events follow those that were read."""
        return bool(self.events) and self.last_sequence is not None and self.events[-1].sequence < self.last_sequence


@dataclass(frozen=True, slots=True)
class Feeds:
    """The feeds in which something follows."""

    feeds: tuple[Feed, ...]


@dataclass(frozen=True, slots=True)
class Deletion:
    """The erasure that deleting a profile began; None where a repeated request finds the person erased."""

    erasure_id: str | None


@dataclass(frozen=True, slots=True)
class PendingErasure:
    """An erasure whose clean-up outside the database is due."""

    erasure_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class PendingErasures:
    """Those that one caller claimed."""

    erasures: tuple[PendingErasure, ...]


@dataclass(frozen=True, slots=True)
class ExportPage:
    """Records as the database holds them, oldest first. `next_after` continues the list, None at its end."""

    records: tuple[dict[str, Any], ...]
    next_after: dict[str, Any] | None
