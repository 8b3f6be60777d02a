"""Calls any RPC of the API by its descriptor, with a request that says no more than for whom it is."""

from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from support.credentials import bearer
from support.protos import policy


def request_of(method: MethodDescriptor, user_id: str) -> Any:
    """Return a request that names a user where the policy says the user stands, and is otherwise empty.

    What a handler looks at before it admits a call is there.
    """
    request = message = GetMessageClass(method.input_type)()
    path = policy(method).user_field
    if path:
        *parents, field = path.split(".")
        for parent in parents:
            message = getattr(message, parent)
        setattr(message, field, user_id)
    if policy(method).admitted_by_handler:
        request.message = "How do I say hello?"
    return request


def begin(
    channel: grpc.aio.Channel,
    method: MethodDescriptor,
    user_id: str,
    credential: str | None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Any:
    """Call an RPC with a request about a user; return what awaits its first response."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    arity = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    multi = getattr(channel, arity)(path, request_serializer=lambda message: message.SerializeToString())
    request = request_of(method, user_id)
    metadata = (*bearer(credential), *headers)
    begun = multi(iter([request]) if method.client_streaming else request, timeout=10, metadata=metadata)
    return begun.read() if method.server_streaming else begun
