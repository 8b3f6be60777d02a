"""What is known of dependencies, and what health makes of it."""

import asyncio
from datetime import UTC, datetime

import pytest
from grpc_health.v1 import health_pb2

from wingmanmatch_server import errors
from wingmanmatch_server.bootstrap import SERVICES
from wingmanmatch_server.resilience.breaker import Breaker, Limits
from wingmanmatch_server.system.availability import Availability, needs_of
from wingmanmatch_server.system.dependencies import PING_TIMEOUT, Dependencies, Dependency
from wingmanmatch_server.system.health import PROCESS_NAMES, Health

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MATCHING = "wingmanmatch.matching.v1.MatchingService"
SESSION = "wingmanmatch.session.v1.SessionService"
RATE_LIMITS = "wingmanmatch.ratelimit.v1.RateLimitService"
SYSTEM = "wingmanmatch.system.v1.SystemService"


class Server:
    """Something outside, as a test wants it to be."""

    def __init__(self) -> None:
        self.away = False
        self.hangs = False

    async def ping(self) -> float:
        """Answer, refuse or hang."""
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            raise errors.Unavailable("DATABASE_UNAVAILABLE", "the database does not answer")
        return 0.001


class World:
    """Health over a database and a Redis."""

    def __init__(self, patience: float = PING_TIMEOUT) -> None:
        self.database, self.redis = Server(), Server()
        self.breaker = Breaker(
            "database", Limits(1, 60.0), lambda: 0.0, lambda _name, _state: self.availability.refresh()
        )
        self.dependencies = Dependencies(
            [
                Dependency("database", "by REST", self.database.ping),
                Dependency("redis", "one server", self.redis.ping),
            ],
            lambda: NOON,
            patience=patience,
        )
        self.health = Health((*PROCESS_NAMES, *(service.full_name for service in SERVICES)))
        self.availability = Availability(self.health, SERVICES, self.dependencies, {"database": self.breaker})

    def serving(self, name: str) -> bool:
        """Tell what a balancer would hear about a name."""
        return bool(self.health._statuses[name] == health_pb2.HealthCheckResponse.SERVING)


async def test_a_service_is_as_well_as_what_it_needs() -> None:
    """A dependency that does not answer takes down the services that need it, and nothing else, until it is back."""
    world = World()
    for away in (False, True, False):
        world.database.away = away
        await world.availability.check()
        assert world.serving(MATCHING) is not away
        assert [world.serving(name) for name in (SESSION, SYSTEM, *PROCESS_NAMES)] == [True] * 5


async def test_an_open_breaker_is_known_at_once() -> None:
    """Health does not wait for the next check when a breaker opens."""
    world = World()
    await world.availability.check()
    with pytest.raises(errors.Unavailable), world.breaker.guard():
        raise errors.Unavailable("DATABASE_UNAVAILABLE", "away")
    assert not world.serving(MATCHING)
    world.breaker.reset()
    assert world.serving(MATCHING)


async def test_checks_are_side_by_side_and_bounded() -> None:
    """One that hangs holds up no other, and is unhealthy."""
    world = World(patience=0.05)
    world.redis.hangs = True
    await world.availability.check()
    database, redis = world.dependencies.latest
    assert (database.healthy, database.latency, database.detail, database.time) == (True, 0.001, "by REST", NOON)
    assert (redis.healthy, redis.latency, redis.detail) == (False, None, "no answer in 0.05 s")
    assert (world.serving(SESSION), world.serving(MATCHING)) == (False, True)


def test_needs_come_from_the_protos() -> None:
    """A service needs what its methods require; rate limits and sessions follow breakers of their own."""
    needs = {service.full_name: needs_of(service) for service in SERVICES}
    assert needs[RATE_LIMITS] == {"rate_limiter"}
    assert needs[MATCHING] == {"database"}
    assert needs[SESSION] == {"redis"}
    assert needs[SYSTEM] == frozenset()
