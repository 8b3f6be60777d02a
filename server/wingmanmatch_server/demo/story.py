"""What happens in the demo, act by act."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch.meetup.v1 import meetup_pb2
from wingmanmatch_client import Client, FailedPrecondition, NotFound, WingmanMatchError, connect
from wingmanmatch_server.demo.clock import Clock, open_clock
from wingmanmatch_server.demo.mails import Mails
from wingmanmatch_server.demo.people import DemoFailed, Person, Say, expect, new_people

HOUR = timedelta(hours=1)
CHANGES_WAIT = timedelta(minutes=2)
BADGES = {matching_pb2.REPUTATION_BADGE_GREEN: "green", matching_pb2.REPUTATION_BADGE_GOLD: "gold"}


async def play(target: str, data_dir: Path, say: Say) -> None:
    """Play the journey against the server at `target`, whose data folder is `data_dir`, and `say` each step.

    Where the server has no database of its own nobody can let days pass, and the journey ends before the meet-up.
    Raises DemoFailed.
    """
    people = new_people()
    try:
        async with connect(target) as client, open_clock(data_dir, [each.user_id for each in people]) as clock:
            await _play(client, people, clock, Mails(data_dir / "outbox", say), say)
    except WingmanMatchError as error:
        raise DemoFailed(f"{target} answered {error.code.name}: {error.reason or error.message}") from error


async def _play(client: Client, people: tuple[Person, ...], clock: Clock | None, mails: Mails, say: Say) -> None:
    ada, ben, chloe = people
    await _move_in(client, people, say)
    await _look_around(client, ada, {ben: 0, chloe: 0}, say)
    match = await _invite(client, ada, ben, say)
    await mails.show(ben, "match_invitation")
    await _stranger(client, chloe, match, say)
    await _accept(client, ben, match, say)
    await mails.show(ada, "match_acceptance")
    meetup = await _schedule(client, ada, match, say)
    await _show_change(clock, (ada, ben), "meetup_scheduled", mails, say)
    meetup = await _move(client, clock, ben, meetup, say)
    await _show_change(clock, (ada, ben), "meetup_moved", mails, say)
    if clock is None:
        say("\nDone for now: the rest happens on the day. Only in a server's own database can the demo let days pass.")
        return
    await _wait_for_reminders(clock, meetup, (ada, ben), mails, say)
    await _meet(client, clock, meetup, (ada, ben), say)
    await _earn(client, (ada, ben), say)
    await _look_around(client, chloe, {ada: 1, ben: 1}, say)
    say("\nDone: Ada and Ben have met.")


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
            time_zone=person.time_zone,
            location={"latitude": latitude + person.miles_north / 69.0, "longitude": longitude},
        )
        await client.matching.upsert_profile(profile=profile)
        level = matching_pb2.ExperienceLevel.Name(person.level).removeprefix("EXPERIENCE_LEVEL_").lower()
        say(f"{person.name} joins ({level}).")


async def _look_around(client: Client, viewer: Person, reputations: dict[Person, int], say: Say) -> None:
    candidates = [each async for each in client.matching.iter_candidates(user_id=viewer.user_id, radius_miles=25)]
    say(f"\n{viewer.name} looks for a wingman within 25 miles:")
    for candidate in candidates:
        say(f"  {candidate.first_name:<8}{candidate.distance_miles:5.0f} mi   reputation {candidate.reputation}")
    found = {candidate.user_id: candidate.reputation for candidate in candidates}
    expect(found == {person.user_id: reputation for person, reputation in reputations.items()}, "candidates")


async def _invite(client: Client, requester: Person, invitee: Person, say: Say) -> matching_pb2.Match:
    answer = await client.matching.request_match(
        user_id=requester.user_id,
        venue_suggestion="the café in the park",
        message="First time for me. Shall we?",
    )
    say(f"\n{requester.name} asks for the nearest wingman: {answer.candidate.first_name} is invited.")
    say(f"  match {answer.match.id}, {matching_pb2.MatchState.Name(answer.match.state)}")
    expect(answer.match.invitee_id == invitee.user_id, "invitation")
    return answer.match


async def _stranger(client: Client, stranger: Person, match: matching_pb2.Match, say: Say) -> None:
    try:
        await client.matching.get_match(match_id=match.id, user_id=stranger.user_id)
    except NotFound as error:
        say(f"\n{stranger.name}, who has no part in it, asks for the match: {error.code.name}, {error.reason}.")
    else:
        raise DemoFailed("a stranger saw the match")


async def _accept(client: Client, invitee: Person, match: matching_pb2.Match, say: Say) -> None:
    answer = await client.matching.respond_to_match(
        match_id=match.id, user_id=invitee.user_id, response=matching_pb2.MATCH_RESPONSE_ACCEPT
    )
    say(f"\n{invitee.name} accepts: {matching_pb2.MatchState.Name(answer.match.state)}.")
    expect(answer.match.state == matching_pb2.MATCH_STATE_ACCEPTED, "acceptance")


async def _schedule(client: Client, person: Person, match: matching_pb2.Match, say: Say) -> meetup_pb2.Meetup:
    first, second = (await client.challenge.list_challenges(page_size=2)).challenges
    time = datetime.now().astimezone().replace(minute=0, second=0, microsecond=0) + 73 * HOUR
    meetup = (
        await client.meetup.schedule_meetup(
            match_id=match.id,
            user_id=person.user_id,
            venue_name="the café in the park",
            scheduled_time=time,
            requester_challenge_id=first.id,
            invitee_challenge_id=second.id,
        )
    ).meetup
    say(f"\n{person.name} schedules a meet-up in three days, with a challenge each: {first.title}; {second.title}.")
    say(f"  meet-up {meetup.id}, {meetup_pb2.MeetupState.Name(meetup.state)}")
    expect(meetup.state == meetup_pb2.MEETUP_STATE_SCHEDULED, "meet-up")
    return meetup


async def _show_change(clock: Clock | None, people: tuple[Person, ...], kind: str, mails: Mails, say: Say) -> None:
    if clock is None:
        say("  The emails about it wait two minutes for other changes.")
        return
    await clock.forward(CHANGES_WAIT)
    say(
        f"  The clock goes forward two minutes, for which emails about a change wait for others: {clock.now:%H:%M} UTC."
    )
    for person in people:
        await mails.show_calendar(person, kind)


async def _move(
    client: Client, clock: Clock | None, person: Person, meetup: meetup_pb2.Meetup, say: Say
) -> meetup_pb2.Meetup:
    """Return the moved meetup, at the time that it has by the people's clock."""
    later, skipped = _time(meetup) + HOUR, clock.skipped if clock else timedelta()
    # The server's clock has not skipped what the people's has.
    moved = await client.meetup.reschedule_meetup(
        meetup_id=meetup.id, user_id=person.user_id, scheduled_time=later - skipped
    )
    say(f"\n{person.name} moves it an hour; the reminders move along.")
    expect(_time(moved.meetup) == later - skipped, "another time")
    moved.meetup.scheduled_time.FromDatetime(later)
    return moved.meetup


async def _wait_for_reminders(
    clock: Clock, meetup: meetup_pb2.Meetup, people: tuple[Person, ...], mails: Mails, say: Say
) -> None:
    for count, hours in enumerate((24, 2), 1):
        await clock.forward_to(_time(meetup) - hours * HOUR)
        say(f"\nThe clock goes forward to {hours} hours before: {clock.now:%a %d %b, %H:%M} UTC.")
        for person in people:
            await mails.show(person, "session_reminder", count=count)


async def _meet(client: Client, clock: Clock, meetup: meetup_pb2.Meetup, people: tuple[Person, ...], say: Say) -> None:
    hasty = people[0]
    try:
        await client.meetup.confirm_meetup(meetup_id=meetup.id, user_id=hasty.user_id)
    except FailedPrecondition as error:
        say(f"\n{hasty.name} confirms too early: {error.code.name}, {error.reason}.")
    else:
        raise DemoFailed("a meet-up that has not begun could be confirmed")
    await clock.forward_to(_time(meetup) + HOUR)
    say(f"\nThe clock goes forward to an hour after they met: {clock.now:%a %d %b, %H:%M} UTC.")
    for person in people:
        answer = await client.meetup.confirm_meetup(meetup_id=meetup.id, user_id=person.user_id)
        say(f"  {person.name} confirms: {meetup_pb2.MeetupState.Name(answer.meetup.state)}.")
    expect(answer.meetup.state == meetup_pb2.MEETUP_STATE_COMPLETED, "confirmations")


async def _earn(client: Client, people: tuple[Person, ...], say: Say) -> None:
    say("")
    for person in people:
        reputation = (await client.matching.get_reputation(user_id=person.user_id)).reputation
        say(f"{person.name}'s reputation is {reputation.score}, {BADGES[reputation.badge]}.")
        expect(reputation.score == 1, "reputation")


def _time(meetup: meetup_pb2.Meetup) -> datetime:
    return meetup.scheduled_time.ToDatetime(tzinfo=UTC)
