"""Methods, messages and enums as a proto would say them, with policies and rules."""

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2
from wingmanmatch.options.v1 import options_pb2

TYPES = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def described(thing: Any) -> str:
    """Return the descriptor of a service, method, message or enum as a proto would say it."""
    # The descriptors' own classes are other ones, which only isinstance knows by these names.
    return next(tell(thing) for kind, tell in TELLERS.items() if isinstance(thing, kind))


def _service(service: ServiceDescriptor) -> str:
    return _block(f"service {service.full_name}", [_signature(method) + ";" for method in service.methods])


def _method(method: MethodDescriptor) -> str:
    policy = method.GetOptions().Extensions[options_pb2.policy]
    body = [f"policy: {_line(policy)}"] if policy.ByteSize() else []
    service = f"// {method.containing_service.full_name}"
    return "\n\n".join((f"{service}\n{_block(_signature(method), body)}", described(method.input_type)))


def _message(message: Descriptor) -> str:
    return _block(f"message {message.full_name}", list(_fields(message)))


def _enum(enum: EnumDescriptor) -> str:
    return _block(f"enum {enum.full_name}", [f"{value.name} = {value.number};" for value in enum.values])


def _signature(method: MethodDescriptor) -> str:
    request, response = (
        f"({'stream ' if streamed else ''}{kind.full_name})"
        for kind, streamed in (
            (method.input_type, method.client_streaming),
            (method.output_type, method.server_streaming),
        )
    )
    return f"rpc {method.name}{request} returns {response}"


def _fields(message: Descriptor) -> Iterator[str]:
    for field in message.fields:
        choice = field.containing_oneof
        optional = "optional " if choice is not None and choice.name.startswith("_") else ""
        label = "repeated " if field.is_repeated else optional
        oneof = "" if choice is None or optional else f"  // one of {choice.name}"
        rules = field.GetOptions().Extensions[validate_pb2.field]
        rule = f" [{_line(rules)}]" if rules.ByteSize() else ""
        yield f"{label}{_type_of(field)} {field.name} = {field.number}{rule};{oneof}"


def _type_of(field: FieldDescriptor) -> str:
    named = field.message_type or field.enum_type
    return str(named.full_name) if named is not None else TYPES[field.type]


def _line(message: Message) -> str:
    return str(text_format.MessageToString(message, as_one_line=True)).strip()


def _block(head: str, lines: list[str]) -> str:
    return "\n".join((f"{head} {{", *(f"  {line}" for line in lines), "}")) if lines else f"{head} {{}}"


TELLERS: dict[type, Callable[[Any], str]] = {
    ServiceDescriptor: _service,
    MethodDescriptor: _method,
    Descriptor: _message,
    EnumDescriptor: _enum,
}
