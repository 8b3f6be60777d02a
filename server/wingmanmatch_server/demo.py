"""`wingmanmatch demo`: three people, an invitation and its acceptance, over real gRPC."""

import asyncio
import email
import email.policy
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch_client import Client, NotFound, WingmanMatchError, connect

MAIL_TIMEOUT = 15.0  # seconds a mail may take to lie in the outbox
POLL_INTERVAL = 0.05

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
    user_id: str

    @property
    def address(self) -> str:
        """Where the person's mail goes; nobody reads example.org."""
        return f"{self.name.lower()}.{self.user_id[:8]}@example.org"


async def play(target: str, outbox: Path, say: Say) -> None:
    """Play the journey against the server at `target` and `say` each step. Raises DemoFailed."""
    try:
        async with connect(target) as client:
            await _play(client, outbox, say)
    except WingmanMatchError as error:
        raise DemoFailed(f"{target} answered {error.code.name}: {error.reason or error.message}") from error


async def _play(client: Client, outbox: Path, say: Say) -> None:
    ada, ben, chloe = people = _people()
    await _move_in(client, people, say)
    await _look_around(client, ada, people, say)
    match = await _invite(client, ada, ben, say)
    await _find_mail(outbox, ben, say)
    await _stranger(client, chloe, match, say)
    await _accept(client, ben, match, say)
    await _find_mail(outbox, ada, say)
    say("\nDone: Ada and Ben are matched.")


def _people() -> tuple[Person, Person, Person]:
    return (
        Person(
            "Ada",
            matching_pb2.EXPERIENCE_LEVEL_BEGINNER,
            matching_pb2.CONFIDENCE_ARCHETYPE_SCHOLAR,
            0.0,
            str(uuid.uuid4()),
        ),
        Person(
            "Ben",
            matching_pb2.EXPERIENCE_LEVEL_INTERMEDIATE,
            matching_pb2.CONFIDENCE_ARCHETYPE_NATURALIST,
            1.2,
            str(uuid.uuid4()),
        ),
        Person(
            "Chloe",
            matching_pb2.EXPERIENCE_LEVEL_BEGINNER,
            matching_pb2.CONFIDENCE_ARCHETYPE_GHOST,
            6.5,
            str(uuid.uuid4()),
        ),
    )


async def _move_in(client: Client, people: tuple[Person, ...], say: Say) -> None:
    """Create the profiles, somewhere new each time, so that an earlier demo's people are not near."""
    spread = random.Random()  # noqa: S311 - a place to play in
    latitude, longitude = spread.uniform(-60, 60), spread.uniform(-179, 179)
    for person in people:
        profile = matching_pb2.Profile(
            user_id=person.user_id,
            email=person.address,
            first_name=person.name,
            bio="Here for the demo.",
            experience_level=person.level,
            confidence_archetype=person.archetype,
            location={"latitude": latitude + person.miles_north / 69.0, "longitude": longitude},
        )
        await client.matching.upsert_profile(profile=profile)
        level = matching_pb2.ExperienceLevel.Name(person.level).removeprefix("EXPERIENCE_LEVEL_").lower()
        say(f"{person.name} joins ({level}).")


async def _look_around(client: Client, viewer: Person, people: tuple[Person, ...], say: Say) -> None:
    candidates = [each async for each in client.matching.iter_candidates(user_id=viewer.user_id, radius_miles=25)]
    say(f"\n{viewer.name} looks for a wingman within 25 miles:")
    for candidate in candidates:
        say(f"  {candidate.first_name:<8}{candidate.distance_miles:5.1f} mi   reputation {candidate.reputation}")
    _expect([candidate.user_id for candidate in candidates] == [person.user_id for person in people[1:]], "candidates")


async def _invite(client: Client, requester: Person, invitee: Person, say: Say) -> matching_pb2.Match:
    answer = await client.matching.request_match(
        user_id=requester.user_id,
        venue_suggestion="the café in the park",
        message="First time for me. Shall we?",
    )
    say(f"\n{requester.name} asks for the nearest wingman: {answer.candidate.first_name} is invited.")
    say(f"  match {answer.match.id}, {matching_pb2.MatchState.Name(answer.match.state)}")
    _expect(answer.match.invitee_id == invitee.user_id, "invitation")
    return answer.match


async def _stranger(client: Client, stranger: Person, match: matching_pb2.Match, say: Say) -> None:
    try:
        await client.matching.get_match(match_id=match.id, user_id=stranger.user_id)
    except NotFound as error:
        say(f"\n{stranger.name}, who has no part in it, asks for the match: {error.code.name}, {error.reason}.")
    else:
        _expect(False, "secrecy")  # noqa: FBT003


async def _accept(client: Client, invitee: Person, match: matching_pb2.Match, say: Say) -> None:
    answer = await client.matching.respond_to_match(
        match_id=match.id, user_id=invitee.user_id, response=matching_pb2.MATCH_RESPONSE_ACCEPT
    )
    say(f"\n{invitee.name} accepts: {matching_pb2.MatchState.Name(answer.match.state)}.")
    _expect(answer.match.state == matching_pb2.MATCH_STATE_ACCEPTED, "acceptance")


async def _find_mail(outbox: Path, recipient: Person, say: Say) -> None:
    """Wait until the recipient's mail lies in the outbox, and say where."""
    try:
        async with asyncio.timeout(MAIL_TIMEOUT):
            while not (  # noqa: ASYNC110
                found := await asyncio.to_thread(_mail_to, outbox, recipient.address)
            ):
                await asyncio.sleep(POLL_INTERVAL)  # a folder tells nobody of a new file
    except TimeoutError:
        raise DemoFailed(f"no mail to {recipient.name} in {outbox}; is DATA_DIR the server's?") from None
    path, subject = found
    say(f"  {recipient.name} gets a mail: {subject}\n    {path.absolute()}")


def _mail_to(outbox: Path, address: str) -> tuple[Path, str] | None:
    for path in sorted(outbox.glob("*.eml"), reverse=True):
        message = email.message_from_bytes(path.read_bytes(), EmailMessage, policy=email.policy.default)
        if address in str(message["To"]):
            return path, str(message["Subject"])
    return None


def _expect(fact: bool, step: str) -> None:  # noqa: FBT001
    if not fact:
        raise DemoFailed(f"the step '{step}' did not go as it should")
