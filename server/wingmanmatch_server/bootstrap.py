"""The composition root: every object of the server, made once and joined here, readable from top to bottom."""

import asyncio
import os
import random
import secrets
import socket
import time
import zoneinfo
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, BinaryIO

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from wingmanmatch.challenge.v1 import challenge_service_pb2
from wingmanmatch.coaching.v1 import coaching_service_pb2
from wingmanmatch.envoy.service.ratelimit.v3 import rls_pb2
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch.meetup.v1 import meetup_service_pb2
from wingmanmatch.notification.v1 import notification_service_pb2
from wingmanmatch.options.v1 import options_pb2
from wingmanmatch.ratelimit.v1 import rate_limit_service_pb2
from wingmanmatch.session.v1 import session_service_pb2
from wingmanmatch.system.v1 import system_service_pb2
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.postgres import open_postgres
from wingmanmatch_server.drivers.redis import RedisServer, open_redis
from wingmanmatch_server.drivers.supabase import open_supabase
from wingmanmatch_server.housekeeping import repeat
from wingmanmatch_server.identity.api_keys import ApiKeys
from wingmanmatch_server.identity.authenticator import Authenticator, Modes
from wingmanmatch_server.identity.published_keys import ISSUER_PATH, fetch_from
from wingmanmatch_server.identity.user_tokens import PublishedKeys, UserTokens
from wingmanmatch_server.interceptors.chain import Interceptor, service_handler
from wingmanmatch_server.interceptors.circuit import Circuit
from wingmanmatch_server.interceptors.deadline import Deadline
from wingmanmatch_server.interceptors.errors import Errors
from wingmanmatch_server.interceptors.identity import Guesses, Identity
from wingmanmatch_server.interceptors.observe import Observe
from wingmanmatch_server.interceptors.peer import peer_address_behind
from wingmanmatch_server.interceptors.policy import methods_of
from wingmanmatch_server.interceptors.throttle import Throttle
from wingmanmatch_server.interceptors.validate import Validate
from wingmanmatch_server.matching.service import MatchingService
from wingmanmatch_server.matching.store import MatchingStore
from wingmanmatch_server.notification.dispatcher import Dispatcher
from wingmanmatch_server.notification.mailer import OutboxMailer
from wingmanmatch_server.notification.render import Renderer, create_environment
from wingmanmatch_server.notification.store import NotificationStore
from wingmanmatch_server.ratelimit.denials import Denials
from wingmanmatch_server.ratelimit.envoy import EnvoyRateLimitService
from wingmanmatch_server.ratelimit.limiter import Limiter
from wingmanmatch_server.ratelimit.local_buckets import LocalBuckets
from wingmanmatch_server.ratelimit.metrics import RateLimitMetrics
from wingmanmatch_server.ratelimit.policy_file import PolicyFile
from wingmanmatch_server.ratelimit.recovery import INTERVAL as RECOVERY_INTERVAL
from wingmanmatch_server.ratelimit.recovery import recover
from wingmanmatch_server.ratelimit.service import RateLimitService
from wingmanmatch_server.ratelimit.token_bucket import TokenBuckets
from wingmanmatch_server.resilience.breaker import Breaker, Limits, OnChange, State
from wingmanmatch_server.session.service import SessionService
from wingmanmatch_server.session.store import SessionStore
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system import health
from wingmanmatch_server.system.reflection import reflection_handlers
from wingmanmatch_server.telemetry.logs import AccessLog
from wingmanmatch_server.telemetry.metrics import RpcMetrics

EXPIRY_INTERVAL = 30.0  # seconds
REDIS_LIMITS = Limits(failure_threshold=3, recovery=30.0)
RELOAD_INTERVAL = 1.0  # seconds

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
    """What `serving.py` serves."""

    handlers: Sequence[grpc.GenericRpcHandler]
    health: health.Health
    registry: CollectorRegistry


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

        database = await stack.enter_async_context(open_database(settings, database_url))
        matching = MatchingStore(database, max_daily_matches=settings.max_daily_matches)

        expiry = repeat("expire_matches", matching.expire_matches, interval=EXPIRY_INTERVAL)
        await stack.enter_async_context(_background(expiry))
        await stack.enter_async_context(_delivering(make_dispatcher(settings, database)))

        names = [service.full_name for service in SERVICES]
        process = health.Health((*health.PROCESS_NAMES, *names))
        redis = await stack.enter_async_context(open_redis(redis_url))
        redis_breaker = Breaker("redis", REDIS_LIMITS, time.monotonic, on_change=follow_health(process, "REDIS"))
        await stack.enter_async_context(
            _background(repeat("recover_redis", partial(recover, redis, redis_breaker), interval=RECOVERY_INTERVAL))
        )
        limiter = await stack.enter_async_context(open_rate_limits(settings, redis, redis_breaker, registry))

        implementations: dict[str, object] = {
            matching_service_pb2.DESCRIPTOR.services_by_name["MatchingService"].full_name: MatchingService(
                matching, zoneinfo.available_timezones()
            ),
            rate_limit_service_pb2.DESCRIPTOR.services_by_name["RateLimitService"].full_name: RateLimitService(limiter),
            rls_pb2.DESCRIPTOR.services_by_name["RateLimitService"].full_name: EnvoyRateLimitService(limiter),
            session_service_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name: make_session_service(
                settings, redis, redis_breaker
            ),
        }
        charged = limiter if settings.enable_rate_limiting else None
        identity = await stack.enter_async_context(open_identity(settings, charged))
        interceptors = make_interceptors(
            RpcMetrics(registry),
            access_log,
            identity,
            Throttle(charged, peer_address_behind(settings.proxy_networks)),
            Circuit({options_pb2.DEPENDENCY_REDIS: redis_breaker}),
        )
        yield Application(
            handlers=[
                *(service_handler(each, implementations.get(each.full_name), interceptors) for each in SERVICES),
                process.handler(),
                *(reflection_handlers((*names, health.SERVICE)) if settings.enable_reflection else ()),
            ],
            health=process,
            registry=registry,
        )


def open_database(settings: Settings, database_url: str | None) -> AbstractAsyncContextManager[Database]:
    """Open `database_url`, or without one Supabase's REST interface. Raises errors.Unavailable."""
    if database_url is not None:
        return open_postgres(database_url)
    url, service_key, anonymous_key = settings.supabase_url, settings.supabase_service_key, settings.supabase_anon_key
    assert url and service_key and anonymous_key  # noqa: PT018 - settings ask for all three or none
    return open_supabase(url, service_key.get_secret_value(), anonymous_key.get_secret_value())


@asynccontextmanager
async def open_identity(settings: Settings, guesses: Guesses | None = None) -> AsyncIterator[Identity]:
    """Make what tells callers apart, and follow the file of API keys. Raises ApiKeyError and OSError about it.

    Without `guesses` failed attempts are not charged.
    """
    peer_of = peer_address_behind(settings.proxy_networks)
    if not settings.authenticates:
        yield Identity(None, None, peer_of)
        return
    keys = ApiKeys(settings.api_keys, settings.api_keys_file)
    modes = Modes(
        api_keys=bool(settings.api_keys or settings.api_keys_file),
        user_tokens=bool(settings.supabase_jwt_secret or settings.supabase_url),
        certificates=settings.tls_client_ca_file is not None,
    )
    authenticator = Authenticator(modes, keys, make_user_tokens(settings), time.time)

    async def follow() -> None:
        await asyncio.to_thread(keys.reload)

    async with _background(repeat("reload_api_keys", follow, interval=RELOAD_INTERVAL)):
        yield Identity(authenticator, guesses, peer_of)


def make_user_tokens(settings: Settings) -> UserTokens | None:
    """Return what verifies users' tokens, None where neither a secret nor a project is known."""
    secret, url = settings.supabase_jwt_secret, settings.supabase_url
    if secret is None and url is None:
        return None
    return UserTokens(
        secret=secret.get_secret_value() if secret else None,
        keys=PublishedKeys(fetch_from(url), time.monotonic) if url else None,
        issuer=url.rstrip("/") + ISSUER_PATH if url else None,
    )


@asynccontextmanager
async def open_rate_limits(
    settings: Settings, redis: RedisServer, breaker: Breaker, registry: CollectorRegistry
) -> AsyncIterator[Limiter]:
    """Make what decides about rate limits, and follow its file. Raises PolicyFileError about it."""
    metrics, denials = RateLimitMetrics(registry), Denials(time.monotonic)
    file = PolicyFile(settings.rate_limits_file)
    buckets = TokenBuckets(redis, breaker, time.monotonic, on_batch=metrics.batch)
    limiter = Limiter(file.policies, buckets, denials, LocalBuckets(time.monotonic), metrics, random.random)

    async def follow() -> None:
        if await file.reload():
            limiter.use(file.policies)
        metrics.policies(file.policies.version, file_usable=file.usable)

    async with (
        _background(denials.follow(redis)),
        _background(repeat("reload_rate_limits", follow, interval=RELOAD_INTERVAL)),
    ):
        yield limiter


def make_session_service(settings: Settings, redis: RedisServer, breaker: Breaker) -> SessionService:
    """Return what keeps user sessions."""
    max_age, timeout = timedelta(days=settings.session_max_age_days), timedelta(hours=settings.session_timeout_hours)
    store = SessionStore(redis, breaker, max_age=max_age, random_bytes=secrets.token_bytes)
    return SessionService(store, timeout=timeout)


def follow_health(process: health.Health, dependency: str) -> OnChange:
    """Return what makes the services NOT_SERVING that have an RPC that needs a dependency while its breaker is open."""
    number = options_pb2.Dependency.Value(f"DEPENDENCY_{dependency}")
    names = [
        service.full_name
        for service in SERVICES
        if any(number in method.policy.requires for method in methods_of(service))
    ]

    def follow(_name: str, state: State) -> None:
        for name in names:
            process.set(name, serving=state is not State.OPEN)

    return follow


def make_interceptors(
    metrics: RpcMetrics,
    access_log: AccessLog,
    identity: Identity,
    throttle: Throttle | None = None,
    circuit: Circuit | None = None,
) -> list[Interceptor]:
    """Return the edge, outermost first; `interceptors/__init__.py` says why in this order."""
    return [
        Observe(metrics, access_log, time.perf_counter),
        Errors(lambda: secrets.token_hex(8)),
        Deadline(),
        identity,
        throttle or Throttle(None, peer_address_behind(())),
        circuit or Circuit({}),
        Validate(),
    ]


def make_dispatcher(settings: Settings, database: Database) -> Dispatcher:
    """Return what delivers the mails that the database holds."""
    return Dispatcher(
        NotificationStore(database),
        Renderer(create_environment(), sender=settings.mail_from),
        OutboxMailer(settings.data_dir / "outbox"),
        database.listen,
        owner=f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}",
        random=random.Random(),  # noqa: S311 - spreads retries, guards nothing
    )


@asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _delivering(dispatcher: Dispatcher) -> AsyncIterator[None]:
    task = asyncio.create_task(dispatcher.run())
    try:
        yield
    finally:
        dispatcher.stop()
        await task
