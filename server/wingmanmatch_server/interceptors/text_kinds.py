"""Checks fields whose proto says what kind of text they take."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from wingmanmatch.options.v1 import options_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.texts.email_addresses import check_email_address
from wingmanmatch_server.texts.names import check_person_name, check_place_name
from wingmanmatch_server.texts.refused import TextRefused

CHECKS: Mapping[int, Callable[[str], None]] = {
    options_pb2.TEXT_KIND_PERSON_NAME: check_person_name,
    options_pb2.TEXT_KIND_PLACE_NAME: check_place_name,
    options_pb2.TEXT_KIND_EMAIL_ADDRESS: check_email_address,
}


def violations(message: Message) -> Iterable[errors.FieldViolation]:
    """Yield each field of `message`, and of those within it, whose text is not of the kind that its proto demands."""
    for path, owner, field in _texts(message.DESCRIPTOR):
        text = getattr(owner(message), field.name)
        try:
            if text:
                CHECKS[kind_of(field)](text)
        except TextRefused as refused:
            yield errors.FieldViolation(path, refused.rule, refused.description)


def kind_of(field: FieldDescriptor) -> int:
    """Return the kind of text that a field takes."""
    return int(field.GetOptions().Extensions[options_pb2.text_kind])


@cache
def _texts(descriptor: Descriptor) -> list[tuple[str, Callable[[Any], Any], FieldDescriptor]]:
    """Return path, way to the message that owns it, and descriptor of each such field. Raises ValueError for a list."""
    found = [(field.name, lambda message: message, field) for field in descriptor.fields if kind_of(field)]
    for field in descriptor.fields:
        if field.message_type is None or field.message_type.full_name.startswith("google."):
            continue
        within = _texts(field.message_type)
        if within and field.is_repeated:
            raise ValueError(f"{field.full_name}: kinds of text are not checked in lists")
        found += [(f"{field.name}.{path}", _through(field.name, owner), text) for path, owner, text in within]
    return found


def _through(name: str, owner: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda message: owner(getattr(message, name))
