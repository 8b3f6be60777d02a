"""The composition root: every object of the server, made once and joined here, readable from top to bottom."""

import asyncio
import os
import random
import secrets
import socket
import time
import zoneinfo
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
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
from wingmanmatch.ratelimit.v1 import rate_limit_service_pb2
from wingmanmatch.session.v1 import session_service_pb2
from wingmanmatch.system.v1 import system_service_pb2
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.postgres import open_postgres
from wingmanmatch_server.housekeeping import repeat
from wingmanmatch_server.interceptors.chain import Interceptor, service_handler
from wingmanmatch_server.interceptors.circuit import Circuit
from wingmanmatch_server.interceptors.deadline import Deadline
from wingmanmatch_server.interceptors.errors import Errors
from wingmanmatch_server.interceptors.identity import Identity
from wingmanmatch_server.interceptors.observe import Observe
from wingmanmatch_server.interceptors.throttle import Throttle
from wingmanmatch_server.interceptors.validate import Validate
from wingmanmatch_server.matching.service import MatchingService
from wingmanmatch_server.matching.store import MatchingStore
from wingmanmatch_server.notification.dispatcher import Dispatcher
from wingmanmatch_server.notification.mailer import OutboxMailer
from wingmanmatch_server.notification.render import Renderer, create_environment
from wingmanmatch_server.notification.store import NotificationStore
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system import health
from wingmanmatch_server.system.reflection import reflection_handlers
from wingmanmatch_server.telemetry.logs import AccessLog
from wingmanmatch_server.telemetry.metrics import RpcMetrics

EXPIRY_INTERVAL = 30.0  # seconds

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
async def open_application(settings: Settings, database_url: str, log_output: BinaryIO) -> AsyncIterator[Application]:
    """Make the server's objects, run what works in the background, and take all of it down again.

    Raises errors.Unavailable if the database does not answer.
    """
    async with AsyncExitStack() as stack:
        registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        access_log = AccessLog(settings.log_format, log_output)
        stack.callback(access_log.flush)

        database = await stack.enter_async_context(open_postgres(database_url))
        matching = MatchingStore(database, max_daily_matches=settings.max_daily_matches)

        expiry = repeat("expire_matches", matching.expire_matches, interval=EXPIRY_INTERVAL)
        await stack.enter_async_context(_background(expiry))
        await stack.enter_async_context(_delivering(make_dispatcher(settings, database)))

        implementations = {"MatchingService": MatchingService(matching, zoneinfo.available_timezones())}
        interceptors = make_interceptors(RpcMetrics(registry), access_log)
        names = [service.full_name for service in SERVICES]
        process = health.Health((*health.PROCESS_NAMES, *names))
        yield Application(
            handlers=[
                *(service_handler(each, implementations.get(each.name), interceptors) for each in SERVICES),
                process.handler(),
                *reflection_handlers((*names, health.SERVICE)),
            ],
            health=process,
            registry=registry,
        )


def make_interceptors(metrics: RpcMetrics, access_log: AccessLog) -> list[Interceptor]:
    """Return the edge, outermost first; `interceptors/__init__.py` says why in this order."""
    return [
        Observe(metrics, access_log, time.perf_counter),
        Errors(lambda: secrets.token_hex(8)),
        Deadline(),
        Identity(None),
        Throttle(None),
        Circuit({}),
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
