"""What the protos say of each RPC, as far as a client needs it."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from wingmanmatch.options.v1 import options_pb2

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)


class Rpc(Generic[RequestT, ResponseT]):
    """One RPC.

    `deadline` is how many seconds a call has whose caller names none: what the server itself would allow. None means
    that the call may stay open. A `repeatable` RPC has the effect of once however often it is sent, and one that is
    `keyed` has that by its `request_id`.
    """

    def __init__(self, service: str, name: str, request: type[RequestT], response: type[ResponseT]) -> None:
        """Read the RPC's descriptor, which lies in the file of `request`."""
        method = request.DESCRIPTOR.file.services_by_name[service].methods_by_name[name]
        options = method.GetOptions()
        deadline = options.Extensions[options_pb2.policy].default_deadline
        self.service = method.containing_service.full_name
        self.name = name
        self.path = f"/{self.service}/{name}"
        self.request = request
        self.response = response
        self.deadline = deadline.ToTimedelta().total_seconds() or None
        self.keyed = "request_id" in request.DESCRIPTOR.fields_by_name
        # What is streamed to the server cannot be sent again as a whole.
        self.repeatable = options.idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN and not method.client_streaming


def give_id(rpc: Rpc[Any, Any], request: Any, make_id: Callable[[], str]) -> str:
    """Give a mutation a `request_id` unless it has one, so that every time it is sent counts as once; return the id."""
    if not rpc.keyed:
        return ""
    request.request_id = request.request_id or make_id()
    return str(request.request_id)


def timestamp(moment: datetime | Timestamp | None) -> Timestamp | None:
    """Return a moment as a Timestamp. Raises ValueError for one that does not know its offset from UTC."""
    if not isinstance(moment, datetime):
        return moment
    if moment.utcoffset() is None:
        raise ValueError("a datetime must have a time zone: datetime.now(UTC), not datetime.now()")
    written = Timestamp()
    written.FromDatetime(moment)
    return written


def duration(span: timedelta | Duration | None) -> Duration | None:
    """Return a span of time as a Duration."""
    if not isinstance(span, timedelta):
        return span
    written = Duration()
    written.FromTimedelta(span)
    return written


def struct(data: Mapping[str, Any] | Struct | None) -> Struct | None:
    """Return what JSON could write as a Struct. Raises ValueError for what it could not."""
    if data is None or isinstance(data, Struct):
        return data
    written = Struct()
    written.update(dict(data))
    return written
