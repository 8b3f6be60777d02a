"""Every place in a request where a field can stand."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

# Messages of Google's that are values rather than containers.
VALUES = frozenset(
    {
        "google.protobuf.Timestamp",
        "google.protobuf.Duration",
        "google.protobuf.Struct",
        "google.protobuf.Value",
        "google.protobuf.ListValue",
        "google.type.LatLng",
    }
)


@dataclass(frozen=True, slots=True)
class Spot:
    """A field, and the fields of messages through which a request leads to it."""

    path: tuple[FieldDescriptor, ...]

    @property
    def field(self) -> FieldDescriptor:
        """The field itself."""
        return self.path[-1]

    @property
    def name(self) -> str:
        """The path as errors write it, of the first item where a field is repeated."""
        return ".".join(field.name + ("[0]" if field.is_repeated else "") for field in self.path)

    def put(self, request: Any, value: Any) -> None:
        """Make `value` the field's value, or its only item, with the messages around it."""
        container = request
        for field in self.path[:-1]:
            container = getattr(container, field.name)
            if field.is_repeated:
                container = container[0] if len(container) else container.add()
        _write(container, self.field, value)


def _write(container: Any, field: FieldDescriptor, value: Any) -> None:
    if field.is_repeated:
        items = getattr(container, field.name)
        del items[:]
        items.append(value)
    elif field.message_type is not None:
        getattr(container, field.name).CopyFrom(value)
    else:
        setattr(container, field.name, value)


def spots(message: Descriptor, above: tuple[FieldDescriptor, ...] = ()) -> Iterator[Spot]:
    """Yield every field of a request that is no container, and no message within itself twice.

    Raises NotImplementedError for a map, of which no request has one.
    """
    for field in message.fields:
        path = (*above, field)
        if field.message_type is None or field.message_type.full_name in VALUES:
            yield Spot(path)
        elif field.message_type.GetOptions().map_entry:
            raise NotImplementedError(f"{field.full_name} is a map")
        elif all(each.message_type is not field.message_type for each in above):
            yield from spots(field.message_type, path)


@cache
def all_spots(message: Descriptor) -> tuple[Spot, ...]:
    """Return what `spots` yields."""
    return tuple(spots(message))
