"""Requests out of JSON, answers into JSON."""

import json
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass


class DataInvalid(Exception):
    """The text given is not a request of the method; the error says why."""


def requests_of(method: MethodDescriptor, data: str) -> list[Message]:
    """Return the requests that a text holds, one JSON object after the other; an empty text is an empty request.

    Raises DataInvalid.
    """
    kind: Any = GetMessageClass(method.input_type)
    try:
        requests = [json_format.ParseDict(value, kind()) for value in _values(data)]
    except json_format.ParseError as error:
        raise DataInvalid(f"the request is no {kind.DESCRIPTOR.name}: {error}") from error
    if method.client_streaming:
        return requests
    if len(requests) > 1:
        raise DataInvalid(f"{method.name} takes one request, and {len(requests)} are given")
    return requests or [kind()]


def text_of(message: Message, *, one_line: bool, defaults: bool) -> str:
    """Return a message as JSON with the names of the proto; with `defaults`, fields that have theirs as well."""
    return json_format.MessageToJson(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=defaults,
        indent=None if one_line else 2,
        ensure_ascii=False,
    )


def _values(data: str) -> Iterator[dict[str, Any]]:
    decoder, rest = json.JSONDecoder(), data.lstrip()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except json.JSONDecodeError as error:
            raise DataInvalid(f"the request is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise DataInvalid(f"a request is a JSON object, and this is none: {json.dumps(value)[:40]}")
        yield value
        rest = rest[end:].lstrip()
