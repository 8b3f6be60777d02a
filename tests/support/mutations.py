"""Everything that changes the database, at once, about one pair of people.

`MUTATIONS` has arguments for each function of the schema `public` that may write. `Pair` is two people in one of several
`SITUATIONS`, with rows of every table that names people.
"""

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from support.people import VIENNA, in_hours, new_profile
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.postgres import open_postgres

CALLERS = 16
GROUP = 4
OWNER = "worker"
SITUATIONS = ("asked", "lapsed", "matched", "begun", "overdue", "blocked")
NOTE = {"inviter_name": "Ann", "venue_suggestion": "Prater", "message": "Hello."}

MUTATING = """
select p.proname from pg_proc p
where p.pronamespace = 'public'::regnamespace and p.provolatile = 'v' and p.prorettype <> 'trigger'::regtype
"""


@dataclass(frozen=True)
class Pair:
    """Two people, and the ids of what is stored of them."""

    people: tuple[str, str]
    ids: dict[str, Any]
    source: random.Random

    def someone(self) -> str:
        """Return one of the two."""
        return self.source.choice(self.people)

    def both(self) -> tuple[str, str]:
        """Return the two, in any order."""
        me, other = self.source.sample(self.people, 2)
        return me, other

    def one_of(self, key: str) -> Any:
        """Return one of several ids."""
        return self.source.choice(self.ids[key])

    def request_id(self) -> str | None:
        """Return none, one whose answer has expired, or a new one."""
        return self.source.choice((None, self.ids["request_id"], str(uuid.UUID(int=self.source.getrandbits(128)))))


def _invite(pair: Pair) -> dict[str, Any]:
    me, other = pair.both()
    return {"p_user_id": me, "p_candidate_user_id": pair.source.choice((None, other))}


def _block(pair: Pair) -> dict[str, Any]:
    me, other = pair.both()
    return {"p_user_id": me, "p_blocked_user_id": other}


def _upsert(pair: Pair) -> dict[str, Any]:
    fields = {"email": f"a{pair.source.randrange(9)}@example.org", "first_name": pair.source.choice(("Ann", "Ben"))}
    return {"p_profile": new_profile(pair.someone(), VIENNA, **fields)}


def _meetup(pair: Pair, **more: Any) -> dict[str, Any]:
    return {"p_meetup_id": pair.ids["meetup_id"], "p_user_id": pair.someone()} | more


def _match(pair: Pair, **more: Any) -> dict[str, Any]:
    return {"p_match_id": pair.ids["match_id"], "p_user_id": pair.someone()} | more


def _attempt(pair: Pair, **more: Any) -> dict[str, Any]:
    return pair.one_of("attempts") | more


def _leased(pair: Pair, **more: Any) -> dict[str, Any]:
    lease = pair.one_of("leases")
    return {"p_id": lease["id"], "p_epoch": lease["epoch"]} | more


def _answer_invitation(pair: Pair) -> dict[str, Any]:
    response = pair.source.choice(("ACCEPT", "DECLINE"))
    return _match(pair, p_response=response, p_find_next=True)


def _event(pair: Pair) -> dict[str, Any]:
    return {
        "p_event_id": f"event-{pair.source.randrange(6)}",
        "p_type": "email.bounced",
        "p_state": "BOUNCED",
        "p_suppression": "BOUNCE",
        "p_address": "bounced@example.org",
        "p_notification_id": pair.one_of("notifications"),
    }


Arguments = Callable[[Pair], dict[str, Any]]
# These take a p_request_id as well.
REPEATABLE: dict[str, Arguments] = {
    "block_user": _block,
    "cancel_match": _match,
    "cancel_meetup": _meetup,
    "cancel_notification": lambda pair: {"p_notification_id": pair.one_of("notifications")},
    "confirm_meetup": _meetup,
    "delete_profile": lambda pair: {"p_user_id": pair.someone()},
    "end_match": _match,
    "report_no_show": _meetup,
    "request_match": _invite,
    "reschedule_meetup": lambda pair: _meetup(pair, p_scheduled_time=in_hours(pair.source.uniform(30, 90))),
    "respond_to_match": _answer_invitation,
    "retry_notification": lambda pair: {"p_notification_id": pair.one_of("notifications")},
    "revoke_share_link": lambda pair: pair.one_of("links"),
    "schedule_meetup": lambda pair: _match(pair, p_venue_name="Prater", p_scheduled_time=in_hours(72)),
    "send_notification": lambda pair: {
        "p_kind": "MATCH_INVITATION",
        "p_payload": NOTE,
        "p_user_id": pair.someone(),
        "p_recipient_email": pair.source.choice((None, *pair.ids["emails"])),
    },
    "share_challenge": lambda pair: _attempt(pair, p_ttl_seconds=3600),
    "share_match": lambda pair: _match(pair, p_ttl_seconds=3600),
    "start_challenge": lambda pair: {"p_user_id": pair.someone(), "p_challenge_id": pair.one_of("challenges")},
    "submit_challenge": _attempt,
    "unblock_user": _block,
    "update_meetup_notes": lambda pair: _meetup(pair, p_notes=pair.source.choice(("", "Smile."))),
    "update_notification_preferences": lambda pair: {
        "p_user_id": pair.someone(),
        "p_kinds": [{"kind": "MATCH_DECLINE", "enabled": pair.source.random() < 0.5}],
    },
    "upsert_profile": _upsert,
}
MUTATIONS: dict[str, Arguments] = {
    name: lambda pair, arguments=arguments: arguments(pair) | {"p_request_id": pair.request_id()}
    for name, arguments in REPEATABLE.items()
} | {
    "claim_erasures": lambda _: {},
    "claim_notifications": lambda _: {"p_owner": OWNER, "p_limit": 4, "p_lease_seconds": 60.0},
    "expire_matches": lambda _: {},
    "expire_meetups": lambda _: {},
    "finish_erasure": lambda pair: {"p_erasure_id": pair.ids["erasure_id"]},
    "finish_notification": lambda pair: _leased(
        pair, p_outcome=pair.source.choice(("ACCEPTED", "NOT_ACCEPTED", "THROTTLED")), p_pause_seconds=0.001
    ),
    "purge_delivery_events": lambda _: {},
    "purge_match_events": lambda _: {},
    "purge_request_keys": lambda _: {},
    "purge_share_links": lambda _: {},
    "record_delivery_event": _event,
    "release_notifications": lambda _: {"p_owner": OWNER},
    "resume_deliveries": lambda _: {},
    "store_rendered_notification": lambda pair: _leased(pair, p_rendered={"subject": "Hello"}),
    "unsubscribe": lambda pair: {"p_user_id": pair.someone(), "p_kind": "MATCH_DECLINE"},
}


def pairs_of_mutations() -> list[tuple[str, ...]]:
    """Return every pair of functions, each with itself as well, for so many callers as there are."""
    names = sorted(MUTATIONS)
    return [(first, second) * (CALLERS // 2) for place, first in enumerate(names) for second in names[place:]]


def blocks_of_mutations(source: random.Random) -> list[tuple[str, ...]]:
    """Return sets of functions in which each pair of functions meets at least once, for as many callers."""
    names = source.sample(sorted(MUTATIONS), len(MUTATIONS))
    groups = [names[place : place + GROUP] for place in range(0, len(names), GROUP)]
    return [(*first, *second) * (CALLERS // 2 // GROUP) for first, second in combinations(groups, 2)]


class Matrix:
    """A database of its own on which mutations meet."""

    def __init__(self, database: Database, sql: asyncpg.Connection, source: random.Random) -> None:
        """Keep the ways in: `database` for the callers, `sql` of the superuser."""
        self._database = database
        self._sql = sql
        self._source = source
        self.outcomes: Counter[tuple[str, str]] = Counter()

    async def mutating_functions(self) -> set[str]:
        """Return the names of the functions that may write: PostgreSQL refuses writes of those that are not volatile."""
        return {row["proname"] for row in await self._sql.fetch(MUTATING)}

    async def settle(self, situation: str) -> Pair:
        """Empty the database, and put two people into a situation."""
        people = self._new_id(), self._new_id()
        found = await self._sql.fetchval("select lock_order.settle($1, $2, $3)", *people, situation)
        return Pair(people, json.loads(found), self._source)

    async def meet(self, functions: Sequence[str], situation: str) -> None:
        """Call all the functions at once, with arguments about one pair of people."""
        pair = await self.settle(situation)
        calls = [(name, MUTATIONS[name](pair)) for name in self._source.sample(functions, len(functions))]
        await asyncio.gather(*(self._call(name, arguments) for name, arguments in calls))

    async def _call(self, name: str, arguments: dict[str, Any]) -> None:
        outcome = "done"
        try:
            await self._database.call(name, **arguments)
        except errors.DomainError as error:
            outcome = error.reason
        self.outcomes[name, outcome] += 1

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._source.getrandbits(128), version=4))


@asynccontextmanager
async def open_matrix(dsn: str, source: random.Random) -> AsyncIterator[Matrix]:
    """Open an empty database for `CALLERS` at once."""
    sql = await asyncpg.connect(dsn)
    try:
        await sql.execute(SETTLE)
        async with open_postgres(dsn, max_connections=CALLERS) as database:
            yield Matrix(database, sql, source)
    finally:
        await sql.close()


async def count_deadlocks(admin_dsn: str, dsn: str) -> int:
    """Return how many deadlocks there were in a database, once all its connections are closed.

    A connection reports what it counted at the latest when it ends, before it leaves pg_stat_activity.
    """
    name = urlsplit(dsn).path.removeprefix("/")
    sql = await asyncpg.connect(admin_dsn)
    try:
        while await sql.fetchval("select exists (select from pg_stat_activity where datname = $1)", name):
            await asyncio.sleep(0.01)
        found: int = await sql.fetchval("select deadlocks from pg_stat_database where datname = $1", name)
        return found
    finally:
        await sql.close()


def drives(rounds: Iterable[Sequence[str]], turns: int) -> list[tuple[Sequence[str], str]]:
    """Return each round in each situation, so many times."""
    return [(functions, situation) for functions in rounds for situation in SITUATIONS for _ in range(turns)]


SETTLE = """
create schema lock_order;

create function lock_order.profile(p_user_id uuid, p_email text) returns void language sql as $$
    select public.upsert_profile(jsonb_build_object(
        'user_id', p_user_id, 'email', p_email, 'first_name', 'Ann', 'last_name', '', 'bio', '', 'photo_url', '',
        'experience_level', 'BEGINNER', 'confidence_archetype', 'GHOST', 'city', 'Vienna', 'max_travel_miles', 50,
        'time_zone', 'Europe/Vienna', 'locale', 'de',
        'location', jsonb_build_object('latitude', 48.2082, 'longitude', 16.3738)))
$$;

create function lock_order.clear() returns void language sql as $$
    delete from public.notifications;
    delete from public.notification_preferences;
    delete from public.suppressed_addresses;
    delete from public.delivery_events;
    delete from public.delivery_pauses;
    delete from public.request_keys;
    delete from public.erasures;
    delete from public.matches;
    delete from public.match_events;
    delete from public.user_profiles;
$$;

create function lock_order.pair(a uuid, b uuid, situation text, out match_id uuid, out meetup_id uuid)
    language plpgsql as $$
begin
    match_id := gen_random_uuid();
    meetup_id := gen_random_uuid();
    if situation = 'blocked' then
        perform public.block_user(a, b), public.block_user(b, a);
        return;
    end if;
    match_id := public.request_match(a, b) #>> '{match,id}';
    if situation = 'lapsed' then
        update public.matches set expire_time = now();
        update public.match_pool set busy_until = now();
    elsif situation <> 'asked' then
        perform public.respond_to_match(match_id, b, 'ACCEPT');
        meetup_id := public.schedule_meetup(match_id, a, 'Prater', now() + interval '3 days') #>> '{meetup,id}';
        perform public.update_meetup_notes(meetup_id, a, 'Smile.'), public.update_meetup_notes(meetup_id, b, 'Smile.');
        update public.meetups m set scheduled_time = now() - case situation
            when 'begun' then interval '1 hour' when 'overdue' then interval '8 days' else interval '-3 days' end;
    end if;
end
$$;

create function lock_order.emails(a uuid, b uuid) returns void language plpgsql as $$
declare
    person uuid;
begin
    foreach person in array array[a, b] loop
        perform public.send_notification('MATCH_DECLINE', '{"decliner_name": "Ann"}', person),
            -- To the other's address, as an erasure of the other finds it too.
            public.send_notification('MATCH_DECLINE', '{"decliner_name": "Ann"}', person,
                case person when a then 'b@example.org' else 'a@example.org' end);
        perform public.update_notification_preferences(person, '[{"kind": "MATCH_DECLINE", "enabled": false}]');
    end loop;
    perform public.claim_notifications('worker', 3, 60);
    update public.notifications n set state = 'DEAD'
    where n.id = (select d.id from public.notifications d where d.state = 'PENDING' limit 1);
    insert into public.delivery_events (event_id, type, notification_id, receive_time)
    select 'old/' || n.id, 'email.sent', n.id, now() - interval '31 days' from public.notifications n;
end
$$;

create function lock_order.keys(a uuid, b uuid, request_id uuid) returns void language sql as $$
    insert into public.request_keys (scope, user_id, request_id, body_hash, answer, expire_time)
    select p.proname, seat.me, keys.request_id, '', jsonb_build_object('match', jsonb_build_object(
        'requester_id', seat.me, 'invitee_id', seat.other)), now()
    from pg_proc p, (values (a, b), (b, a)) seat (me, other)
    where p.pronamespace = 'public'::regnamespace and 'p_request_id' = any (p.proargnames)
$$;

create function lock_order.challenges(a uuid, b uuid) returns void language plpgsql as $$
declare
    person uuid;
    attempt uuid;
begin
    foreach person in array array[a, b] loop
        attempt := public.start_challenge(person, 'c1a11e9e-0001-4000-8000-000000000001') #>> '{user_challenge,id}';
        perform public.share_challenge(attempt, person, 3600), public.share_challenge(attempt, person, 3600);
    end loop;
    update public.share_links l set expire_time = now()
    where l.id in (select distinct on (each.user_id) each.id from public.share_links each);
end
$$;

create function lock_order.settle(a uuid, b uuid, situation text) returns jsonb language plpgsql as $$
declare
    request_id constant uuid := gen_random_uuid();
    pair record;
begin
    perform lock_order.clear();
    perform lock_order.profile(a, 'a@example.org'), lock_order.profile(b, 'b@example.org');
    select * into pair from lock_order.pair(a, b, situation);
    perform lock_order.challenges(a, b);
    perform lock_order.emails(a, b);
    perform lock_order.keys(a, b, request_id);
    insert into public.erasures (next_attempt_time, expire_time) select now(), now() from generate_series(1, 3);
    insert into public.erasures (user_id, next_attempt_time) values (gen_random_uuid(), now());
    return jsonb_build_object(
        'request_id', request_id,
        'match_id', pair.match_id,
        'meetup_id', pair.meetup_id,
        'emails', '["a@example.org", "b@example.org"]'::jsonb,
        'challenges', (select jsonb_agg(c.id) from (select id from public.approach_challenges order by id limit 2) c),
        'attempts', (select jsonb_agg(jsonb_build_object('p_user_challenge_id', u.id, 'p_user_id', u.user_id))
            from public.user_challenges u),
        'links', (select jsonb_agg(jsonb_build_object(
            'p_share_link_id', l.id, 'p_user_id', l.user_id, 'p_subject', 'CHALLENGE')) from public.share_links l),
        'notifications', (select jsonb_agg(n.id) from public.notifications n),
        'leases', (select jsonb_agg(jsonb_build_object('id', n.id, 'epoch', n.epoch))
            from public.notifications n where n.state = 'SENDING'),
        'erasure_id', (select e.id from public.erasures e where e.user_id is not null));
end
$$;
"""
