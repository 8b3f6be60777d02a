"""Fields whose proto says what kind of text they take."""

import re
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from support.protos import methods, request_fields
from wingmanmatch.options.v1 import options_pb2
from wingmanmatch_server.interceptors.text_kinds import kind_of, violations

KINDS = {
    options_pb2.TEXT_KIND_PERSON_NAME: re.compile(
        r"(\w+_)?(first|last|recipient|inviter|accepter|decliner|partner)_name"
    ),
    options_pb2.TEXT_KIND_PLACE_NAME: re.compile(r"venue_\w+|city|place\w*"),
    options_pb2.TEXT_KIND_EMAIL_ADDRESS: re.compile(r"\w*email\w*"),
}
REQUESTS = {method.input_type.full_name: method.input_type for method in methods()}
# Each with the violation of its kind that a link leads to.
RULES = {
    options_pb2.TEXT_KIND_PERSON_NAME: "person_name.link",
    options_pb2.TEXT_KIND_PLACE_NAME: "place_name.link",
    options_pb2.TEXT_KIND_EMAIL_ADDRESS: "email_address.invalid",
}


def texts(descriptor: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], FieldDescriptor]]:
    """Return each string field of a request with the path that leads to it."""
    found = []
    for field in descriptor.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            found.append(((*path, field.name), field))
        elif field.message_type is not None and not field.message_type.full_name.startswith("google."):
            found += texts(field.message_type, (*path, field.name))
    return found


def test_names_places_and_addresses_say_what_they_are() -> None:
    """No request has a field that is called as a name, a place or an address is, and takes any text."""
    fields = [field for request in REQUESTS.values() for field in request_fields(request)]
    strings = {field.full_name: field for field in fields if field.type == FieldDescriptor.TYPE_STRING}
    wrong = [
        name
        for name, field in strings.items()
        if any(pattern.fullmatch(field.name) is not None and kind_of(field) != kind for kind, pattern in KINDS.items())
    ]
    assert wrong == []
    assert len([field for field in strings.values() if kind_of(field)]) > 15


@pytest.mark.parametrize("name", REQUESTS)
def test_every_such_field_is_checked_where_it_lies(name: str) -> None:
    """A link in any of them, however deep, is a violation of the field's own path."""
    for path, field in texts(REQUESTS[name]):
        request = owner = GetMessageClass(REQUESTS[name])()
        if not kind_of(field):
            continue
        for part in path[:-1]:
            owner = getattr(owner, part)
        setattr(owner, path[-1], "http://evil.example/?a=1")
        assert [(each.field, each.rule) for each in violations(request)] == [(".".join(path), RULES[kind_of(field)])]


def test_empty_fields_are_nobodys_business() -> None:
    """What must be there is said by other rules."""
    assert [list(violations(GetMessageClass(request)())) for request in REQUESTS.values()] == [[]] * len(REQUESTS)
