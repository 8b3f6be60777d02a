"""The composition root: every object of the server, made once and joined here.

__init__.py     the application
services.py     the services of the API
core.py         what every area stands on: the dependencies with what guards them
area.py         what an area adds to the server
matching.py     matching, and the erasure and export of people
meetup.py       meet-ups
challenge.py    challenges, their catalogue in Redis, and share links
mail.py         notifications, and what brings them out
sessions.py     user sessions
rate_limits.py  rate limits
coaching.py     the coach, where it is on
breakers.py     circuit breakers and retries
status.py       checks of dependencies, health, and the report on them
identity.py     what tells callers apart
edge.py         what is around every RPC
background.py   work that runs beside the calls
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import KW_ONLY, dataclass, field

import grpc
from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from wingmanmatch_server.bootstrap.area import Area
from wingmanmatch_server.bootstrap.background import background
from wingmanmatch_server.bootstrap.challenge import open_challenge_area
from wingmanmatch_server.bootstrap.coaching import coaching_policy, open_coaching
from wingmanmatch_server.bootstrap.core import Core, open_core
from wingmanmatch_server.bootstrap.edge import make_interceptors
from wingmanmatch_server.bootstrap.identity import open_identity
from wingmanmatch_server.bootstrap.mail import open_notifications
from wingmanmatch_server.bootstrap.matching import open_matching
from wingmanmatch_server.bootstrap.meetup import open_meetups
from wingmanmatch_server.bootstrap.rate_limits import make_rate_limit_services
from wingmanmatch_server.bootstrap.services import SERVICES, service_names
from wingmanmatch_server.bootstrap.sessions import make_sessions
from wingmanmatch_server.bootstrap.status import Status, open_status
from wingmanmatch_server.drivers.migration_files import known_versions
from wingmanmatch_server.drivers.schema_version import require_usable_schema
from wingmanmatch_server.interceptors.capacity import Capacity
from wingmanmatch_server.interceptors.circuit import Circuit
from wingmanmatch_server.interceptors.deadline import Deadline
from wingmanmatch_server.interceptors.door import guarded_handler
from wingmanmatch_server.interceptors.identity import Identity
from wingmanmatch_server.interceptors.in_flight import InFlight
from wingmanmatch_server.interceptors.peer import PeerAddress, peer_address_behind
from wingmanmatch_server.interceptors.peer_streams import PeerStreams
from wingmanmatch_server.interceptors.requests import RequestReader
from wingmanmatch_server.interceptors.throttle import Throttle
from wingmanmatch_server.interceptors.unknown import Unknown
from wingmanmatch_server.ratelimit.flood_bound import FloodBound
from wingmanmatch_server.ratelimit.policy_file import PolicyFile
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system import health
from wingmanmatch_server.system.availability import NAMES
from wingmanmatch_server.system.reflection import reflection_handlers
from wingmanmatch_server.telemetry.logs import AccessLog, LineOutput
from wingmanmatch_server.telemetry.loop import loop_lag, watch_loop
from wingmanmatch_server.telemetry.metrics import RpcMetrics

# Streams without a credential that may be open at a time, from one address and from all. Load balancers watch health,
# each by a few streams, and so do clients; tools ask by reflection for moments.
WATCHES_OF_A_PEER, WATCHES = 200, 2000
REFLECTIONS_OF_A_PEER, REFLECTIONS = 20, 200

__all__ = ["SERVICES", "Application", "make_interceptors", "open_application"]


@dataclass(frozen=True, slots=True)
class Application:
    """What `serving.py` serves. `drains` end the streams that would otherwise stay open until they are cut."""

    handlers: Sequence[grpc.GenericRpcHandler]
    health: health.Health
    registry: CollectorRegistry
    _: KW_ONLY
    drains: Sequence[Callable[[], None]] = ()
    in_flight: InFlight = field(default_factory=InFlight)
    routes: Sequence[web.RouteDef] = ()  # of HTTP_LISTEN

    def drain(self) -> None:
        """Tell load balancers to turn away, and those who watch to resume elsewhere. Calls are still served."""
        self.health.drain()
        for drain in self.drains:
            drain()


@asynccontextmanager
async def open_application(
    settings: Settings, database_url: str | None, redis_url: str, log_output: LineOutput
) -> AsyncIterator[Application]:
    """Make the server's objects, run what works in the background, and take all of it down again.

    `database_url` is None where the database is reached by Supabase's REST interface. Raises errors.Unavailable if it
    does not answer, SchemaRefused if this version does not work on its schema, and PolicyFileError about the file of
    rate limits. Redis may be away.
    """
    async with AsyncExitStack() as stack:
        registry = make_registry()
        access_log = AccessLog(settings.log_format, log_output)
        stack.callback(access_log.flush)
        followers: list[Callable[[], None]] = []
        policies = PolicyFile(settings.rate_limits_file, more=[coaching_policy(settings)])
        core = await stack.enter_async_context(
            open_core(settings, database_url, redis_url, registry, policies, followers)
        )
        await require_usable_schema(core.unguarded, known_versions())
        areas = await open_areas(stack, core)
        status = await stack.enter_async_context(open_status(core, areas, followers))
        identity = await stack.enter_async_context(open_identity(settings, core.charged, registry))
        await stack.enter_async_context(background(watch_loop(loop_lag(registry), time.monotonic)))
        in_flight = InFlight()
        yield Application(
            handlers=make_handlers(core, [*areas, status.area], status, identity, access_log, in_flight),
            health=status.health,
            registry=registry,
            drains=[drain for area in areas for drain in area.drains],
            in_flight=in_flight,
            routes=[route for area in areas for route in area.routes],
        )


def make_registry() -> CollectorRegistry:
    """Return a registry of metrics that has those of the process."""
    # When each series began, in a series of its own: half of all lines, and nobody reads them.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


async def open_areas(stack: AsyncExitStack, core: Core) -> list[Area]:
    """Open every area, to be closed with `stack`."""
    others = [
        make_sessions(core),
        await stack.enter_async_context(open_notifications(core)),
        await stack.enter_async_context(open_meetups(core)),
        await stack.enter_async_context(open_challenge_area(core)),
        await stack.enter_async_context(open_coaching(core)),
        make_rate_limit_services(core.limiter),
    ]
    return [await stack.enter_async_context(open_matching(core, others)), *others]


def make_handlers(
    core: Core, areas: Sequence[Area], status: Status, identity: Identity, access_log: AccessLog, in_flight: InFlight
) -> list[grpc.GenericRpcHandler]:
    """Return what serves every service, the edge around it, with health and reflection."""
    settings, metrics = core.settings, RpcMetrics(core.registry)
    metrics.in_flight(lambda: in_flight.count)
    reader, peer_of = RequestReader(), peer_address_behind(settings.proxy_networks)
    edge = make_interceptors(
        metrics,
        access_log,
        identity,
        Throttle(core.charged, peer_of, FloodBound(time.monotonic)),
        Circuit({number: core.breakers[name] for number, name in NAMES.items() if name in core.breakers}),
        Capacity(settings.max_concurrent_calls, settings.max_open_streams, metrics.overloaded),
        Deadline(settings.max_deadline),
    )
    served: Mapping[str, object] = {name: service for area in areas for name, service in area.services.items()}
    return [
        *(guarded_handler(each, served[each.full_name], [in_flight, *edge], identity, reader) for each in SERVICES),
        *open_to_all(settings, status.health, peer_of, reader),
        Unknown(),
    ]


def open_to_all(
    settings: Settings, health_of: health.Health, peer_of: PeerAddress, reader: RequestReader
) -> Iterator[grpc.GenericRpcHandler]:
    """Yield what serves health and reflection, which need no credential, within bounds for each address."""
    yield health_of.handler(PeerStreams(peer_of, WATCHES_OF_A_PEER, WATCHES), reader)
    if settings.reflects:
        streams = PeerStreams(peer_of, REFLECTIONS_OF_A_PEER, REFLECTIONS)
        yield from reflection_handlers([*service_names(), health.SERVICE], streams, reader)
