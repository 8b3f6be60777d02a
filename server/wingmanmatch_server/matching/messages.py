"""What the wire and the store call the same things."""

from datetime import datetime
from typing import Any

from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch_server.wire import timestamp


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
        fields["location_privacy"] = privacy.removeprefix("LOCATION_PRIVACY_")
    if profile.HasField("location"):
        fields["location"] = {"latitude": profile.location.latitude, "longitude": profile.location.longitude}
    if profile.HasField("active"):
        fields["active"] = profile.active
    return fields


def _level(value: matching_pb2.ExperienceLevel.ValueType) -> str:
    return matching_pb2.ExperienceLevel.Name(value).removeprefix("EXPERIENCE_LEVEL_")


def _archetype(value: matching_pb2.ConfidenceArchetype.ValueType) -> str:
    return matching_pb2.ConfidenceArchetype.Name(value).removeprefix("CONFIDENCE_ARCHETYPE_")


def profile_message(row: dict[str, Any]) -> matching_pb2.Profile:
    """Return a profile as the store has it."""
    return matching_pb2.Profile(
        **{
            **row,
            "experience_level": f"EXPERIENCE_LEVEL_{row['experience_level']}",
            "confidence_archetype": f"CONFIDENCE_ARCHETYPE_{row['confidence_archetype']}",
            "location_privacy": f"LOCATION_PRIVACY_{row['location_privacy']}",
            "create_time": datetime.fromisoformat(row["create_time"]),
            "update_time": datetime.fromisoformat(row["update_time"]),
        }
    )


def candidate_message(row: dict[str, Any]) -> matching_pb2.Candidate:
    """Return a candidate as the store has it."""
    return matching_pb2.Candidate(
        **{
            **row,
            "experience_level": f"EXPERIENCE_LEVEL_{row['experience_level']}",
            "confidence_archetype": f"CONFIDENCE_ARCHETYPE_{row['confidence_archetype']}",
        }
    )


def match_message(row: dict[str, Any]) -> matching_pb2.Match:
    """Return a match as the store has it."""
    respond_time = row["respond_time"]
    return matching_pb2.Match(
        **{
            **row,
            "state": f"MATCH_STATE_{row['state']}",
            "create_time": datetime.fromisoformat(row["create_time"]),
            "respond_time": datetime.fromisoformat(respond_time) if respond_time else None,
            "expire_time": datetime.fromisoformat(row["expire_time"]),
        }
    )


def event_message(row: dict[str, Any]) -> matching_pb2.MatchEvent:
    """Return an event as the store has it."""
    return matching_pb2.MatchEvent(
        kind=matching_pb2.MatchEventKind.Value(f"MATCH_EVENT_KIND_{row['kind']}"),
        event_time=timestamp(datetime.fromisoformat(row["event_time"])),
        match=match_message(row["match"]),
        meetup_id=row["meetup_id"],
    )
