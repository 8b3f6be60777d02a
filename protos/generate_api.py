"""Write `docs/api/` from the protos in this folder: a page for each area, and an index of every RPC.

    python protos/generate_api.py           write docs/api/
    python protos/generate_api.py --check   exit with 1 if it is not what the protos say

buf reads the protos with their comments and options; `api_page.md.j2` and `api_index.md.j2` say how a page looks. The
published generators cannot take its place: they know no RPC's policy, and the one for Python needs an older protobuf.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generate import differences
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
    ServiceDescriptorProto,
)
from google.protobuf.message import Message
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from workspace import PROTOS, lay_out, run

from buf.validate import validate_pb2
from wingmanmatch.options.v1 import options_pb2

API = PROTOS.parent / "docs" / "api"

# The numbers of fields in descriptor.proto, of which the paths to comments consist.
PACKAGE_COMMENT = (12,)  # that of `syntax`, which is the first line
MESSAGE, ENUM, SERVICE, EXTENSION = (
    FileDescriptorProto.DESCRIPTOR.fields_by_name[name].number
    for name in ("message_type", "enum_type", "service", "extension")
)
FIELD, NESTED, NESTED_ENUM = (
    DescriptorProto.DESCRIPTOR.fields_by_name[name].number for name in ("field", "nested_type", "enum_type")
)
METHOD = ServiceDescriptorProto.DESCRIPTOR.fields_by_name["method"].number
VALUE = EnumDescriptorProto.DESCRIPTOR.fields_by_name["value"].number

ACCESS = {
    options_pb2.ACCESS_PUBLIC: "anyone",
    options_pb2.ACCESS_USER: "back ends, and the user concerned",
    options_pb2.ACCESS_BACKEND: "back ends",
    options_pb2.ACCESS_ADMIN: "back ends with the scope `admin`",
}
IDEMPOTENCY = {
    MethodOptions.IDEMPOTENCY_UNKNOWN: "no",
    MethodOptions.NO_SIDE_EFFECTS: "yes: it changes nothing",
    MethodOptions.IDEMPOTENT: "yes",
}

Location = tuple[int, ...]


@dataclass(frozen=True)
class File:
    """A proto, with its comments by path."""

    proto: FileDescriptorProto
    comments: dict[Location, str]

    def comment(self, *path: int) -> str:
        """Return what the proto says about the thing at a path."""
        return self.comments.get(path, "")

    @property
    def area(self) -> str:
        """The area that the proto belongs to, by its folder."""
        return self.proto.name.split("/")[1]


class Reference:
    """What the pages show, and where each type has its heading."""

    def __init__(self, protos: FileDescriptorSet) -> None:
        self.files = [File(proto, _comments(proto)) for proto in protos.file if proto.name.startswith("wingmanmatch/")]
        self.homes = {
            f".{file.proto.package}.{name}": (file.area, name)
            for file in self.files
            for name, *_ in (*_messages(file), *_enums(file))
        }

    def areas(self) -> list[str]:
        """Return the areas, by name."""
        return sorted({file.area for file in self.files})

    def page(self, area: str) -> dict[str, Any]:
        """Return what the page of an area shows."""
        files = [file for file in self.files if file.area == area]
        return {
            "area": area,
            "packages": sorted({file.proto.package for file in files}),
            "summary": files[0].comment(*PACKAGE_COMMENT),
            "services": [service for file in files for service in self._services(file)],
            "messages": [self._message(area, *each) for file in files for each in _messages(file, only_shown=True)],
            "enums": [self._enum(*each) for file in files for each in _enums(file)],
            "extensions": [
                self._extension(area, file, number) for file in files for number in range(len(file.proto.extension))
            ],
        }

    def _services(self, file: File) -> Iterator[dict[str, Any]]:
        for number, service in enumerate(file.proto.service):
            path = (SERVICE, number)
            methods = [self._method(file, method, (*path, METHOD, at)) for at, method in enumerate(service.method)]
            name = f"{file.proto.package}.{service.name}"
            yield {"name": service.name, "full_name": name, "comment": file.comment(*path), "methods": methods}

    def _method(self, file: File, method: MethodDescriptorProto, path: Location) -> dict[str, Any]:
        policy = method.options.Extensions[options_pb2.policy]
        deadline = policy.default_deadline.ToTimedelta().total_seconds()
        return {
            "name": method.name,
            "comment": file.comment(*path),
            "request": _streamed(method.client_streaming, self._link(file.area, method.input_type)),
            "response": _streamed(method.server_streaming, self._link(file.area, method.output_type)),
            "access": ACCESS[policy.access],
            "user": policy.user_field,
            "rate_limit": policy.rate_limit,
            "limits_user": policy.rate_limit_subject == options_pb2.RATE_LIMIT_SUBJECT_USER,
            "deadline": f"{deadline:g} s" if deadline else "",
            "requires": [_dependency(value) for value in policy.requires],
            "uses": [_dependency(value) for value in policy.uses],
            "repeatable": IDEMPOTENCY[method.options.idempotency_level],
        }

    def _message(self, area: str, name: str, message: DescriptorProto, file: File, path: Location) -> dict[str, Any]:
        fields = [self._field(area, message, field, file, (*path, FIELD, at)) for at, field in enumerate(message.field)]
        rules = [rule.message for rule in message.options.Extensions[validate_pb2.message].cel]
        return {"name": name, "comment": file.comment(*path), "fields": fields, "rules": rules}

    def _field(
        self, area: str, message: DescriptorProto, field: FieldDescriptorProto, file: File, path: Location
    ) -> dict[str, Any]:
        in_oneof = field.HasField("oneof_index") and not field.proto3_optional
        return {
            "name": field.name,
            "number": field.number,
            "type": self._type(area, field),
            "oneof": message.oneof_decl[field.oneof_index].name if in_oneof else "",
            "rules": _rules(field),
            "comment": file.comment(*path),
        }

    def _type(self, area: str, field: FieldDescriptorProto) -> str:
        label = {True: "repeated ", False: "optional " if field.proto3_optional else ""}
        kind = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
        name = self._link(area, field.type_name) if field.type_name else kind
        return label[field.label == FieldDescriptorProto.LABEL_REPEATED] + name

    def _enum(self, name: str, enum: EnumDescriptorProto, file: File, path: Location) -> dict[str, Any]:
        values = [
            {"name": value.name, "number": value.number, "comment": file.comment(*path, VALUE, at)}
            for at, value in enumerate(enum.value)
        ]
        return {"name": name, "comment": file.comment(*path), "values": values}

    def _extension(self, area: str, file: File, number: int) -> dict[str, Any]:
        field = file.proto.extension[number]
        return {
            "name": f"{file.proto.package}.{field.name}",
            "extendee": field.extendee.lstrip("."),
            "type": self._type(area, field),
            "comment": file.comment(EXTENSION, number),
        }

    def _link(self, area: str, type_name: str) -> str:
        if type_name not in self.homes:
            return type_name.rpartition(".")[2]
        home, name = self.homes[type_name]
        page = "" if home == area else f"{home}.md"
        return f"[{name}]({page}#{name.lower().replace('.', '')})"


def _comments(proto: FileDescriptorProto) -> dict[Location, str]:
    return {
        tuple(place.path): _scrubbed(place.leading_comments)
        for place in proto.source_code_info.location
        if place.leading_comments
    }


def _scrubbed(comment: str) -> str:
    return "\n".join(line.strip() for line in comment.strip().splitlines())


def _messages(file: File, *, only_shown: bool = False) -> Iterator[tuple[str, DescriptorProto, File, Location]]:
    pending = [(message.name, message, (MESSAGE, at)) for at, message in enumerate(file.proto.message_type)]
    while pending:
        name, message, path = pending.pop(0)
        if not (only_shown and message.options.map_entry):
            yield name, message, file, path
        nested = enumerate(message.nested_type)
        pending[:0] = [(f"{name}.{each.name}", each, (*path, NESTED, at)) for at, each in nested]


def _enums(file: File) -> Iterator[tuple[str, EnumDescriptorProto, File, Location]]:
    for at, enum in enumerate(file.proto.enum_type):
        yield enum.name, enum, file, (ENUM, at)
    for name, message, _, path in _messages(file):
        for at, enum in enumerate(message.enum_type):
            yield f"{name}.{enum.name}", enum, file, (*path, NESTED_ENUM, at)


def _rules(field: FieldDescriptorProto) -> str:
    rules = validate_pb2.FieldRules()
    rules.CopyFrom(field.options.Extensions[validate_pb2.field])
    said = [rule.message for rule in rules.cel]
    rules.ClearField("cel")
    kind = field.options.Extensions[options_pb2.text_kind]
    kinds = [f"`{options_pb2.TextKind.Name(kind)}`"] * bool(kind)
    return "; ".join([_line(rules)] * bool(rules.ByteSize()) + kinds + said)


def _line(message: Message) -> str:
    return f"`{text_format.MessageToString(message, as_one_line=True).strip()}`"


def _streamed(streamed: bool, link: str) -> str:  # noqa: FBT001 - read with its name at the call
    return f"stream of {link}" if streamed else link


def _dependency(value: options_pb2.Dependency.ValueType) -> str:
    return options_pb2.Dependency.Name(value).removeprefix("DEPENDENCY_").lower().replace("_", " ")


def read(scratch: Path) -> Reference:
    """Return the reference of the protos in this folder; raise SystemExit if buf refuses them."""
    workspace, image = scratch / "protos", scratch / "image.binpb"
    lay_out(workspace)
    if run("buf", "build", "--as-file-descriptor-set", "--output", str(image), folder=workspace).returncode:
        raise SystemExit("buf refused the protos")
    return Reference(FileDescriptorSet.FromString(image.read_bytes()))


def write(reference: Reference, target: Path) -> None:
    """Write every page to `target`."""
    environment = Environment(
        loader=FileSystemLoader(PROTOS),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - Markdown
    )
    environment.filters["cell"] = _cell
    pages = [reference.page(area) for area in reference.areas()]
    target.mkdir()
    for page in pages:
        (target / f"{page['area']}.md").write_text(
            _tidy(environment.get_template("api_page.md.j2").render(page)), "utf-8"
        )
    index = environment.get_template("api_index.md.j2").render(pages=pages)
    (target / "README.md").write_text(_tidy(index), "utf-8")


def _cell(text: str) -> str:
    """Return a text as the cell of a table takes it: on one line, its bars escaped."""
    return " ".join(text.split()).replace("|", "\\|")


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return "\n".join(line for at, line in enumerate(lines) if line or lines[at - 1]) + "\n"


def main(arguments: list[str]) -> int:
    """Generate into a scratch folder, then compare or replace."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "api"
        write(read(Path(folder)), target)
        if "--check" in arguments:
            stale = differences(target, API)
            print("\n".join(f"stale: {name}" for name in stale) or "docs/api/ is fresh")
            return 1 if stale else 0
        shutil.rmtree(API, ignore_errors=True)
        shutil.copytree(target, API)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
