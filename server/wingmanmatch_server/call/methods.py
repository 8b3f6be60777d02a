"""The API as the generated code knows it, found by names that may be short."""

import importlib
import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health_pb2

import wingmanmatch

DescriptorT = TypeVar("DescriptorT")


class NotOne(Exception):
    """A name fits nothing, or more than one thing; the text says what would fit."""


def services() -> list[ServiceDescriptor]:
    """Return every service of the server, by name."""
    found = list(health_pb2.DESCRIPTOR.services_by_name.values())
    for folder in map(Path, wingmanmatch.__path__):
        for path in sorted(folder.rglob("*_pb2.py")):
            module = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
            found += importlib.import_module(module).DESCRIPTOR.services_by_name.values()
    return sorted(found, key=lambda service: str(service.full_name))


def methods() -> list[MethodDescriptor]:
    """Return every RPC of the server."""
    return [method for service in services() for method in service.methods]


def find_method(name: str) -> MethodDescriptor:
    """Return the RPC of a name such as `package.Service/Method`, `Service.Method` or `Method`. Raises NotOne."""
    return find(name, methods(), "method", path_of)


def find_service(name: str) -> ServiceDescriptor:
    """Return the service of a name, with or without its package. Raises NotOne."""
    return find(name, services(), "service", lambda service: str(service.full_name))


def find_described(name: str) -> Any:
    """Return the descriptor of a service, method, message or enum. Raises NotOne."""
    files = {method.containing_service.file for method in methods()}
    files |= {method.input_type.file for method in methods()}
    files |= {dependency for file in files for dependency in file.dependencies}
    types = [
        kind for file in files for kind in (*file.message_types_by_name.values(), *file.enum_types_by_name.values())
    ]
    things: list[Any] = [*services(), *methods(), *types]
    return find(name, things, "service, method, message or enum", _name_of)


def path_of(method: MethodDescriptor) -> str:
    """Return a method's name as grpcurl takes it."""
    return f"{method.containing_service.full_name}/{method.name}"


def find(name: str, things: Sequence[DescriptorT], what: str, name_of: Callable[[DescriptorT], str]) -> DescriptorT:
    """Return the one thing whose name ends in all the parts of `name`, or whose whole name it is. Raises NotOne."""
    wanted = _parts(name)
    found = [thing for thing in things if _parts(name_of(thing))[-len(wanted) :] == wanted]
    exact = [thing for thing in found if _parts(name_of(thing)) == wanted]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise NotOne(f"{name} could be {_listed(map(name_of, found))}")
    last = {_parts(name_of(thing))[-1] for thing in things}
    similar = get_close_matches(wanted[-1], last, n=3)
    hint = f"; did you mean {_listed(similar)}?" if similar else "; `wingmanmatch call list` shows what there is"
    raise NotOne(f"there is no {what} {name}{hint}")


def _name_of(thing: Any) -> str:
    return str(thing.full_name)


def _parts(name: str) -> list[str]:
    return re.split(r"[./]", name)


def _listed(names: Iterable[str]) -> str:
    return " or ".join(sorted(names))
