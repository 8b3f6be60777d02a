"""Requests of RPCs as the arguments of methods, and the protos' comments as docstrings. For generate_client.py."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from buf.validate import validate_pb2
from wingmanmatch.options.v1 import options_pb2

WIDTH = 120

# What a caller may give beside the message itself, and what makes the message of it.
COMFORTS = {
    "google.protobuf.Timestamp": ("datetime | Timestamp", "timestamp({0})"),
    "google.protobuf.Duration": ("timedelta | Duration", "duration({0})"),
    "google.protobuf.Struct": ("Mapping[str, Any] | Struct", "struct({0})"),
}
SCALARS = {
    FieldDescriptor.CPPTYPE_BOOL: ("bool", "False"),
    FieldDescriptor.CPPTYPE_DOUBLE: ("float", "0.0"),
    FieldDescriptor.CPPTYPE_FLOAT: ("float", "0.0"),
    FieldDescriptor.CPPTYPE_INT32: ("int", "0"),
    FieldDescriptor.CPPTYPE_INT64: ("int", "0"),
    FieldDescriptor.CPPTYPE_UINT32: ("int", "0"),
    FieldDescriptor.CPPTYPE_UINT64: ("int", "0"),
}


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a method: `default` is None where it must be given, `value` what the message gets."""

    name: str
    kind: str
    default: str | None
    value: str
    comment: str


class Comments:
    """What the protos say above things, by their full names."""

    def __init__(self, files: list[FileDescriptorProto]) -> None:
        """Read the locations that protoc noted."""
        self._texts: dict[tuple[str, tuple[int, ...]], str] = {
            (file.name, tuple(location.path)): textwrap.dedent(location.leading_comments).strip()
            for file in files
            for location in file.source_code_info.location
        }

    def of_service(self, service: ServiceDescriptor) -> str:
        """Return the comment above a service."""
        return self._texts[service.file.name, (6, service.index)]

    def of_method(self, method: MethodDescriptor) -> str:
        """Return the comment above an RPC."""
        service = method.containing_service
        return self._texts[service.file.name, (6, service.index, 2, method.index)]

    def of_field(self, field: FieldDescriptor) -> str:
        """Return the comment above a field of a message that lies in no other."""
        message = field.containing_type
        index = list(message.file.message_types_by_name).index(message.name)
        return self._texts[message.file.name, (4, index, 2, field.index)]


def module_of(file: str) -> str:
    """Return the module that protoc makes of a proto."""
    return f"{file.removesuffix('.proto').replace('/', '.')}_pb2"


def snake(name: str) -> str:
    """Return a name in CamelCase in snake_case."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def reference(kind: Descriptor) -> str:
    """Return how a module that imports the message's module writes the message."""
    return f"{module_of(kind.file.name).rpartition('.')[2]}.{kind.name}"


def timeout_of(method: MethodDescriptor, what: str = "the call") -> Argument:
    """Return the argument that every call has."""
    deadline = method.GetOptions().Extensions[options_pb2.policy].default_deadline.ToTimedelta().total_seconds()
    end = f"Left out means {deadline:g}." if deadline else "Left out, it may stay open."
    return Argument("timeout", "float | None", "None", "", f"Seconds {what} may take. {end}")


def arguments_of(method: MethodDescriptor, comments: Comments) -> list[Argument]:
    """Return the fields of an RPC's request as arguments."""
    return [argument_of(field, comments.of_field(field)) for field in method.input_type.fields]


def argument_of(field: FieldDescriptor, comment: str) -> Argument:
    """Return a field as an argument."""
    kind, default = type_of(field)
    value = field.name
    if field.message_type is not None and field.message_type.full_name in COMFORTS:
        value = COMFORTS[field.message_type.full_name][1].format(field.name)
    if field.name == "request_id":
        comment = f"{comment} Left out, the client makes one."
    if is_needed(field):
        return Argument(field.name, kind, None, value, comment)
    return Argument(field.name, f"{kind} | None" if default == "None" else kind, default, value, comment)


def type_of(field: FieldDescriptor) -> tuple[str, str]:
    """Return a field's type as a caller writes it, and its value where it is left out."""
    kind, default = "", "None"
    if field.message_type is not None:
        kind = COMFORTS.get(field.message_type.full_name, (reference(field.message_type),))[0]
    elif field.enum_type is not None:
        module = module_of(field.enum_type.file.name).rpartition(".")[2]
        kind, default = f"{module}.{field.enum_type.name}.ValueType", f"{module}.{field.enum_type.values[0].name}"
    elif field.type == field.TYPE_BYTES:
        kind, default = "bytes", 'b""'
    else:
        kind, default = SCALARS.get(field.cpp_type, ("str", '""'))
    if field.is_repeated:
        return f"Iterable[{kind}]", "()"
    return kind, "None" if field.has_presence else default


def is_needed(field: FieldDescriptor) -> bool:
    """Whether the rules refuse a request without the field; a token that opens something is always needed."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    if rules.required or field.name == "token":
        return True
    if rules.ignore or (field.has_presence and field.message_type is None):
        return False
    text = rules.string
    return bool(
        text.uuid
        or text.email
        or text.min_len
        or rules.bytes.min_len
        or rules.repeated.min_items
        or 0 in rules.enum.not_in
    )


def signature(arguments: list[Argument]) -> str:
    """Return a method's parameters: keywords, those that must be given first."""
    ordered = sorted(arguments, key=lambda each: each.default is not None)
    return "self, *, " + ", ".join(
        f"{each.name}: {each.kind}" + (f" = {each.default}" if each.default else "") for each in ordered
    )


def message(method: MethodDescriptor, arguments: list[Argument]) -> str:
    """Return the expression that makes the request."""
    fields = ", ".join(f"{each.name}={each.value}" for each in arguments if each.value)
    return f"{reference(method.input_type)}({fields})"


def docstring(text: str, depth: int, arguments: Sequence[Argument] = ()) -> str:
    """Return a comment of the protos as a docstring, with what it says of the arguments."""
    indent = "    " * depth
    width = WIDTH - len(indent)
    summary, *more = text.split("\n\n")
    paragraphs = [textwrap.fill(summary, width - len('""" """')), *(textwrap.fill(each, width) for each in more)]
    if arguments:
        paragraphs.append("\n".join(["Args:", *(described(each, width) for each in arguments)]))
    first, *rest = "\n\n".join(paragraphs).splitlines()
    if not rest:
        return f'{indent}"""{first}"""\n'
    body = "".join(f"{indent}{line}".rstrip() + "\n" for line in rest)
    return f'{indent}"""{first}\n{body}{indent}"""\n'


def described(argument: Argument, width: int) -> str:
    """Return an argument's entry in a docstring."""
    text = f"{argument.name}: {argument.comment}"
    return textwrap.fill(text, width, initial_indent="    ", subsequent_indent="        ")
