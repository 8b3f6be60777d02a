"""Every field of every request is checked by its type, whatever its proto says of it."""

import math
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.latlng_pb2 import LatLng

from support.edge import Edge, channel_to, failure_of
from support.fuzz.spots import Spot, spots
from support.protos import methods
from wingmanmatch.options.v1 import options_pb2
from wingmanmatch_server.bootstrap import Application
from wingmanmatch_server.interceptors.chain import Call, service_handler
from wingmanmatch_server.system.health import Health
from wingmanmatch_server.well_formed import FIRST_SECOND, LAST_SECOND, LONGEST_DURATION

INT32 = 2**31


def object_of(key: str, value: Value) -> Struct:
    """Return a Struct with one value."""
    struct = Struct()
    struct.fields[key].CopyFrom(value)
    return struct


def nested(levels: int) -> Struct:
    """Return a Struct of objects, so many deep."""
    struct = Struct()
    inner: Any = struct
    for _ in range(levels - 1):
        inner = inner.fields["a"].struct_value
    inner.fields["a"].bool_value = True
    return struct


# What is wrong, and where below the field it is reported.
Wrong = tuple[Any, str, str]
STRINGS: list[Wrong] = [("a\0b", "", "string.nul"), ("\0", "", "string.nul")]
NUMBERS: list[Wrong] = [(number, "", "double.finite") for number in (math.nan, math.inf, -math.inf)]
ENUMS: list[Wrong] = [(number, "", "enum.defined_only") for number in (9_999, -1, INT32 - 1, -INT32)]
MESSAGES: dict[str, list[Wrong]] = {
    "google.protobuf.Timestamp": [
        (Timestamp(seconds=seconds, nanos=nanos), "", "timestamp.valid")
        for seconds, nanos in [
            *((1_800_000_000, nanos) for nanos in (-1, -5, 1_000_000_000, 2_000_000_000, INT32 - 1, -INT32)),
            *((seconds, 0) for seconds in (FIRST_SECOND - 1, LAST_SECOND + 1, 2**60, -(2**60), 2**63 - 1, -(2**63))),
        ]
    ],
    "google.protobuf.Duration": [
        (Duration(seconds=seconds, nanos=nanos), "", "duration.valid")
        for seconds, nanos in [
            *((5, -5), (-5, 5), (0, 2_000_000_000), (0, -1_000_000_000), (2**63 - 1, 0), (-(2**63), 0)),
            *((LONGEST_DURATION + 1, 0), (-LONGEST_DURATION - 1, 0), (1, INT32 - 1), (-1, -INT32)),
        ]
    ],
    "google.protobuf.Struct": [
        *((object_of("x", Value(number_value=n)), '.fields["x"]', "double.finite") for n in (math.nan, math.inf)),
        (object_of("x", Value(string_value="\0")), '.fields["x"]', "string.nul"),
        (object_of("a\0", Value(bool_value=True)), r'.fields["a\u0000"]', "string.nul"),
        (object_of("x", Value()), '.fields["x"]', "struct.kind"),
        (
            object_of("x", Value(struct_value=object_of("y", Value(number_value=math.nan)))),
            '.fields["x"].struct_value.fields["y"]',
            "double.finite",
        ),
        (
            object_of("x", Value(list_value={"values": [{"bool_value": True}, {"number_value": math.inf}]})),
            '.fields["x"].list_value.values[1]',
            "double.finite",
        ),
        (nested(33), "", "struct.max_depth"),
    ],
    "google.type.LatLng": [
        *((LatLng(latitude=latitude), "", "latlng.latitude") for latitude in (math.nan, math.inf, 90.01, -1e300)),
        *((LatLng(longitude=longitude), "", "latlng.longitude") for longitude in (math.nan, -math.inf, -180.01)),
    ],
}
# What is at the very edge, and right.
RIGHT: dict[str, list[Any]] = {
    "google.protobuf.Timestamp": [Timestamp(seconds=FIRST_SECOND), Timestamp(seconds=LAST_SECOND, nanos=999_999_999)],
    "google.protobuf.Duration": [
        Duration(seconds=LONGEST_DURATION),
        Duration(seconds=-LONGEST_DURATION),
        Duration(seconds=-1, nanos=-999_999_999),
    ],
    "google.protobuf.Struct": [Struct(), nested(32), object_of("", Value(null_value=0))],  # type: ignore[arg-type]
    "google.type.LatLng": [
        LatLng(latitude=90, longitude=-180),
        LatLng(latitude=-90, longitude=180),
        LatLng(latitude=5e-324),
    ],
}


def wrongs(field: FieldDescriptor) -> list[Wrong]:
    """Return the values that a field's type does not allow."""
    if field.message_type is not None:
        return MESSAGES[field.message_type.full_name]
    if field.enum_type is not None:
        return ENUMS
    if field.type in (field.TYPE_DOUBLE, field.TYPE_FLOAT):
        return NUMBERS
    return STRINGS if field.type == field.TYPE_STRING and not is_opaque(field) else []


def is_opaque(field: FieldDescriptor) -> bool:
    """Return whether the field is a secret of which any text may be one."""
    return field.GetOptions().Extensions[options_pb2.opaque]


class ReadsStreams:
    """Implements nothing but a stream, which it reads to its end."""

    async def stream_check_rate_limit(self, requests: AsyncIterator[Any], _call: Call) -> AsyncIterator[Any]:
        """Read all."""
        async for _ in requests:
            pass
        return
        yield


@asynccontextmanager
async def everything() -> AsyncIterator[grpc.aio.Channel]:
    """Serve every method with the real edge around it, and nothing within: what passes the edge is UNIMPLEMENTED."""
    edge = Edge()
    services = {method.containing_service.full_name: method.containing_service for method in methods()}
    interceptors = edge.interceptors()
    handlers = [service_handler(each, ReadsStreams(), interceptors) for each in services.values()]
    async with channel_to(Application(handlers, Health(()), edge.registry)) as channel:
        yield channel


async def answer_to(channel: grpc.aio.Channel, method: MethodDescriptor, request: Message) -> Any:
    """Send a request, which must fail or be the only one of a stream; return the failure, None for none."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    data = request.SerializeToString()
    if method.client_streaming:
        stream = channel.stream_stream(path)(iter([data]), timeout=10)
        try:
            async for _ in stream:
                pass
        except grpc.aio.AioRpcError as error:
            return await failure_of(_raise(error))
        return None
    if method.server_streaming:
        return await failure_of(channel.unary_stream(path)(data, timeout=10).read())
    return await failure_of(channel.unary_unary(path)(data, timeout=10))


async def _raise(error: Exception) -> None:
    raise error


def cases() -> Iterator[tuple[MethodDescriptor, Spot]]:
    """Yield every spot of every request whose type allows less than the wire carries."""
    for method in methods():
        for spot in spots(method.input_type):
            if wrongs(spot.field):
                yield method, spot


async def test_no_field_escapes_its_type() -> None:
    """A value that its type does not allow is INVALID_ARGUMENT with its path, in each such field of each request."""
    escaped, tried = [], 0
    async with everything() as channel:
        for method, spot in cases():
            for value, below, rule in wrongs(spot.field):
                request = GetMessageClass(method.input_type)()
                spot.put(request, value)
                failure = await answer_to(channel, method, request)
                tried += 1
                wanted = (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", {spot.name + below: rule})
                if failure is None or (failure.code, failure.reason, failure.violations) != wanted:
                    escaped.append((method.full_name, spot.name, value, failure and failure.message))
    assert escaped == []
    assert tried > 400


def test_every_type_of_requests_is_known_here() -> None:
    """A message of Google's that a request holds is one whose wrong values are tried above, or a plain container."""
    fields = [spot.path for method in methods() for spot in spots(method.input_type)]
    google = {
        each.message_type.full_name
        for path in fields
        for each in path
        if each.message_type is not None and each.message_type.full_name.startswith("google.")
    }
    assert google - MESSAGES.keys() == {"google.protobuf.UInt64Value"}


def test_opaque_fields_are_tokens() -> None:
    """No other field than a token takes any text."""
    opaque = {spot.field.name for method in methods() for spot in spots(method.input_type) if is_opaque(spot.field)}
    assert opaque == {"token"}


@pytest.mark.parametrize("kind", RIGHT)
async def test_values_at_the_edge_of_a_type_are_of_it(kind: str) -> None:
    """The least and the most that a type allows is not refused for its type."""
    async with everything() as channel:
        for method, spot in cases():
            if spot.field.message_type is None or spot.field.message_type.full_name != kind:
                continue
            for value in RIGHT[kind]:
                request = GetMessageClass(method.input_type)()
                spot.put(request, value)
                failure = await answer_to(channel, method, request)
                assert failure.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED)
                assert not any(rule in RULES for rule in rules_of(failure)), (spot.name, value)


RULES = frozenset(rule for values in MESSAGES.values() for _, _, rule in values)


def rules_of(failure: Any) -> Iterable[str]:
    """Return the rules that a request broke."""
    return failure.violations.values() if failure.code is grpc.StatusCode.INVALID_ARGUMENT else ()
