"""Typed Python client of WingmanMatch.

    async with connect("127.0.0.1:50051") as client:
        answer = await client.matching.GetProfile(GetProfileRequest(user_id=...), timeout=5)

Requests and responses are the messages of the package `wingmanmatch`; a failed call raises grpc.aio.AioRpcError, and
`reason_of` tells its reason.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from wingmanmatch.challenge.v1 import challenge_service_pb2_grpc
from wingmanmatch.coaching.v1 import coaching_service_pb2_grpc
from wingmanmatch.matching.v1 import matching_service_pb2_grpc
from wingmanmatch.meetup.v1 import meetup_service_pb2_grpc
from wingmanmatch.notification.v1 import notification_service_pb2_grpc
from wingmanmatch.ratelimit.v1 import rate_limit_service_pb2_grpc
from wingmanmatch.session.v1 import session_service_pb2_grpc
from wingmanmatch.system.v1 import system_service_pb2_grpc

__all__ = ["Client", "connect", "reason_of"]


class Client:
    """A stub for each service, all on one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.challenge = challenge_service_pb2_grpc.ChallengeServiceStub(channel)
        self.coaching = coaching_service_pb2_grpc.CoachingServiceStub(channel)
        self.matching = matching_service_pb2_grpc.MatchingServiceStub(channel)
        self.meetup = meetup_service_pb2_grpc.MeetupServiceStub(channel)
        self.notification = notification_service_pb2_grpc.NotificationServiceStub(channel)
        self.rate_limit = rate_limit_service_pb2_grpc.RateLimitServiceStub(channel)
        self.session = session_service_pb2_grpc.SessionServiceStub(channel)
        self.system = system_service_pb2_grpc.SystemServiceStub(channel)


@asynccontextmanager
async def connect(target: str) -> AsyncIterator[Client]:
    """Yield a client of the server at `target`, `HOST:PORT`, without TLS. Connects on the first call."""
    async with grpc.aio.insecure_channel(target) as channel:
        yield Client(channel)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the name of the error's `wingmanmatch.error.v1.ErrorReason`, empty if the server did not give one."""
    # The function reads what every call error has; its types know only the calls of the synchronous API.
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return ""
