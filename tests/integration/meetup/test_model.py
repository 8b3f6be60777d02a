"""Matches, meet-ups, blocks and the clock against a model of them: whatever is done in whatever order, both agree."""

import asyncio
import math
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from support.people import People, in_hours, open_people
from wingmanmatch_server import errors

MOVES_A_DAY = 5
PEOPLE = 4  # two pairs, of which all may change partners
INVITATION, APART, ANSWERS = 72, 168, 168  # hours
# Time passes by whole hours and meet-ups are at half ones, so no outcome hangs on the time that the test takes.
passes = st.sampled_from((1, 2, 2, 24, 71, 72, 150, 168, 170))
leads = st.sampled_from((0.5, 0.5, 1.5, 70.5, -0.5))
persons = st.integers(0, PEOPLE - 1)
others = st.integers(1, PEOPLE - 1)
latest = st.integers(0, 3)
sides = st.integers(0, 1)


@dataclass
class Match:
    """What the model knows of a match; hours."""

    id: str
    people: tuple[int, int]
    created: float
    state: str = "PENDING"

    def at(self, now: float) -> str:
        """Return the state at a moment."""
        return "EXPIRED" if self.state == "PENDING" and now >= self.created + INVITATION else self.state


@dataclass
class Meetup:
    """What the model knows of a meet-up; hours."""

    id: str
    match: Match
    time: float
    state: str = "SCHEDULED"
    answers: dict[int, str] = field(default_factory=dict)
    moves: list[float] = field(default_factory=list)

    def at(self, now: float) -> str:
        """Return the state at a moment."""
        return "EXPIRED" if self.state == "SCHEDULED" and now >= self.time + ANSWERS else self.state


class Model:
    """The rules, as a person would tell them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.matches: list[Match] = []
        self.meetups: list[Meetup] = []
        self.blocks: set[tuple[int, int]] = set()
        self.apart_until: dict[frozenset[int], float] = {}

    def pending(self, person: int) -> Match | None:
        """Return the person's pending match."""
        found = [each for each in self.matches if person in each.people and each.at(self.now) == "PENDING"]
        assert len(found) <= 1
        return found[0] if found else None

    def live(self, first: int, second: int) -> Match | None:
        """Return the live match of two people."""
        found = [each for each in self.matches if set(each.people) == {first, second}]
        alive = [each for each in found if each.at(self.now) in ("PENDING", "ACCEPTED")]
        assert len(alive) <= 1
        return alive[0] if alive else None

    def kept_apart(self, first: int, second: int) -> bool:
        """Return whether two people are not to be paired now."""
        blocked = {(first, second), (second, first)} & self.blocks
        return bool(blocked) or self.apart_until.get(frozenset((first, second)), self.now) > self.now

    def candidates(self, person: int) -> set[int]:
        """Return whom a person could invite."""
        all_others = set(range(PEOPLE)) - {person}
        return {each for each in all_others if not self.kept_apart(person, each) and not self.pending(each)}

    def keep_apart(self, match: Match, until: float) -> None:
        """Keep the people of a match apart."""
        self.apart_until[frozenset(match.people)] = until

    def accept(self, match: Match) -> None:
        """Let a match be accepted."""
        match.state = "ACCEPTED"
        self.keep_apart(match, float("inf"))

    def end(self, match: Match) -> None:
        """End an accepted match, and what lies ahead of it."""
        for meetup in self.meetups:
            if meetup.match is match and meetup.state == "SCHEDULED" and meetup.time > self.now:
                meetup.state = "CANCELLED"
        match.state = "ENDED"
        self.keep_apart(match, self.now + APART)

    def score(self, person: int) -> int:
        """Return a person's reputation."""
        mine = [meetup for meetup in self.meetups if person in meetup.match.people]
        completed = sum(meetup.state == "COMPLETED" for meetup in mine)
        missed = sum(
            answer == "MISSING" for meetup in mine for about, answer in meetup.answers.items() if about != person
        )
        return max(-5, min(20, completed - missed))


class Machine(RuleBasedStateMachine):
    """Does everything to both: `run` waits for the database, `world` is the people in it."""

    world: People
    loop: asyncio.Runner

    def run(self, call: Awaitable[Any]) -> Any:
        """Return the answer of a call, or the reason of its refusal."""

        async def outcome() -> Any:
            try:
                return await call
            except errors.DomainError as error:
                return error.reason

        return self.loop.run(outcome())

    @initialize()
    def begin(self) -> None:
        """Have new people and a new model, and let two pairs be about to meet: so much less is left to chance."""
        self.model = Model()
        # Far from those of other runs, who cost less where they are than to remove.
        place = (self.world.source.uniform(-70, 70), self.world.source.uniform(-180, 180))
        self.ids: list[str] = self.loop.run(self.world.join_many(PEOPLE, place))
        for person in (0, 2):
            self.invite(person, 1)
            self.settle(0, "ACCEPT")
            self.schedule(0, 0, 1.5)

    def match_of(self, which: int) -> Match:
        """Return one of the latest matches."""
        return self.model.matches[-1 - which % len(self.model.matches)]

    def meetup_of(self, which: int) -> Meetup:
        """Return one of the latest meet-ups."""
        return self.model.meetups[-1 - which % len(self.model.meetups)]

    @rule(person=persons, step=others)
    def invite(self, person: int, step: int) -> None:
        """One person asks for another."""
        model, other = self.model, (person + step) % PEOPLE
        answer = self.run(self.world.store.request_match(self.ids[person], candidate_user_id=self.ids[other]))
        asked = model.pending(person)
        if asked and asked.people == (other, person):
            assert answer.match.id == asked.id
            model.accept(asked)
        elif asked:
            assert answer == "PENDING_MATCH_EXISTS"
        elif other not in model.candidates(person):
            assert answer == "CANDIDATE_UNAVAILABLE"
        else:
            model.matches.append(Match(answer.match.id, (person, other), model.now))
            model.keep_apart(model.matches[-1], model.now + APART)

    @precondition(lambda self: self.model.matches)
    @rule(which=latest, response=st.sampled_from(("ACCEPT", "ACCEPT", "DECLINE", "CANCEL")))
    def settle(self, which: int, response: str) -> None:
        """The invited person answers, or the requester withdraws."""
        match = self.match_of(which)
        requester, invitee = (self.ids[each] for each in match.people)
        if response == "CANCEL":
            answer = self.run(self.world.store.cancel_match(match.id, requester))
        else:
            answer = self.run(self.world.store.respond_to_match(match.id, invitee, response))
        if match.at(self.model.now) != "PENDING":
            assert answer == "MATCH_NOT_PENDING"
        elif response == "ACCEPT":
            self.model.accept(match)
        else:
            match.state = {"DECLINE": "DECLINED", "CANCEL": "CANCELLED"}[response]

    @precondition(lambda self: self.model.matches)
    @rule(which=latest, side=sides)
    def end(self, which: int, side: int) -> None:
        """One of the two ends a match."""
        match = self.match_of(which)
        answer = self.run(self.world.store.end_match(match.id, self.ids[match.people[side]]))
        if match.state != "ACCEPTED":
            assert answer == "MATCH_NOT_ACCEPTED"
        else:
            self.model.end(match)

    @rule(person=persons, step=others)
    def block(self, person: int, step: int) -> None:
        """One person blocks another."""
        other = (person + step) % PEOPLE
        assert self.run(self.world.store.block_user(self.ids[person], self.ids[other])) is None
        live = self.model.live(person, other)
        if live and live.state == "ACCEPTED":
            self.model.end(live)
        elif live:
            live.state = "CANCELLED" if live.people[0] == person else "DECLINED"
        self.model.blocks.add((person, other))

    @rule(person=persons, step=others)
    def unblock(self, person: int, step: int) -> None:
        """One person takes a block back."""
        other = (person + step) % PEOPLE
        assert self.run(self.world.store.unblock_user(self.ids[person], self.ids[other])) is None
        self.model.blocks.discard((person, other))

    @precondition(lambda self: self.model.matches)
    @rule(which=latest, side=sides, lead=leads)
    def schedule(self, which: int, side: int, lead: float) -> None:
        """One of a match's people schedules a meet-up."""
        model, match = self.model, self.match_of(which)
        answer = self.run(
            self.world.meetups.schedule_meetup(
                match.id, self.ids[match.people[side]], venue_name="Prater", scheduled_time=in_hours(lead)
            )
        )
        if match.at(model.now) != "ACCEPTED":
            assert answer == "MATCH_NOT_ACCEPTED"
        elif lead < 0:
            assert answer == "MEETUP_TIME_PAST"
        elif any(each.match is match and each.at(model.now) == "SCHEDULED" for each in model.meetups):
            assert answer == "MEETUP_EXISTS"
        else:
            model.meetups.append(Meetup(answer.id, match, model.now + lead))

    @precondition(lambda self: self.model.meetups)
    @rule(which=latest, side=sides, lead=leads)
    def move(self, which: int, side: int, lead: float) -> None:
        """One of the two moves a meet-up."""
        meetup = self.meetup_of(which)
        person = self.ids[meetup.match.people[side]]
        answer = self.run(self.world.meetups.reschedule_meetup(meetup.id, person, scheduled_time=in_hours(lead)))
        if refused := self.not_ahead(meetup):
            assert answer == refused
        elif lead < 0:
            assert answer == "MEETUP_TIME_PAST"
        elif len([moved for moved in meetup.moves if moved > self.model.now - 24]) == MOVES_A_DAY:
            assert answer == "MEETUP_MOVED_TOO_OFTEN"
        else:
            assert answer.id == meetup.id
            meetup.time = self.model.now + lead
            meetup.moves.append(self.model.now)

    @precondition(lambda self: self.model.meetups)
    @rule(which=latest, side=sides)
    def cancel(self, which: int, side: int) -> None:
        """One of the two calls a meet-up off."""
        meetup = self.meetup_of(which)
        answer = self.run(self.world.meetups.cancel_meetup(meetup.id, self.ids[meetup.match.people[side]]))
        if refused := self.not_ahead(meetup):
            assert answer == refused
        else:
            meetup.state = "CANCELLED"

    def not_ahead(self, meetup: Meetup) -> str | None:
        """Return why a meet-up can be neither moved nor called off."""
        if meetup.at(self.model.now) != "SCHEDULED":
            return "MEETUP_NOT_SCHEDULED"
        return "MEETUP_STARTED" if meetup.time <= self.model.now else None

    @precondition(lambda self: self.model.meetups)
    @rule(which=latest, side=sides, said=st.sampled_from(("PRESENT", "PRESENT", "MISSING")), late=st.booleans())
    def answer(self, which: int, side: int, said: str, late: bool) -> None:  # noqa: FBT001
        """One of the two says how it went, perhaps having waited until there is something to say."""
        meetup = self.meetup_of(which)
        if late and meetup.time > self.model.now:
            self.wait(math.ceil(meetup.time - self.model.now))
        person = meetup.match.people[side]
        act = self.world.meetups.confirm_meetup if said == "PRESENT" else self.world.meetups.report_no_show
        answer = self.run(act(meetup.id, self.ids[person]))
        if (refused := self.not_answerable(meetup, person, said)) is not None:
            assert answer == refused
            return
        assert answer.id == meetup.id
        meetup.answers[person] = said
        if "MISSING" in meetup.answers.values():
            meetup.state = "MISSED"
        elif len(meetup.answers) == len(meetup.match.people):
            meetup.state = "COMPLETED"

    def not_answerable(self, meetup: Meetup, person: int, said: str) -> str | None:
        """Return why a person can't say that of a meet-up, None if they can or did."""
        before, now = meetup.answers.get(person), self.model.now
        if before is not None:
            return None if before == said else "MEETUP_ANSWERED"
        if meetup.at(now) not in ("SCHEDULED", "MISSED") or now >= meetup.time + ANSWERS:
            return "MEETUP_NOT_SCHEDULED"
        return "MEETUP_NOT_STARTED" if meetup.time > now else None

    @rule(hours=passes)
    def wait(self, hours: int) -> None:
        """Time passes."""
        self.loop.run(self.world.let_pass(timedelta(hours=hours)))
        self.model.now += hours

    @rule()
    def sweep(self) -> None:
        """The sweeps run, and change nothing that anybody sees."""
        self.run(self.world.store.expire_matches())
        self.run(self.world.meetups.expire_meetups())

    @invariant()
    def agree(self) -> None:
        """All that can be seen is as the model says."""
        assert self.loop.run(self.seen()) == self.expected()

    async def seen(self) -> dict[str, Any]:
        """Return what the database shows."""
        matches, meetups, scores, candidates = [
            dict(await self.world.sql.fetch(query, self.ids)) for query in (MATCHES, MEETUPS, SCORES, CANDIDATES)
        ]
        return {
            "matches": matches,
            "meetups": meetups,
            "scores": scores,
            "candidates": {person: set(found) for person, found in candidates.items()},
            "broken rules": list(await self.world.broken_rules()),
        }

    def expected(self) -> dict[str, Any]:
        """Return what the model says that it shows."""
        model = self.model
        return {
            "matches": {each.id: each.at(model.now) for each in model.matches},
            "meetups": {each.id: each.at(model.now) for each in model.meetups},
            "scores": {self.ids[person]: model.score(person) for person in range(PEOPLE)},
            "candidates": {
                self.ids[person]: {self.ids[other] for other in model.candidates(person)} for person in range(PEOPLE)
            },
            "broken rules": [],
        }


MATCHES = "select id::text, internal.state_now(m) from matches m where requester_id = any ($1::text[]::uuid[])"
MEETUPS = "select id::text, internal.meetup_state_now(m) from meetups m where requester_id = any ($1::text[]::uuid[])"
SCORES = "select user_id::text, reputation from match_pool where user_id = any ($1::text[]::uuid[])"
CANDIDATES = """
select person, array(select c ->> 'user_id' from jsonb_array_elements(list_candidates(person::uuid) -> 'candidates') c)
from unnest($1::text[]) person
"""


def test_database_agrees_with_the_model(fresh_database_dsn: str) -> None:
    """Inviting, answering, ending, blocking, meeting, answering for it and waiting leave what the model says."""
    with asyncio.Runner() as loop:
        opened = open_people(fresh_database_dsn, connections=1, max_daily_matches=1000)
        world = loop.run(opened.__aenter__())
        try:
            machine = type("Machine", (Machine,), {"world": world, "loop": loop})
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=25,
                    stateful_step_count=25,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            loop.run(opened.__aexit__(None, None, None))
