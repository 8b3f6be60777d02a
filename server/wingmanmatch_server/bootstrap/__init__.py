"""The composition root: every object of the server, made once and joined here, readable from top to bottom.

__init__.py     the application
identity.py     what tells callers apart
mail.py         what brings mails out
redis_areas.py  rate limits and user sessions
status.py       circuit breakers, checks of dependencies, and the report on them
coaching.py     the coach, where it is on
challenge.py    challenges, their catalogue in Redis, and share links
background.py   work that runs beside the calls
"""

import secrets
import time
import zoneinfo
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from functools import partial
from typing import BinaryIO

import grpc
from aiohttp import web
from google.protobuf.descriptor import ServiceDescriptor
from prometheus_client import CollectorRegistry, Gauge, GCCollector, PlatformCollector, ProcessCollector

from wingmanmatch.challenge.v1 import challenge_service_pb2
from wingmanmatch.coaching.v1 import coaching_service_pb2
from wingmanmatch.envoy.service.ratelimit.v3 import rls_pb2
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch.meetup.v1 import meetup_service_pb2
from wingmanmatch.notification.v1 import notification_service_pb2
from wingmanmatch.ratelimit.v1 import rate_limit_service_pb2
from wingmanmatch.session.v1 import session_service_pb2
from wingmanmatch.system.v1 import system_service_pb2
from wingmanmatch_server.bootstrap.background import background
from wingmanmatch_server.bootstrap.challenge import make_share_links, open_challenges
from wingmanmatch_server.bootstrap.coaching import coaching_policy, open_coaching
from wingmanmatch_server.bootstrap.identity import open_identity
from wingmanmatch_server.bootstrap.mail import make_mail, make_notification_service, open_dispatching
from wingmanmatch_server.bootstrap.redis_areas import make_session_store, open_rate_limits
from wingmanmatch_server.bootstrap.status import (
    make_breakers,
    make_dependencies,
    make_rate_limiter_check,
    make_retries,
    make_system_service,
)
from wingmanmatch_server.coaching.export import export_conversations
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.guarded_database import GuardedDatabase
from wingmanmatch_server.drivers.postgres import open_postgres
from wingmanmatch_server.drivers.redis import open_redis
from wingmanmatch_server.drivers.supabase import open_supabase
from wingmanmatch_server.housekeeping import repeat
from wingmanmatch_server.interceptors.capacity import Capacity
from wingmanmatch_server.interceptors.chain import Interceptor
from wingmanmatch_server.interceptors.circuit import Circuit
from wingmanmatch_server.interceptors.deadline import Deadline
from wingmanmatch_server.interceptors.door import guarded_handler
from wingmanmatch_server.interceptors.errors import Errors
from wingmanmatch_server.interceptors.identity import Identity
from wingmanmatch_server.interceptors.in_flight import InFlight
from wingmanmatch_server.interceptors.observe import Observe
from wingmanmatch_server.interceptors.peer import peer_address_behind
from wingmanmatch_server.interceptors.throttle import Throttle
from wingmanmatch_server.interceptors.validate import Validate
from wingmanmatch_server.matching.erasure import Eraser, Erasure
from wingmanmatch_server.matching.export import Export, Source
from wingmanmatch_server.matching.service import MatchingService
from wingmanmatch_server.matching.store import MatchingStore
from wingmanmatch_server.matching.watch import MatchWatch
from wingmanmatch_server.meetup.service import MeetupService
from wingmanmatch_server.meetup.store import MeetupStore
from wingmanmatch_server.notification.http import notification_routes
from wingmanmatch_server.notification.metrics import NotificationMetrics
from wingmanmatch_server.ratelimit.envoy import EnvoyRateLimitService
from wingmanmatch_server.ratelimit.policy_file import PolicyFile
from wingmanmatch_server.ratelimit.recovery import INTERVAL as RECOVERY_INTERVAL
from wingmanmatch_server.ratelimit.recovery import recover
from wingmanmatch_server.ratelimit.service import RateLimitService
from wingmanmatch_server.session.export import export_sessions
from wingmanmatch_server.session.service import SessionService
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system import health
from wingmanmatch_server.system.availability import NAMES, Availability
from wingmanmatch_server.system.reflection import reflection_handlers
from wingmanmatch_server.telemetry.logs import AccessLog
from wingmanmatch_server.telemetry.loop import loop_lag, watch_loop
from wingmanmatch_server.telemetry.metrics import CircuitMetrics, RpcMetrics

EXPIRY_INTERVAL = 30.0  # seconds
PURGE_INTERVAL = 600.0
CHECK_INTERVAL = 5.0

# Every service of the API, in the order in which clients list them.
SERVICES: tuple[ServiceDescriptor, ...] = (
    matching_service_pb2.DESCRIPTOR.services_by_name["MatchingService"],
    meetup_service_pb2.DESCRIPTOR.services_by_name["MeetupService"],
    challenge_service_pb2.DESCRIPTOR.services_by_name["ChallengeService"],
    notification_service_pb2.DESCRIPTOR.services_by_name["NotificationService"],
    session_service_pb2.DESCRIPTOR.services_by_name["SessionService"],
    rate_limit_service_pb2.DESCRIPTOR.services_by_name["RateLimitService"],
    coaching_service_pb2.DESCRIPTOR.services_by_name["CoachingService"],
    system_service_pb2.DESCRIPTOR.services_by_name["SystemService"],
    rls_pb2.DESCRIPTOR.services_by_name["RateLimitService"],
)


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
    settings: Settings, database_url: str | None, redis_url: str, log_output: BinaryIO
) -> AsyncIterator[Application]:
    """Make the server's objects, run what works in the background, and take all of it down again.

    `database_url` is None where the database is reached by Supabase's REST interface. Raises errors.Unavailable if it
    does not answer, and PolicyFileError about the file of rate limits. Redis may be away.
    """
    async with AsyncExitStack() as stack:
        registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        access_log = AccessLog(settings.log_format, log_output)
        stack.callback(access_log.flush)

        followers: list[Callable[[], None]] = []
        circuits = CircuitMetrics(registry)
        breakers = make_breakers(circuits, followers)
        retries = make_retries(breakers, circuits.retried)
        unguarded = await stack.enter_async_context(open_database(settings, database_url))
        database = GuardedDatabase(unguarded, breakers["database"], retries["database"])
        redis = await stack.enter_async_context(open_redis(redis_url, seconds=settings.redis_timeout))
        matching = MatchingStore(database, max_daily_matches=settings.max_daily_matches)
        meetups = MeetupStore(database)
        watch = MatchWatch(matching, database.follow)
        open_streams = Gauge("matching_watch_streams", "Open streams of WatchMatches.", registry=registry)
        open_streams.set_function(lambda: watch.stream_count)
        policies = PolicyFile(settings.rate_limits_file, more=[coaching_policy(settings)])
        limiter = await stack.enter_async_context(
            open_rate_limits(settings, redis, breakers["redis"], registry, policies)
        )

        sessions = make_session_store(settings, redis, breakers["redis"], retries["redis"])
        coaching = await stack.enter_async_context(
            open_coaching(settings, database, redis, breakers, retries, limiter, registry)
        )
        # What is stored about people outside the database: how it is erased, and how it is exported.
        erasers: dict[str, Eraser] = {
            "conversations": coaching.conversations.delete_of_user,
            "sessions": sessions.delete_of_user,
            "rate_limits": limiter.forget,
        }
        sources: dict[str, Source] = {
            "SESSION": partial(export_sessions, sessions),
            "CONVERSATION": partial(export_conversations, coaching.conversations),
        }
        erasure = Erasure(matching, erasers)

        mail = make_mail(settings, database)
        email = await stack.enter_async_context(
            open_dispatching(settings, mail, database.listen, breakers["email"], NotificationMetrics(registry))
        )
        challenges = await stack.enter_async_context(
            open_challenges(settings, database, redis, breakers["redis"], registry)
        )
        asked = (make_rate_limiter_check(settings, breakers["redis"]), email, *coaching.dependencies)
        dependencies = make_dependencies(unguarded, redis, asked, by_rest=database_url is None)
        process = health.Health((*health.PROCESS_NAMES, *service_names()))
        availability = Availability(process, SERVICES, dependencies, breakers)
        followers.append(availability.refresh)
        for work in (
            repeat("expire_matches", matching.expire_matches, interval=EXPIRY_INTERVAL),
            repeat("expire_meetups", meetups.expire_meetups, interval=EXPIRY_INTERVAL),
            repeat("purge_request_keys", matching.purge_request_keys, interval=PURGE_INTERVAL),
            repeat("purge_match_events", matching.purge_events, interval=EXPIRY_INTERVAL),
            repeat("make_erasures_good", erasure.make_good, interval=EXPIRY_INTERVAL),
            watch.run(),
            repeat("purge_delivery_events", mail.store.purge_events, interval=PURGE_INTERVAL),
            repeat("recover_redis", partial(recover, redis, breakers["redis"]), interval=RECOVERY_INTERVAL),
            repeat("check_dependencies", availability.check, interval=CHECK_INTERVAL),
            watch_loop(loop_lag(registry), time.monotonic),
        ):
            await stack.enter_async_context(background(work))

        charged = limiter if settings.enable_rate_limiting else None
        time_zones = zoneinfo.available_timezones()
        implementations: dict[str, object] = {
            "wingmanmatch.matching.v1.MatchingService": MatchingService(
                matching,
                watch,
                erasure,
                Export(matching, sources),
                time_zones,
                make_share_links(settings, "match_sharing"),
            ),
            "wingmanmatch.meetup.v1.MeetupService": MeetupService(meetups),
            "wingmanmatch.challenge.v1.ChallengeService": challenges,
            "wingmanmatch.notification.v1.NotificationService": make_notification_service(
                settings, mail, time_zones, charged
            ),
            "wingmanmatch.session.v1.SessionService": SessionService(
                sessions, timeout=timedelta(hours=settings.session_timeout_hours)
            ),
            "wingmanmatch.ratelimit.v1.RateLimitService": RateLimitService(limiter),
            "envoy.service.ratelimit.v3.RateLimitService": EnvoyRateLimitService(limiter),
            "wingmanmatch.coaching.v1.CoachingService": coaching.service,
            "wingmanmatch.system.v1.SystemService": make_system_service(settings, dependencies, breakers, policies),
        }
        in_flight, rpc_metrics = InFlight(), RpcMetrics(registry)
        rpc_metrics.in_flight(lambda: in_flight.count)
        identity = await stack.enter_async_context(open_identity(settings, charged))
        edge = make_interceptors(
            rpc_metrics,
            access_log,
            identity,
            Throttle(charged, peer_address_behind(settings.proxy_networks)),
            Circuit({number: breakers[name] for number, name in NAMES.items() if name in breakers}),
            Capacity(settings.max_concurrent_calls, settings.max_open_streams, rpc_metrics.overloaded),
            Deadline(settings.max_deadline),
        )
        interceptors = [in_flight, *edge]
        yield Application(
            handlers=[
                *(
                    guarded_handler(each, implementations.get(each.full_name), interceptors, identity)
                    for each in SERVICES
                ),
                process.handler(),
                *(reflection_handlers([*service_names(), health.SERVICE]) if settings.enable_reflection else ()),
            ],
            health=process,
            registry=registry,
            drains=[watch.drain],
            in_flight=in_flight,
            routes=notification_routes(mail.store, mail.webhooks, mail.links),
        )


def service_names() -> list[str]:
    """Return the full names of all services."""
    return [service.full_name for service in SERVICES]


def open_database(settings: Settings, database_url: str | None) -> AbstractAsyncContextManager[Database]:
    """Open `database_url`, or without one Supabase's REST interface. Raises errors.Unavailable."""
    if database_url is not None:
        return open_postgres(database_url)
    url, service_key, anonymous_key = settings.supabase_url, settings.supabase_service_key, settings.supabase_anon_key
    assert url and service_key and anonymous_key  # noqa: PT018 - settings ask for all three or none
    return open_supabase(url, service_key.get_secret_value(), anonymous_key.get_secret_value())


def make_interceptors(
    metrics: RpcMetrics,
    access_log: AccessLog,
    identity: Identity,
    throttle: Throttle | None = None,
    circuit: Circuit | None = None,
    capacity: Capacity | None = None,
    deadline: Deadline | None = None,
) -> list[Interceptor]:
    """Return the edge, outermost first; `interceptors/__init__.py` says why in this order."""
    return [
        Observe(metrics, access_log, time.perf_counter),
        Errors(lambda: secrets.token_hex(8)),
        deadline or Deadline(),
        identity,
        capacity or Capacity(1000, 1000),
        throttle or Throttle(None, peer_address_behind(())),
        circuit or Circuit({}),
        Validate(),
    ]
