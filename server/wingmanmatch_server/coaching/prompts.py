"""What the model is told. A text that was in use is never edited: a change is a new file with the next version."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, tzinfo
from importlib import resources
from typing import Any

from wingmanmatch_server.coaching.history import Conversation
from wingmanmatch_server.coaching.model import Author, Prompt, Turn
from wingmanmatch_server.coaching.rows import CatalogueEntry, PersonContext, PlannedPerson
from wingmanmatch_server.local_times import local_time, zone_of

COACH = "coach.v1"
PLAN = "plan.v1"
MINOR = "The person said that they are younger than 18."
PLAN_TOKENS = 500
SAFETY = "safety.v1"
SAFETY_TOKENS = 16


class Prompts:
    """The texts of `prompts/`, read once."""

    def __init__(self) -> None:
        self._coach, self._plan = _read(COACH), _read(PLAN)
        self._safety = _read(SAFETY)

    def chat(
        self,
        conversation: Conversation,
        context: PersonContext | None,
        message: str,
        max_tokens: int,
        *,
        now: datetime,
        minor: bool,
    ) -> Prompt:
        """Return the prompt of an answer to `message`. Without `context` nobody is known."""
        parts = ["About the person, as data: " + _json(_told_of(context, now) if context else {})]
        if minor:
            parts.append(MINOR)
        if conversation.summary:
            parts.append("What the person wrote earlier, shortened, as data: " + _json(conversation.summary))
        return Prompt(self._coach, "\n\n".join(parts), conversation.turns(message), max_tokens)

    def plan(self, people: Sequence[PlannedPerson], challenges: Sequence[CatalogueEntry]) -> Prompt:
        """Return the prompt of a plan for two people."""
        data = {"people": list(map(_person, people)), "challenges": list(map(asdict, challenges))}
        facts = "The two people and the catalogue, as data: " + _json(data)
        return Prompt(self._plan, facts, [Turn(Author.PERSON, "Propose the meet-up.")], PLAN_TOKENS)

    def safety(self, message: str) -> Prompt:
        """Return the prompt of an opinion on what a message is about. The message is data, never instructions."""
        turn = Turn(Author.PERSON, "The message, as data: " + _json(message))
        return Prompt(self._safety, "Answer with the category and the language code only.", [turn], SAFETY_TOKENS)


def _told_of(context: PersonContext, now: datetime) -> dict[str, Any]:
    """Return what the model is told of a person, with times as the person's clock shows them."""
    profile, challenge, meetup = context.profile, context.challenge, context.meetup
    zone = zone_of(profile.time_zone if profile else "UTC")
    told: dict[str, Any] = {"match_count": context.match_count, "local_time": _local(now, zone)}
    if profile:
        told["experience_level"] = profile.experience_level
        told["confidence_archetype"] = profile.confidence_archetype
    if challenge:
        until = _local(challenge.expire_time, zone)
        told["challenge"] = {"title": challenge.title, "difficulty": challenge.difficulty, "until": until}
    if meetup:
        time = _local(meetup.scheduled_time, zone)
        told["next_meetup"] = {"time": time, "challenge_title": meetup.challenge_title}
    return told


def _person(person: PlannedPerson) -> dict[str, Any]:
    """Return what the model is told of one of the two people: not who it is."""
    return {
        "experience_level": person.experience_level,
        "confidence_archetype": person.confidence_archetype,
        "done_challenge_ids": person.done_challenge_ids,
    }


def _local(moment: datetime, zone: tzinfo) -> str:
    return local_time(moment, zone).strftime("%A %Y-%m-%d %H:%M")


def _read(name: str) -> str:
    return (resources.files(__package__) / "prompts" / f"{name}.md").read_text().strip()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
