"""The services of the API."""

from google.protobuf.descriptor import ServiceDescriptor

from wingmanmatch.challenge.v1 import challenge_service_pb2
from wingmanmatch.coaching.v1 import coaching_service_pb2
from wingmanmatch.envoy.service.ratelimit.v3 import rls_pb2
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch.meetup.v1 import meetup_service_pb2
from wingmanmatch.notification.v1 import notification_service_pb2
from wingmanmatch.ratelimit.v1 import rate_limit_service_pb2
from wingmanmatch.session.v1 import session_service_pb2
from wingmanmatch.system.v1 import system_service_pb2

# In the order in which clients list them.
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


def service_names() -> list[str]:
    """Return the full names of all services."""
    return [service.full_name for service in SERVICES]
