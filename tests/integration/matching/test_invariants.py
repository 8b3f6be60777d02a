"""What holds whatever a hundred callers do at the same time, on connections of their own."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

from support.people import VIENNA, People, north_of
from wingmanmatch_server import errors
from wingmanmatch_server.matching.rows import Match

CALLERS = 100
# What may come of a request when others want the same people.
T = TypeVar("T")
OUTRUN = {"PENDING_MATCH_EXISTS", "NO_CANDIDATE", "CANDIDATE_UNAVAILABLE", "CONFLICT"}


async def outcome(call: Awaitable[T]) -> T | str:
    """Return the answer, or the reason of the refusal; anything else, a deadlock say, is raised."""
    try:
        return await call
    except errors.DomainError as error:
        return error.reason


async def all_at_once(calls: Iterable[Awaitable[T]]) -> tuple[list[T], Counter[str]]:
    """Make the calls together and return the answers, and how often each reason came instead."""
    outcomes = await asyncio.gather(*(outcome(call) for call in calls))
    answers = [found for found in outcomes if not isinstance(found, str)]
    return answers, Counter(found for found in outcomes if isinstance(found, str))


async def count_matches(people: People, condition: str = "true") -> int:
    """Return how many matches there are."""
    count: int = await people.sql.fetchval(f"select count(*) from matches where {condition}")
    return count


async def test_one_pending_match_a_person(crowd: People) -> None:
    """A hundred people who all ask at once end up in pairs, nobody in two matches."""
    ids = [await crowd.join(north_of(VIENNA, crowd.source.random())) for _ in range(CALLERS)]
    answers, refusals = await all_at_once(crowd.store.request_match(person) for person in ids)
    assert set(refusals) <= OUTRUN
    assert len({answer.match.id for answer in answers}) == await count_matches(crowd) >= CALLERS // 4
    assert await crowd.broken_rules() == []


async def test_everybody_wants_the_same_person(crowd: People) -> None:
    """Of a hundred who name one person one is first, and the others learn that the person is taken."""
    star = await crowd.join()
    ids = await crowd.join_many(CALLERS)
    answers, refusals = await all_at_once(crowd.invite(person, star) for person in ids)
    assert len(answers) == 1
    assert refusals == {"CANDIDATE_UNAVAILABLE": CALLERS - 1}
    assert await crowd.broken_rules() == []


async def test_no_two_live_matches_a_pair(crowd: People) -> None:
    """A hundred requests of one pair, from both sides, make one match."""
    ann, ben = await crowd.join_many(2)
    sides = [(ann, ben), (ben, ann)] * (CALLERS // 2)
    answers, refusals = await all_at_once(crowd.invite(requester, invitee) for requester, invitee in sides)
    assert len({match.id for match in answers}) == await count_matches(crowd) == 1
    assert [match.state for match in answers].count("PENDING") == 1
    assert set(refusals) <= OUTRUN
    assert await crowd.broken_rules() == []


async def test_daily_maximum_is_exact(crowd: People) -> None:
    """A hundred callers who ask and cancel for one person get ten matches out of it."""
    ann = await crowd.join()
    others = await crowd.join_many(CALLERS)

    async def ask_and_cancel(other: str) -> Match:
        while True:
            try:
                match = await crowd.invite(ann, other)
            except errors.FailedPrecondition:
                continue
            return await crowd.store.cancel_match(match.id, ann)

    answers, refusals = await all_at_once(ask_and_cancel(other) for other in others)
    assert (len(answers), refusals) == (10, {"DAILY_MATCH_LIMIT": CALLERS - 10})
    assert await count_matches(crowd) == 10


async def test_mutual_named_requests_become_one_accepted_match(crowd: People) -> None:
    """In each of fifty pairs both name one another at once: both get the same match, and it is accepted."""
    pairs = [await crowd.join_many(2) for _ in range(CALLERS // 2)]
    calls = (crowd.invite(*side) for ann, ben in pairs for side in ((ann, ben), (ben, ann)))
    answers, refusals = await all_at_once(calls)
    assert refusals == {}
    for first, second in _twos(answers):
        assert first.id == second.id
        assert {first.state, second.state} == {"PENDING", "ACCEPTED"}
    assert await count_matches(crowd, "state = 'ACCEPTED'") == await count_matches(crowd) == CALLERS // 2


async def test_mutual_unnamed_requests_become_one_accepted_match(crowd: People) -> None:
    """Two who chose one another before either was first get the same match, and it is accepted."""
    ann, ben = await crowd.join_many(2)
    async with crowd.sql.transaction():
        await crowd.sql.execute("select from match_pool for update")
        calls = asyncio.gather(crowd.store.request_match(ann), crowd.store.request_match(ben))
        await until_waiting(crowd, 2)
    first, second = await calls
    assert first.match.id == second.match.id
    assert {first.match.state, second.match.state} == {"PENDING", "ACCEPTED"}
    assert await count_matches(crowd, "state = 'ACCEPTED'") == await count_matches(crowd) == 1


async def test_hot_set_without_deadlock(crowd: People) -> None:
    """Forty people on one block, a hundred callers who ask, answer and cancel for them: no deadlock, no rule broken."""
    ids = [await crowd.join(north_of(VIENNA, crowd.source.random() / 10)) for _ in range(40)]
    done: Counter[str] = Counter()

    async def live(source: random.Random) -> None:
        for _ in range(8):
            person = source.choice(ids)
            named = source.choice(ids) if source.random() < 0.3 else None
            asked = await outcome(crowd.store.request_match(person, candidate_user_id=named))
            if isinstance(asked, str):
                done[asked] += 1
                continue
            done[asked.match.state] += 1
            done[await settle(crowd, asked.match, source)] += 1

    await asyncio.gather(*(live(random.Random(caller)) for caller in range(CALLERS)))
    assert await crowd.broken_rules() == []
    assert set(done) <= OUTRUN | {
        *("PENDING", "ACCEPTED", "DECLINED", "CANCELLED"),
        *("MATCH_NOT_PENDING", "DAILY_MATCH_LIMIT", "FIELD_INVALID"),
    }
    assert done["DECLINED"] > 10
    assert done["CANCELLED"] > 10


async def test_expiring_at_once_counts_each_match_once(crowd: People) -> None:
    """Twenty sweeps at a time share the expired matches, while their people find new ones."""
    ids = await crowd.join_many(CALLERS)
    for ann, ben in _twos(ids):
        await crowd.invite(ann, ben)
    await crowd.sql.execute("update matches set expire_time = now()")
    await crowd.sql.execute("update match_pool set busy_until = now()")
    sweeps = asyncio.gather(*(crowd.store.expire_matches(limit=10) for _ in range(20)))
    _, refusals = await all_at_once(crowd.store.request_match(person) for person in ids)
    await sweeps
    await crowd.store.expire_matches()
    assert set(refusals) <= OUTRUN
    assert await count_matches(crowd, "state = 'EXPIRED'") == CALLERS // 2
    assert await crowd.broken_rules() == []


async def settle(people: People, match: Match, source: random.Random) -> str:
    """Let one of the two end a pending match somehow, and what follows from it; return its state or the refusal."""
    if source.random() < 0.5:
        cancelled = await outcome(people.store.cancel_match(match.id, match.requester_id))
        return cancelled if isinstance(cancelled, str) else cancelled.state
    find_next = source.random() < 0.5
    answer = await outcome(people.store.respond_to_match(match.id, match.invitee_id, "DECLINE", find_next=find_next))
    if isinstance(answer, str):
        return answer
    if following := answer.next_match:
        await outcome(people.store.cancel_match(following.id, following.requester_id))
    return answer.match.state


async def until_waiting(people: People, count: int) -> None:
    """Return when so many calls wait for a lock."""
    query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    while await people.sql.fetchval(query) < count:
        await asyncio.sleep(0.005)
        # Within a transaction the view shows what it showed first.
        await people.sql.execute("select pg_stat_clear_snapshot()")


def _twos(items: list[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(items[::2], items[1::2], strict=True)
