"""Checks every request: first that its fields are of their types, then the rules that its proto states."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import protovalidate
from google.protobuf.message import Message

from buf.validate import validate_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.interceptors import text_kinds
from wingmanmatch_server.interceptors.chain import Call, Proceed
from wingmanmatch_server.interceptors.policy import Method
from wingmanmatch_server.well_formed import type_check


class Validate:
    """Refuses a request that breaks a rule, naming every field and rule it breaks.

    The rules of the proto see only requests whose fields are of their types: CEL cannot reckon with others.
    """

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """See `Interceptor.bind`."""
        check = checker(method.request.DESCRIPTOR)
        if check is None:
            return proceed

        async def validate_one(request: Any, call: Call) -> Any:
            check(request)
            return await proceed(request, call)

        async def validate_each(requests: AsyncIterator[Any], call: Call) -> Any:
            return await proceed(_checked(requests, check), call)

        return validate_each if method.client_streaming else validate_one


async def _checked(requests: AsyncIterator[Any], check: Callable[[Message], None]) -> AsyncIterator[Any]:
    async for request in requests:
        check(request)
        yield request


def checker(message: Any) -> Callable[[Message], None] | None:
    """Return what raises errors.InvalidArgument for a request that is wrong; None where none can be."""
    of_types, of_rules = type_check(message), has_rules(message)
    if of_types is None:
        return check_rules if of_rules else None

    def check(request: Message) -> None:
        if violations := of_types(request):
            raise errors.InvalidArgument(violations)
        if of_rules:
            check_rules(request)

    return check


def check_rules(request: Message) -> None:
    """Raise errors.InvalidArgument if `request` breaks a rule of its proto. May discard its unknown fields."""
    try:
        broken = _broken_rules(request)
    except ValueError:
        # The validator parses the request once more, and refuses unknown groups that our parser takes. Nobody reads
        # unknown fields here.
        request.DiscardUnknownFields()
        broken = _broken_rules(request)
    if broken:
        raise errors.InvalidArgument(broken)


def _broken_rules(request: Message) -> list[errors.FieldViolation]:
    broken = [_violation(request, each) for each in protovalidate.collect_violations(request)]
    known = {each.field for each in broken}
    return broken + [each for each in text_kinds.violations(request) if each.field not in known]


def has_rules(message: Any, seen: frozenset[str] = frozenset()) -> bool:
    """Return whether `message` or one it contains states a rule."""
    if message.full_name in seen:
        return False
    return (
        message.GetOptions().HasExtension(validate_pb2.message)
        or any(oneof.GetOptions().HasExtension(validate_pb2.oneof) for oneof in message.oneofs)
        or any(
            field.GetOptions().HasExtension(validate_pb2.field)
            or (field.message_type is not None and has_rules(field.message_type, seen | {message.full_name}))
            for field in message.fields
        )
    )


def _violation(request: Message, found: protovalidate.Violation) -> errors.FieldViolation:
    field = _path(found.proto.field) if found.proto.field else _field_of_rule(request, found.proto.rule_id)
    return errors.FieldViolation(field, found.proto.rule_id, found.proto.message)


def _field_of_rule(request: Message, rule_id: str) -> str:
    """Return the field that a rule over the whole message is about: its id is `field.rule`."""
    field = rule_id.partition(".")[0]
    return field if field in request.DESCRIPTOR.fields_by_name else ""


def _path(path: Any) -> str:
    """Write a path of protovalidate as AIP-193 shows it: `profile.email`, `descriptors[2].cost`."""
    return ".".join(element.field_name + _subscript(element.subscript) for element in path.elements)


def _subscript(subscript: Any) -> str:
    if subscript is None:
        return ""
    value = subscript.value
    return f'["{value}"]' if isinstance(value, str) else f"[{value}]"
