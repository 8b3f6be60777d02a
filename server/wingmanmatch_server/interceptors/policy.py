"""What the protos say about each RPC, read once at start-up."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from wingmanmatch.options.v1 import options_pb2


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """One RPC and its policy.

    `user_of` returns the acting user that a request names, None where no field names one; `default_deadline` is in
    seconds, None where a call may stay open.
    """

    service: str
    name: str
    request: type[Message]
    response: type[Message]
    client_streaming: bool
    server_streaming: bool
    policy: options_pb2.MethodPolicy
    user_of: Callable[[Any], str] | None
    default_deadline: float | None

    @property
    def area(self) -> str:
        """The area that a scope names: `matching` for `wingmanmatch.matching.v1.MatchingService`."""
        # Envoy's rate limit service stands for the area whose buckets it shows.
        package = self.service.split(".")
        return package[1] if package[0] == "wingmanmatch" else "ratelimit"

    @property
    def path(self) -> str:
        """The name on the wire, `/package.Service/Method`."""
        return f"/{self.service}/{self.name}"


def methods_of(service: ServiceDescriptor) -> Iterable[Method]:
    """Yield the RPCs of a service. Raises ValueError for one whose proto does not say who may call it."""
    return [_method(method) for method in service.methods]


def _method(method: MethodDescriptor) -> Method:
    policy = method.GetOptions().Extensions[options_pb2.policy]
    if policy.access == options_pb2.ACCESS_UNSPECIFIED:
        raise ValueError(f"{method.full_name} has no policy that says who may call it")
    return Method(
        service=method.containing_service.full_name,
        name=method.name,
        request=GetMessageClass(method.input_type),
        response=GetMessageClass(method.output_type),
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
        policy=policy,
        user_of=attrgetter(policy.user_field) if policy.user_field else None,
        default_deadline=policy.default_deadline.ToTimedelta().total_seconds() or None,
    )
