"""The bare stubs of a server: what tests call it by, so that they see statuses and trailers as they are on the wire."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2_grpc

from wingmanmatch.challenge.v1 import challenge_service_pb2_grpc
from wingmanmatch.coaching.v1 import coaching_service_pb2_grpc
from wingmanmatch.matching.v1 import matching_service_pb2_grpc
from wingmanmatch.meetup.v1 import meetup_service_pb2_grpc
from wingmanmatch.notification.v1 import notification_service_pb2_grpc
from wingmanmatch.ratelimit.v1 import rate_limit_service_pb2_grpc
from wingmanmatch.session.v1 import session_service_pb2_grpc
from wingmanmatch.system.v1 import system_service_pb2_grpc


class Stubs:
    """A stub for each service, all on one channel to `target`."""

    def __init__(self, channel: grpc.aio.Channel, target: str = "") -> None:
        self.target = target
        self.health = health_pb2_grpc.HealthStub(channel)
        self.challenge = challenge_service_pb2_grpc.ChallengeServiceStub(channel)
        self.coaching = coaching_service_pb2_grpc.CoachingServiceStub(channel)
        self.matching = matching_service_pb2_grpc.MatchingServiceStub(channel)
        self.meetup = meetup_service_pb2_grpc.MeetupServiceStub(channel)
        self.notification = notification_service_pb2_grpc.NotificationServiceStub(channel)
        self.rate_limit = rate_limit_service_pb2_grpc.RateLimitServiceStub(channel)
        self.session = session_service_pb2_grpc.SessionServiceStub(channel)
        self.system = system_service_pb2_grpc.SystemServiceStub(channel)


@asynccontextmanager
async def open_stubs(target: str) -> AsyncIterator[Stubs]:
    """Yield the stubs of the server at `target`, `HOST:PORT`, without TLS. Connects on the first call."""
    async with grpc.aio.insecure_channel(target) as channel:
        yield Stubs(channel, target)
