"""The API as its protos say it, for tests that walk over all of it."""

import importlib
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from wingmanmatch.options.v1 import options_pb2

REPOSITORY = Path(__file__).resolve().parents[2]
PROTOS = REPOSITORY / "protos"


def sources() -> list[Path]:
    """Return every proto of the services and of the rate limit protocol of proxies."""
    return sorted((PROTOS / "wingmanmatch").rglob("*.proto"))


def methods() -> list[MethodDescriptor]:
    """Return every RPC of every service."""
    modules = [path.relative_to(PROTOS).with_suffix("") for path in sources()]
    files = [importlib.import_module(".".join(module.parts) + "_pb2").DESCRIPTOR for module in modules]
    return [method for file in files for service in file.services_by_name.values() for method in service.methods]


def policy(method: MethodDescriptor) -> options_pb2.MethodPolicy:
    """Return the policy that the RPC carries; an empty one where it carries none."""
    return method.GetOptions().Extensions[options_pb2.policy]


def request_fields(message: Descriptor) -> Iterator[FieldDescriptor]:
    """Yield each field that a caller can fill, at any depth. Messages of Google's count as one field each."""
    seen: set[str] = set()
    pending = [message]
    while pending:
        current = pending.pop()
        if current.full_name in seen or current.full_name.startswith("google."):
            continue
        seen.add(current.full_name)
        yield from current.fields
        pending += [field.message_type for field in current.fields if field.message_type is not None]
