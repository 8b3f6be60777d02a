"""People for tests: how to make them, place them, and let time pass for them."""

import random
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from wingmanmatch_server.drivers.postgres import open_postgres
from wingmanmatch_server.matching.rows import Match
from wingmanmatch_server.matching.store import MatchingStore
from wingmanmatch_server.meetup.rows import Meetup
from wingmanmatch_server.meetup.store import MeetupStore

Place = tuple[float, float]

VIENNA: Place = (48.2082, 16.3738)
MILES_PER_DEGREE = 69.0934


def north_of(place: Place, miles: float) -> Place:
    """Return the place so many miles north of `place`."""
    return place[0] + miles / MILES_PER_DEGREE, place[1]


def in_hours(hours: float) -> str:
    """Return the time so many hours from now, as ISO 8601."""
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


def new_profile(user_id: str, place: Place | None, **fields: Any) -> dict[str, Any]:
    """Return a whole profile that breaks no rule, but for `fields`."""
    profile: dict[str, Any] = {
        "user_id": user_id,
        "email": "ann@example.org",
        "first_name": "Ann",
        "last_name": "Example",
        "bio": "Says hello first.",
        "photo_url": "https://example.org/ann.jpg",
        "experience_level": "INTERMEDIATE",
        "confidence_archetype": "NATURALIST",
        "city": "Vienna",
        "location_privacy": "APPROXIMATE",
        "max_travel_miles": 50,
        "time_zone": "Europe/Vienna",
        "locale": "de-AT",
        "active": True,
    }
    if place is not None:
        profile["location"] = {"latitude": place[0], "longitude": place[1]}
    return profile | fields


class People:
    """Those of one database: `store` and `database` act as the service role, `sql` may do anything."""

    def __init__(self, store: MatchingStore, sql: asyncpg.Connection, source: random.Random) -> None:
        """Keep the ways in; `source` gives ids that are the same in every run."""
        self.store = store
        self.meetups = MeetupStore(store._database)
        self.sql = sql
        self.source = source

    def new_id(self) -> str:
        """Return a UUID that was not used yet."""
        return str(uuid.UUID(int=self.source.getrandbits(128), version=4))

    async def join(self, place: Place = VIENNA, **fields: Any) -> str:
        """Create a profile and return the person's id."""
        user_id = self.new_id()
        await self.store.upsert_profile(new_profile(user_id, place, **fields))
        return user_id

    async def join_many(self, count: int, place: Place = VIENNA, **fields: Any) -> list[str]:
        """Create several alike."""
        return [await self.join(place, **fields) for _ in range(count)]

    async def invite(self, requester: str, invitee: str, **details: Any) -> Match:
        """Let one invite the other and return the match."""
        invited = await self.store.request_match(requester, candidate_user_id=invitee, **details)
        return invited.match

    async def answer(self, match: Match, response: str) -> Match:
        """Let the invited person respond and return the match."""
        answered = await self.store.respond_to_match(match.id, match.invitee_id, response)
        return answered.match

    async def match(self, requester: str, invitee: str) -> Match:
        """Let one invite the other, who accepts, and return the match."""
        return await self.answer(await self.invite(requester, invitee), "ACCEPT")

    async def schedule(self, match: Match, user_id: str, *, hours: float = 72, **details: Any) -> Meetup:
        """Let one of a match's two people schedule a meet-up so many hours ahead and return it."""
        arguments = {"venue_name": "Prater", "scheduled_time": in_hours(hours)} | details
        return await self.meetups.schedule_meetup(match.id, user_id, **arguments)

    async def tell(self) -> None:
        """Let everybody have got the emails about changes of meetups that wait."""
        await self.sql.execute(
            "update notifications set state = 'SENT', sent_time = now()"
            " where state = 'PENDING' and kind in ('MEETUP_SCHEDULED', 'MEETUP_MOVED', 'MEETUP_CANCELLED')"
        )

    async def candidates(self, user_id: str, **arguments: Any) -> list[str]:
        """Return the ids of the people whom a person could invite."""
        page = await self.store.list_candidates(user_id, **arguments)
        return [candidate.user_id for candidate in page.candidates]

    async def let_pass(self, span: timedelta) -> None:
        """Make all that has happened so much older."""
        await age_everything(self.sql, span)

    async def broken_rules(self) -> Sequence[str]:
        """Return what holds for some people or matches and must hold for none."""
        rows: list[asyncpg.Record] = await self.sql.fetch(BROKEN_RULES)
        return [row["broken"] for row in rows]


async def age_everything(sql: asyncpg.Connection, span: timedelta) -> None:
    """Make all that has happened in a database so much older."""
    for statement in (
        "update matches set create_time = create_time - $1::interval, expire_time = expire_time - $1::interval",
        """update meetups set scheduled_time = scheduled_time - $1::interval,
            move_times = array(select t - $1::interval from unnest(move_times) t)""",
        "update address_charges set charge_time = charge_time - $1::interval",
        """update notifications set send_time = send_time - $1::interval,
            expire_time = expire_time - $1::interval, next_attempt_time = next_attempt_time - $1::interval""",
        "update match_pool set busy_until = busy_until - $1::interval",
        "update avoidances set until = until - $1::interval",
        "update request_keys set expire_time = expire_time - $1::interval",
        "update erasures set expire_time = expire_time - $1::interval",
        "update kept_pairs set expire_time = expire_time - $1::interval",
        "update kept_no_shows set expire_time = expire_time - $1::interval",
    ):
        await sql.execute(statement, span)


BROKEN_RULES = """
with pending as (
    select m.id, seat.user_id from matches m cross join lateral (values (m.requester_id), (m.invitee_id)) seat (user_id)
    where m.state = 'PENDING' and m.expire_time > now()
)
select 'two pending matches of one person' as broken from pending group by user_id having count(*) > 1
union all
select 'two live matches of one pair' from matches where state in ('PENDING', 'ACCEPTED')
group by least(requester_id, invitee_id), greatest(requester_id, invitee_id) having count(*) > 1
union all
select 'a pair matched twice within seven days' from matches
-- Of erased people nobody knows who they were; least and greatest would pass them over.
where create_time > now() - interval '7 days' and requester_id is not null and invitee_id is not null
group by least(requester_id, invitee_id), greatest(requester_id, invitee_id) having count(*) > 1
union all
select 'two live meet-ups of one match' from meetups where state = 'SCHEDULED' group by match_id having count(*) > 1
union all
select 'a meet-up ahead of a match that is not accepted' from meetups t join matches m on m.id = t.match_id
where t.state = 'SCHEDULED' and t.scheduled_time > now() and m.state <> 'ACCEPTED'
union all
select 'a reputation that is not what meet-ups make it' from match_pool p
where p.reputation <> (internal.reputation_json(p.user_id) ->> 'score')::integer
union all
select 'a mail that waits about a meet-up that is otherwise' from notifications n
join meetups t on t.id = (n.payload ->> 'meetup_id')::uuid
where n.state = 'PENDING' and n.expire_time > now()
    and ((n.payload ->> 'sequence')::integer <> t.sequence
        or (n.kind = 'MEETUP_CANCELLED') <> (t.state = 'CANCELLED'))
union all
select 'a pending match without its person being busy' from pending p join match_pool m using (user_id)
where m.pending_match_id is distinct from p.id or m.busy_until <= now()
union all
select 'a busy person without a pending match' from match_pool m
where m.busy_until > now()
    and not exists (select from pending p where (p.user_id, p.id) = (m.user_id, m.pending_match_id))
"""


@asynccontextmanager
async def open_people(dsn: str, *, connections: int = 8, max_daily_matches: int = 10) -> AsyncIterator[People]:
    """Open the database of `dsn`, with at most `connections` for the store."""
    async with open_postgres(dsn, max_connections=connections) as database:
        sql = await asyncpg.connect(dsn)
        try:
            store = MatchingStore(database, max_daily_matches=max_daily_matches)
            yield People(store, sql, random.Random(7))
        finally:
            await sql.close()


async def emptied(people: People) -> People:
    """Remove everybody and everything about them."""
    await people.sql.execute(
        "truncate user_profiles, request_keys, erasures, kept_pairs, kept_no_shows, notifications,"
        " notification_preferences, delivery_events"
        " cascade"
    )
    return People(people.store, people.sql, random.Random(7))
