"""Erasing people: that nothing of them is left in any table, and that others keep their history."""

import asyncio
import uuid
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from support.people import VIENNA, People, new_profile
from wingmanmatch_server import errors
from wingmanmatch_server.matching.digests import PersonDigests
from wingmanmatch_server.matching.erasure import Erasure
from wingmanmatch_server.matching.export import Export
from wingmanmatch_server.matching.rows import FeedPosition
from wingmanmatch_server.matching.store import MatchingStore

NOBODY = str(uuid.UUID(int=0))
# Texts by which the erased person would be recognized wherever they stand.
MARKS = {
    "email": "zenobia.mark@example.org",
    "first_name": "Zenobiamark",
    "last_name": "Lastmark",
    "bio": "Biomark likes parks.",
    "photo_url": "https://example.org/photomark.jpg",
    "city": "Citymark",
}
WORDS = ("wordsmark to the invited", "the venuemark", "the notesmark", "the placemark", "the diarymark")

# Tables that hold nothing about anybody; every other one must show traces of the person before the erasure.
ABOUT_NOBODY = {"approach_challenges", "delivery_pauses", "kept_no_shows"}
# What stays, or can only be found by what goes.
BY_OTHER_NAMES = {
    "suppressed_addresses": "holds a hash of the address, and stays: who complained is not to be written to again",
    "delivery_events": "names mails only, and goes with them",
    "address_charges": "holds a hash of the address for a day, and stays: coming back is no way to get more emails",
}
# What a person's export says of each table, or why it says nothing.
EXPORTED = {
    "user_profiles": "PROFILE",
    "user_locations": "PROFILE",
    "match_pool": "PROFILE",
    "earlier_no_shows": "PROFILE",
    "matches": "MATCH",
    "avoidances": "BLOCK",
    "meetups": "MEETUP",
    "meetup_notes": "MEETUP",
    "user_challenges": "USER_CHALLENGE",
    "share_links": "SHARE_LINK",
    "notifications": "NOTIFICATION",
    "notification_preferences": "NOTIFICATION_PREFERENCES",
}
LEFT_OUT = {
    "match_events": "says when the matches exported changed, for a week",
    "match_event_feeds": "holds a number",
    "request_keys": "repeats answers that were given, for a day",
    "erasures": "is written by the erasure itself",
    "kept_pairs": "says of whom the person is kept apart that they were erased",
}


async def traces(people: People, needle: str) -> set[str]:
    """Return the names of the tables in some row of which a text stands."""
    tables = await people.sql.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
    )
    found = set()
    for (name,) in tables:
        if await people.sql.fetchval(f'select exists (select from "{name}" t where t::text ilike $1)', f"%{needle}%"):
            found.add(name)
    return found


async def all_tables(people: People) -> set[str]:
    """Return the names of all tables."""
    rows = await people.sql.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
    )
    return {row["relname"] for row in rows}


def keeping(people: People) -> MatchingStore:
    """Return a store that keeps under a secret what outlives an erasure."""
    return MatchingStore(people.store._database, max_daily_matches=10, digests=PersonDigests(["a secret"]))


async def live_fully(people: People) -> tuple[str, str]:
    """Make somebody who has left something in every table, and somebody who met them; return both ids."""
    me = people.new_id()
    await people.store.upsert_profile(new_profile(me, VIENNA, **MARKS), request_id=people.new_id())
    friend, enemy, suitor, gone = await people.join_many(4)
    await people.store.block_user(gone, me)
    await keeping(people).delete_profile(gone)
    await people.sql.execute("insert into earlier_no_shows values ($1, 1)", me)
    message, venue, notes, place, diary = WORDS
    asked = await people.store.request_match(
        me, candidate_user_id=friend, message=message, venue_suggestion=venue, request_id=people.new_id()
    )
    await people.answer(asked.match, "ACCEPT")
    await people.store.request_match(
        suitor, candidate_user_id=me, message="The suitor's own words.", request_id=people.new_id()
    )
    await people.sql.execute(
        """insert into avoidances (user_id, other_id, cause, until)
        values ($1, $2, 'BLOCKED', 'infinity'), ($2, $1, 'BLOCKED_BY', 'infinity')""",
        me,
        enemy,
    )
    await people.sql.execute(
        """select internal.enqueue_notification('MATCH_DECLINE', $1, '{}', $2, p_recipient_email => $3)""",
        people.new_id(),
        people.new_id(),
        MARKS["email"].upper(),
    )
    meetup = await people.schedule(asked.match, me, venue_name=place, request_id=people.new_id())
    await people.meetups.update_meetup_notes(meetup.id, me, diary, request_id=people.new_id())
    await people.sql.execute("select unsubscribe($1, 'SESSION_REMINDER')", me)
    await people.sql.execute(
        """with started as (
            select start_challenge($1, id, p_request_id => $2) ->> 'user_challenge' as attempt
            from approach_challenges limit 1)
        select submit_challenge((attempt::jsonb ->> 'id')::uuid, $1, $3, $2) from started""",
        me,
        people.new_id(),
        notes,
    )
    await people.sql.execute("select share_challenge(id, user_id, 60, user_id) from user_challenges")
    await people.store.share_match(asked.match.id, me, ttl_seconds=60)
    await people.sql.execute(
        """select record_delivery_event('event', 'delivered', p_notification_id => id)
        from notifications where user_id = $1 limit 1""",
        me,
    )
    return me, friend


async def test_nothing_is_left_in_any_table(people: People) -> None:
    """No row of any table names the person, their address, their name or their words; a new table is noticed."""
    me, _ = await live_fully(people)
    by_person = EXPORTED.keys() | LEFT_OUT.keys()
    known = by_person | ABOUT_NOBODY | BY_OTHER_NAMES.keys()
    assert await all_tables(people) == known, "say in this test what a new table holds of people"
    assert await traces(people, me) == by_person - {"erasures"}
    assert await people.sql.fetchval("select count(*) from delivery_events") == 1
    erasure_id = await keeping(people).delete_profile(me)
    assert erasure_id is not None
    assert await traces(people, me) == {"erasures"}
    assert await people.sql.fetchval("select count(*) from kept_pairs") > 0
    await people.store.finish_erasure(erasure_id)
    for needle in (me, *MARKS.values(), *WORDS):
        assert await traces(people, needle) == set(), needle
    assert await people.sql.fetchval("select count(*) from delivery_events") == 0


async def test_others_keep_their_history(people: People) -> None:
    """Friends keep their matches, ended, with nobody in the person's place, and are free; their own words stay."""
    me, friend = await live_fully(people)
    suitor = await people.sql.fetchval("select requester_id::text from matches where invitee_id = $1", me)
    await people.store.delete_profile(me)
    (ended,) = (await people.store.list_matches(friend)).matches
    (cancelled,) = (await people.store.list_matches(suitor)).matches
    assert (ended.requester_id, ended.state, ended.message) == (NOBODY, "ENDED", "")
    assert (cancelled.invitee_id, cancelled.state) == (NOBODY, "CANCELLED")
    assert cancelled.message == "The suitor's own words."
    assert await people.store.get_match(ended.id, friend) == ended
    assert await people.broken_rules() == []
    match = await people.invite(suitor, friend)
    assert match.state == "PENDING"


async def test_partners_are_told_that_the_meetup_is_off(people: People) -> None:
    """A mail that names nobody takes it out of their calendars, and their history keeps what they wrote themselves."""
    me, friend = await live_fully(people)
    (meetup,) = (await people.meetups.list_meetups(friend)).meetups
    await people.meetups.update_meetup_notes(meetup.id, friend, "The friend's own notes.")
    await people.store.delete_profile(me)
    (kept,) = (await people.meetups.list_meetups(friend)).meetups
    assert kept == replace(
        meetup,
        state="CANCELLED",
        requester_id=NOBODY,
        venue_name="",
        notes="The friend's own notes.",
        update_time=kept.update_time,
    )
    (mail,) = await people.sql.fetch(
        "select user_id::text, kind, payload ->> 'sequence' as sequence from notifications where state = 'PENDING'"
    )
    assert tuple(mail) == (friend, "MEETUP_CANCELLED", "1")


async def test_place_that_the_partner_chose_stays(people: People) -> None:
    """Only the erased person's own words go."""
    me, friend = await people.join_many(2)
    match = await people.match(me, friend)
    meetup = await people.schedule(match, me, venue_name="the venuemark")
    await people.meetups.reschedule_meetup(meetup.id, friend, venue_name="Augarten")
    await people.store.delete_profile(me)
    (kept,) = (await people.meetups.list_meetups(friend)).meetups
    assert kept.venue_name == "Augarten"
    assert await traces(people, "venuemark") == set()


async def test_what_was_earned_together_stays(people: People) -> None:
    """A meet-up that has begun can still be answered, counts for who stays, and goes when both are erased."""
    me, friend = await people.join_many(2)
    meetup = await people.schedule(await people.match(me, friend), me)
    await people.let_pass(timedelta(hours=73))
    await people.meetups.confirm_meetup(meetup.id, me)
    await people.store.delete_profile(me)
    completed = await people.meetups.confirm_meetup(meetup.id, friend)
    assert (completed.state, completed.requester_id) == ("COMPLETED", NOBODY)
    assert (await people.store.get_reputation(friend)).score == 1
    assert await people.broken_rules() == []
    await people.store.delete_profile(friend)
    assert await people.sql.fetchval("select count(*) from meetups") == 0


async def test_friends_are_told_by_an_event(people: People) -> None:
    """The end of their matches stands in the feeds of those who stay, with nobody in the person's place."""
    me, friend = await live_fully(people)
    (feed,) = await people.store.read_events([FeedPosition(friend, None)], limit=1)
    await people.store.delete_profile(me)
    (feed,) = await people.store.read_events([FeedPosition(friend, feed.last_sequence)], limit=10)
    assert [event.kind for event in feed.events] == ["MEETUP_CANCELLED", "ENDED"]
    assert {event.match.requester_id for event in feed.events} == {NOBODY}


async def test_waiting_mails_about_the_person_are_stopped(people: People) -> None:
    """What others would have been written about the person is not sent any more, even if it is just being sent."""
    me, friend = await people.join_many(2)
    await people.invite(me, friend)
    claimed = await people.store._database.call("claim_notifications", p_owner="test", p_limit=1, p_lease_seconds=60.0)
    assert claimed["notifications"][0]["user_id"] == friend
    await people.store.delete_profile(me)
    rows = await people.sql.fetch("select state, payload, rendered, lease_owner from notifications")
    assert {tuple(row) for row in rows} == {("CANCELLED", "{}", None, None)}


async def test_remembered_answers_of_others_are_anonymous(people: People) -> None:
    """A repeated request of somebody else returns the first answer with nobody in it, and acts no second time."""
    me = await people.join(**MARKS)
    suitor = await people.join()
    request_id = people.new_id()
    first = await people.store.request_match(suitor, candidate_user_id=me, request_id=request_id)
    await people.store.delete_profile(me)
    again = await people.store.request_match(suitor, candidate_user_id=me, request_id=request_id)
    assert again.match.id == first.match.id
    assert (again.match.invitee_id, again.candidate.user_id) == (NOBODY, NOBODY)
    assert again.candidate.first_name == ""


async def test_two_erased_people_leave_no_match(people: People) -> None:
    """A match of which both people are gone is nobody's history."""
    first, second = await people.join_many(2)
    await people.invite(first, second)
    await people.store.delete_profile(first)
    await people.store.delete_profile(second)
    assert await people.sql.fetchval("select count(*) from matches") == 0
    assert await people.sql.fetchval("select count(*) from match_events") == 0


async def test_repeated_erasure(people: People) -> None:
    """With the same request_id it succeeds again; otherwise there is nobody to erase."""
    me, other = await people.join_many(2)
    request_id = people.new_id()
    assert await people.store.delete_profile(me, request_id=request_id) is not None
    assert await people.store.delete_profile(me, request_id=request_id) is None
    for arguments in ((me, None), (me, people.new_id()), (people.new_id(), request_id)):
        with pytest.raises(errors.NotFound) as caught:
            await people.store.delete_profile(arguments[0], request_id=arguments[1])
        assert caught.value.reason == "PROFILE_NOT_FOUND"
    assert (await people.store.get_profile(other)).user_id == other


async def test_nobody_elses_rows_are_read(people: People) -> None:
    """An erasure enters every table by an index, however small it is, so the cost is that of the person's rows."""
    me, _ = await live_fully(people)
    read = "select relname, seq_scan from pg_stat_xact_user_tables"
    async with people.sql.transaction():
        before = dict(await people.sql.fetch(read))
        await people.sql.execute("select delete_profile($1, null, $2)", me, "ab" * 32)
        scanned = {name for name, scans in await people.sql.fetch(read) if scans > before[name]}
    assert scanned == set()


async def test_nobody_cannot_join(people: People) -> None:
    """The id that stands for erased people can be nobody's."""
    with pytest.raises(errors.InvalidArgument) as caught:
        await people.store.upsert_profile(new_profile(NOBODY, VIENNA))
    assert [violation.field for violation in caught.value.violations] == ["profile.user_id"]


async def test_erasing_while_others_match(crowd: People) -> None:
    """While everybody invites, answers and expires, some are erased: no deadlock, no trace, no broken rule."""
    everybody = await crowd.join_many(24)
    leaving = everybody[:8]

    async def court(number: int) -> None:
        me = everybody[number]
        for turn in range(6):
            with suppress(errors.NotFound, errors.FailedPrecondition):
                asked = await crowd.store.request_match(me, candidate_user_id=everybody[(number + turn + 1) % 24])
                if asked.match.state == "PENDING":
                    await crowd.answer(asked.match, "ACCEPT" if turn % 2 else "DECLINE")
            await crowd.store.expire_matches()

    async def leave(number: int, user_id: str) -> None:
        await asyncio.sleep(0.02 * number)
        await crowd.store.delete_profile(user_id)

    await asyncio.gather(
        *(court(number) for number in range(24)), *(leave(number, user_id) for number, user_id in enumerate(leaving))
    )
    for user_id in leaving:
        assert await traces(crowd, user_id) <= {"erasures"}
    assert await crowd.broken_rules() == []


async def test_erasing_people_who_once_met(crowd: People) -> None:
    """Those whose histories are full of one another can be erased at the same time: nobody is told to come again."""
    everybody = await crowd.join_many(10)
    for number, me in enumerate(everybody):
        for other in everybody[number + 1 :]:
            await crowd.answer(await crowd.invite(me, other), "DECLINE")
            await crowd.sql.execute("update matches set create_time = create_time - interval '1 day'")
    await asyncio.gather(*(crowd.store.delete_profile(each) for each in everybody))
    for table in ("user_profiles", "matches", "notifications", "match_events"):
        assert await crowd.sql.fetchval(f"select count(*) from {table}") == 0


WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


@pytest.mark.parametrize("act", ["accept", "decline", "cancel", "end"])
async def test_match_vanishes_under_a_call(people: People, act: str) -> None:
    """Who acts on a match while both its people are being erased finds that there is none, and nothing else breaks."""
    first, second = await people.join_many(2)
    match = await people.invite(first, second)
    if act == "end":
        await people.answer(match, "ACCEPT")
    calls = {
        "accept": lambda: people.store.respond_to_match(match.id, second, "ACCEPT"),
        "decline": lambda: people.store.respond_to_match(match.id, second, "DECLINE"),
        "cancel": lambda: people.store.cancel_match(match.id, first),
        "end": lambda: people.store.end_match(match.id, first),
    }
    async with people.sql.transaction():
        await people.sql.execute("select delete_profile($1), delete_profile($2)", first, second)
        call = asyncio.create_task(calls[act]())
        async with asyncio.timeout(10):
            while not await people.sql.fetchval(WAITING):
                await asyncio.sleep(0.01)
    with pytest.raises(errors.NotFound) as caught:
        await call
    assert caught.value.reason == "MATCH_NOT_FOUND"


class Place:
    """Something outside the database that holds things of people, and may be away."""

    def __init__(self) -> None:
        self.erased: list[str] = []
        self.away = False

    async def erase(self, user_id: str) -> None:
        """Erase, unless away."""
        if self.away:
            raise errors.Unavailable("REDIS_UNAVAILABLE", "Redis does not answer")
        self.erased.append(user_id)


async def test_clean_up_is_made_good(people: People) -> None:
    """What cannot be cleaned up at once is remembered, tried again everywhere, and then forgotten."""
    near, far = Place(), Place()
    erasure = Erasure(people.store, {"near": near.erase, "far": far.erase})
    me = await people.join()
    far.away = True
    await erasure.erase(me)
    assert (near.erased, far.erased) == ([me], [])
    await erasure.make_good()
    assert near.erased == [me], "it is left to the one who began for a minute"
    await people.sql.execute("update erasures set next_attempt_time = now()")
    far.away = False
    await erasure.make_good()
    assert (near.erased, far.erased) == ([me, me], [me])
    assert await traces(people, me) == set()
    await people.sql.execute("update erasures set expire_time = now()")
    await erasure.make_good()
    assert await people.sql.fetchval("select count(*) from erasures") == 0
    assert far.erased == [me]


async def exported(people: People, user_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Return all records about a person."""
    return [each async for each in Export(people.store, {}).records(user_id)]


async def test_export_has_everything_that_a_person_gave(people: People) -> None:
    """Every text of the person's is in the export, and every table about people is in it or left out for a reason."""
    me, friend = await live_fully(people)
    records = await exported(people, me)
    assert {kind for kind, _ in records} == set(EXPORTED.values())
    said = str(records)
    for needle in (me, *MARKS.values(), *WORDS, str(VIENNA[0]), str(VIENNA[1])):
        assert needle in said
    assert "suitor's own words" not in said
    assert [kind for kind, _ in records] == sorted((kind for kind, _ in records), key=list(EXPORTED.values()).index)
    assert friend in said


async def test_export_leaves_out_what_the_other_person_wrote(people: People) -> None:
    """Of a meet-up each gets the facts, their own notes, and the place if they chose it."""
    me, friend = await people.join_many(2)
    meetup = await people.schedule(await people.match(me, friend), me, venue_name="the venuemark")
    await people.meetups.update_meetup_notes(meetup.id, me, "the diarymark")
    (mine,) = [record for kind, record in await exported(people, me) if kind == "MEETUP"]
    (theirs,) = [record for kind, record in await exported(people, friend) if kind == "MEETUP"]
    assert (mine["venue_name"], mine["notes"]) == ("the venuemark", "the diarymark")
    assert "mark" not in str(theirs)
    assert theirs["id"] == meetup.id
    assert datetime.fromisoformat(theirs["scheduled_time"]) == meetup.scheduled_time


async def test_export_comes_in_pages(people: People) -> None:
    """Pages joined are the whole, the oldest first, even where records are of one moment."""
    me = await people.join()
    others = await people.join_many(7)
    for other in others:
        await people.sql.execute(
            """insert into matches (requester_id, invitee_id, venue_suggestion, message, state, create_time)
            values ($1, $2, '', '', 'ENDED', date_trunc('hour', now()))""",
            me,
            other,
        )
    after, found = None, []
    while True:
        page = await people.store.list_export_records(me, "MATCH", after=after, page_size=3)
        found += [record["id"] for record in page.records]
        after = page.next_after
        if after is None:
            break
    assert len(set(found)) == len(found) == 7


async def test_nobody_has_no_export(people: People) -> None:
    """There is nothing to export of a person without a profile."""
    with pytest.raises(errors.NotFound):
        await exported(people, people.new_id())
