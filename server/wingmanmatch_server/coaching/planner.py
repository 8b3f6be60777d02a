"""Ideas for a meet-up of two matched people: Claude's where coaching is on, otherwise by fixed rules."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Protocol

import structlog
from pydantic import BaseModel, Field, ValidationError

from wingmanmatch_server import errors
from wingmanmatch_server.coaching.answer import Answer
from wingmanmatch_server.coaching.budget import whole
from wingmanmatch_server.coaching.coach import Budget
from wingmanmatch_server.coaching.model import Model, RequestRefused, Stop
from wingmanmatch_server.coaching.prompts import Prompts
from wingmanmatch_server.coaching.rows import CatalogueEntry, PlanFacts, PlannedPerson
from wingmanmatch_server.coaching.safety import Gate, Safety
from wingmanmatch_server.resilience.deadline import seconds_left

log = structlog.get_logger(__name__)

MODEL_SECONDS = 12.0
MODEL_PART = 0.8  # of what the caller still waits; the rest is for the rules
LEVELS = ("BEGINNER", "INTERMEDIATE", "ADVANCED")
# By the archetype of the person who is less experienced, or if both are alike, of the requester.
VENUES = {
    "ANALYZER": ("a museum with a free evening", "every room gives you a question to ask, and there is time to think"),
    "SPRINTER": ("a lively street market", "many short conversations, one after the other, and then a slow coffee"),
    "GHOST": ("a quiet café with a shared table", "you can arrive early, sit among people and stay a little longer"),
    "SCHOLAR": ("a bookshop with a reading corner", "asking for a recommendation is what everybody does there"),
    "NATURALIST": ("a city park on a weekend afternoon", "people are relaxed outdoors, and a walk keeps talk easy"),
    "PROTECTOR": ("a neighbourhood community garden", "there is always somebody to help, and help to ask for"),
}
ANYWHERE = ("a café at a busy square", "there are people to greet, and a table to look back at it together")


class FactSource(Protocol):
    """Where the facts for plans are."""

    async def plan_facts(self, match_id: str, user_id: str) -> PlanFacts:
        """See `CoachingStore.plan_facts`."""


@dataclass(frozen=True, slots=True)
class PlannedChallenge:
    """A challenge of the catalogue for one person."""

    user_id: str
    challenge_id: str
    title: str


@dataclass(frozen=True, slots=True)
class Plan:
    """An idea for a meet-up. `challenges` has the requester's first; it is empty where the catalogue is."""

    venue_idea: str
    explanation: str
    challenges: Sequence[PlannedChallenge]
    by_coach: bool


@dataclass(frozen=True, slots=True)
class Adviser:
    """The model and what asking it takes."""

    model: Model
    budget: Budget
    prompts: Prompts
    safety: Safety


class _Proposal(BaseModel):
    venue_idea: Annotated[str, Field(min_length=1, max_length=120)]
    explanation: Annotated[str, Field(min_length=1, max_length=500)]
    challenge_ids: Annotated[list[str], Field(min_length=2, max_length=2)]


class Planner:
    """Proposes meet-ups."""

    def __init__(self, facts: FactSource, adviser: Adviser | None, seconds: float = MODEL_SECONDS) -> None:
        """Without an adviser, which has so many `seconds` and less than the caller waits, the rules alone propose."""
        self._facts = facts
        self._adviser = adviser
        self._seconds = seconds

    async def propose(self, match_id: str, user_id: str) -> Plan:
        """Return a plan for a live match, to one of its people.

        Where the model is away, too slow, paid for no more or says something unusable, the rules take its place.
        Raises errors.NotFound MATCH_NOT_FOUND and errors.FailedPrecondition MATCH_NOT_ACCEPTED.
        """
        facts = await self._facts.plan_facts(match_id, user_id)
        if self._adviser is not None and facts.challenges:
            try:
                async with asyncio.timeout(min(self._seconds, MODEL_PART * seconds_left(time.monotonic()))):
                    return await self._advised(self._adviser, facts, user_id)
            except (errors.Unavailable, errors.ResourceExhausted, TimeoutError, ValueError) as error:
                log.info("plan_by_catalogue", because=type(error).__name__)
            except RequestRefused as error:
                log.error("plan_request_refused", error=str(error))  # noqa: TRY400 - the traceback says nothing more
        return by_catalogue(facts)

    async def _advised(self, adviser: Adviser, facts: PlanFacts, user_id: str) -> Plan:
        prompt = adviser.prompts.plan((facts.requester, facts.invitee), facts.challenges)
        reservation = await adviser.budget.reserve(user_id, prompt.size + prompt.max_tokens)
        answer = Answer(prompt, Gate(adviser.safety), asked=True)
        try:
            async with aclosing(adviser.model.answer(prompt)) as events:
                async for event in events:
                    answer.take(event)
        finally:
            await whole(adviser.budget.settle(reservation, answer.cost(left=True)))
        if answer.gate.category is not None or answer.stop is not Stop.COMPLETE:
            raise ValueError("the answer is not whole, or says what may not be said")
        return _plan(answer.text, facts)


def _plan(text: str, facts: PlanFacts) -> Plan:
    """Return the plan that a model's answer is, whatever stands around it. Raises ValueError for anything else."""
    try:
        proposal = _Proposal.model_validate_json(text[text.find("{") : text.rfind("}") + 1])
    except ValidationError:
        raise ValueError("the answer is not a plan") from None
    titles = {each.id: each.title for each in facts.challenges}
    if not set(proposal.challenge_ids) <= titles.keys():
        raise ValueError("the plan names a challenge that is none")
    people = (facts.requester.user_id, facts.invitee.user_id)
    challenges = [
        PlannedChallenge(user_id, challenge_id, titles[challenge_id])
        for user_id, challenge_id in zip(people, proposal.challenge_ids, strict=True)
    ]
    return Plan(proposal.venue_idea, proposal.explanation, challenges, by_coach=True)


def by_catalogue(facts: PlanFacts) -> Plan:
    """Return the plan that fixed rules make: always the same one for the same facts.

    Each gets a challenge of their own level, not one they have done unless they did all, and of those left one that
    depends on the match, so that not every pair does the same.
    """
    people = (facts.requester, facts.invitee)
    lead = min(people, key=lambda person: LEVELS.index(person.experience_level))
    venue, why = VENUES.get(lead.confidence_archetype, ANYWHERE)
    challenges = [_chosen(person, facts) for person in people] if facts.challenges else []
    return Plan(venue, f"It suits the two of you: {why}.", challenges, by_coach=False)


def _chosen(person: PlannedPerson, facts: PlanFacts) -> PlannedChallenge:
    level, done = LEVELS.index(person.experience_level), set(person.done_challenge_ids)

    def rank(challenge: CatalogueEntry) -> tuple[bool, int, str]:
        away = abs(LEVELS.index(challenge.difficulty) - level)
        lot = hashlib.sha256(f"{facts.match_id}:{person.user_id}:{challenge.id}".encode()).hexdigest()
        return challenge.id in done, away, lot

    best = min(facts.challenges, key=rank)
    return PlannedChallenge(person.user_id, best.id, best.title)
