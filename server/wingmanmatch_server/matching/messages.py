"""What the wire and the store call the same things."""

import sys
from typing import Any

from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch_server.matching.rows import Candidate, Match, MatchEvent, Profile, Reputation, SharedMatch
from wingmanmatch_server.share_links import ShareLink
from wingmanmatch_server.texts.photo_addresses import PhotoAddresses
from wingmanmatch_server.wire import short_names, timestamp

_LEVEL, _ARCHETYPE, _PRIVACY = "EXPERIENCE_LEVEL_", "CONFIDENCE_ARCHETYPE_", "LOCATION_PRIVACY_"
_LEVELS = short_names(matching_pb2.ExperienceLevel.items(), _LEVEL)
_ARCHETYPES = short_names(matching_pb2.ConfidenceArchetype.items(), _ARCHETYPE)
_PRIVACIES = short_names(matching_pb2.LocationPrivacy.items(), _PRIVACY) | {
    # How the database stores it for as long as servers of the version before share it.
    "PRECISE": matching_pb2.LOCATION_PRIVACY_APPROXIMATE
}
_STATES = short_names(matching_pb2.MatchState.items(), "MATCH_STATE_")
_BADGES = short_names(matching_pb2.ReputationBadge.items(), "REPUTATION_BADGE_")
_EVENT_KINDS = short_names(matching_pb2.MatchEventKind.items(), "MATCH_EVENT_KIND_")


def profile_fields(profile: matching_pb2.Profile) -> dict[str, Any]:
    """Return what upsert_profile stores; what is unset is left out, so that its SQL default or stored value holds."""
    fields: dict[str, Any] = {
        name: getattr(profile, name)
        for name in (
            *("user_id", "email", "first_name", "last_name", "bio", "photo_url", "city"),
            *("max_travel_miles", "time_zone", "locale"),
        )
    }
    fields["experience_level"] = _level(profile.experience_level)
    fields["confidence_archetype"] = _archetype(profile.confidence_archetype)
    if profile.location_privacy:
        privacy = matching_pb2.LocationPrivacy.Name(profile.location_privacy)
        fields["location_privacy"] = privacy.removeprefix(_PRIVACY)
    if profile.HasField("location"):
        location = profile.location
        fields["location"] = {"latitude": _degrees(location.latitude), "longitude": _degrees(location.longitude)}
    if profile.HasField("active"):
        fields["active"] = profile.active
    return fields


def _degrees(value: float) -> float:
    """Return the degrees, 0 for what is less than PostgreSQL reads as a double."""
    return value if abs(value) >= sys.float_info.min else 0.0


def _level(value: matching_pb2.ExperienceLevel.ValueType) -> str:
    return matching_pb2.ExperienceLevel.Name(value).removeprefix(_LEVEL)


def _archetype(value: matching_pb2.ConfidenceArchetype.ValueType) -> str:
    return matching_pb2.ConfidenceArchetype.Name(value).removeprefix(_ARCHETYPE)


def profile_message(profile: Profile, photos: PhotoAddresses) -> matching_pb2.Profile:
    """Return a profile as the store has it, without a picture whose address is not shown."""
    return matching_pb2.Profile(
        user_id=profile.user_id,
        email=profile.email,
        first_name=profile.first_name,
        last_name=profile.last_name,
        bio=profile.bio,
        photo_url=photos.shown(profile.photo_url),
        experience_level=_LEVELS[profile.experience_level],
        confidence_archetype=_ARCHETYPES[profile.confidence_archetype],
        city=profile.city,
        location_privacy=_PRIVACIES[profile.location_privacy],
        max_travel_miles=profile.max_travel_miles,
        time_zone=profile.time_zone,
        locale=profile.locale,
        active=profile.active,
        create_time=timestamp(profile.create_time),
        update_time=timestamp(profile.update_time),
    )


def candidate_message(candidate: Candidate, photos: PhotoAddresses) -> matching_pb2.Candidate:
    """Return a candidate as the store has it, without a picture whose address is not shown."""
    message = matching_pb2.Candidate()
    write_candidate(message, candidate, photos)
    return message


def write_candidate(message: matching_pb2.Candidate, candidate: Candidate, photos: PhotoAddresses) -> None:
    """Fill an empty message in place: a list made of messages would copy each of them."""
    message.user_id = candidate.user_id
    message.first_name = candidate.first_name
    message.bio = candidate.bio
    message.photo_url = photos.shown(candidate.photo_url)
    message.experience_level = _LEVELS[candidate.experience_level]
    message.confidence_archetype = _ARCHETYPES[candidate.confidence_archetype]
    message.distance_miles = candidate.distance_miles
    message.reputation = candidate.reputation


def match_message(match: Match) -> matching_pb2.Match:
    """Return a match as the store has it."""
    return matching_pb2.Match(
        id=match.id,
        requester_id=match.requester_id,
        invitee_id=match.invitee_id,
        state=_STATES[match.state],
        venue_suggestion=match.venue_suggestion,
        message=match.message,
        create_time=timestamp(match.create_time),
        respond_time=timestamp(match.respond_time),
        expire_time=timestamp(match.expire_time),
    )


def reputation_message(reputation: Reputation) -> matching_pb2.Reputation:
    """Return a reputation as the store has it."""
    return matching_pb2.Reputation(
        user_id=reputation.user_id,
        score=reputation.score,
        badge=_BADGES[reputation.badge],
        completed_count=reputation.completed_count,
        no_show_count=reputation.no_show_count,
    )


def share_link_message(link: ShareLink, token: str) -> matching_pb2.ShareLink:
    """Return a link as the store has it, with its token."""
    return matching_pb2.ShareLink(
        id=link.id,
        token=token,
        create_time=timestamp(link.create_time),
        expire_time=timestamp(link.expire_time),
    )


def shared_match_message(shown: SharedMatch) -> matching_pb2.SharedMatch:
    """Return what a link shows."""
    return matching_pb2.SharedMatch(first_name=shown.first_name, respond_time=timestamp(shown.respond_time))


def event_message(event: MatchEvent) -> matching_pb2.MatchEvent:
    """Return an event as the store has it."""
    return matching_pb2.MatchEvent(
        kind=_EVENT_KINDS[event.kind],
        event_time=timestamp(event.event_time),
        match=match_message(event.match),
        meetup_id=event.meetup_id or "",
    )
