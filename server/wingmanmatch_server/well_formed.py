"""Checks the fields of a message by their types, wherever in the message they stand.

Protobuf's wire format can carry values that its types do not allow: times outside the calendar, durations whose parts
differ in sign, numbers of JSON that JSON cannot write, text with a NUL, which PostgreSQL cannot store. A type is
checked once, here, so that no field is forgotten by its proto.

    string              no NUL, unless the field's option `opaque` says that any text will do
    double, float       finite
    enum                a number that the enum defines
    Timestamp           the years 0001 to 9999, nanos from 0 to 999,999,999
    Duration            at most 10,000 years, nanos below a second, one sign
    LatLng              latitude from -90 to 90, longitude from -180 to 180
    Struct              finite numbers, no NUL, every value of a kind, at most MAX_DEPTH messages within one another
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from wingmanmatch.options.v1 import options_pb2
from wingmanmatch_server.errors import FieldViolation

# Parsers stop at a hundred messages within one another, and ExportProfileResponse holds what a request brought below
# four: itself, its record, and the entry and the value that name the field. A Struct below a Struct counts as three
# (the entry, the value, itself), a list as two, and so a Struct of objects alone may be 32 deep.
MAX_DEPTH = 96
MAX_VIOLATIONS = 20
LONGEST_KEY = 60  # characters of a map's key in a field's path
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799
LONGEST_DURATION = 315_576_000_000  # seconds
MAX_LATITUDE, MAX_LONGITUDE = 90, 180  # degrees
SECOND = 10**9  # nanoseconds
NUL = "\0"

# Returns what is wrong with a value. The field of each violation is relative to the value: "", ".field" or "[place]".
Check = Callable[[Any], Sequence[FieldViolation]]
FINE: Sequence[FieldViolation] = ()


def type_check(message: Descriptor) -> Check | None:
    """Return what finds the fields of a message that are not of their type; None for a message that has no such type.

    It returns at most MAX_VIOLATIONS, and never raises.
    """
    check = _message_check(message, {})
    if check is None:
        return None

    def check_message(value: Any) -> Sequence[FieldViolation]:
        found = check(value)
        return found and [FieldViolation(each.field.removeprefix("."), each.rule, each.description) for each in found]

    return check_message


def _message_check(message: Descriptor, known: dict[str, Check | None]) -> Check | None:
    if message.full_name in WELL_KNOWN:
        return WELL_KNOWN[message.full_name]
    if message.full_name not in known:
        texts = [field.name for field in message.fields if _is_single_text(field)]
        others: dict[int, tuple[str, Check]] = {}
        # Known before its fields are, for a message may hold itself.
        known[message.full_name] = _check_of_fields(texts, others)
        for field in message.fields:
            if field.name not in texts and (check := _field_check(field, known)):
                others[field.number] = (f".{field.name}", check)
        if not others:
            known[message.full_name] = _check_of_texts(texts)
    return known[message.full_name]


def _is_single_text(field: FieldDescriptor) -> bool:
    return field.type == field.TYPE_STRING and not field.is_repeated and not _is_opaque(field)


def _is_opaque(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().Extensions[options_pb2.opaque])


def _check_of_fields(texts: Sequence[str], others: Mapping[int, tuple[str, Check]]) -> Check:
    check_texts = _check_of_texts(texts)

    def check_fields(message: Any) -> Sequence[FieldViolation]:
        found = [*check_texts(message)] if check_texts else []
        for field, value in message.ListFields():
            named = others.get(field.number)
            if named is not None and (bad := named[1](value)):
                found += _below(named[0], bad)
        return found[:MAX_VIOLATIONS]

    return check_fields


def _check_of_texts(names: Sequence[str]) -> Check | None:
    if not names:
        return None
    read = attrgetter(*names)

    def check_texts(message: Any) -> Sequence[FieldViolation]:
        # One search for all of them, since most requests are little else than strings.
        if NUL not in "".join(read(message)):
            return FINE
        return [each for name in names if NUL in getattr(message, name) for each in _below(f".{name}", HAS_NUL)]

    return check_texts


def _field_check(field: FieldDescriptor, known: dict[str, Check | None]) -> Check | None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        return _check_of_map(_single_check(entry["key"], known), _single_check(entry["value"], known))
    if _is_opaque(field):
        return None
    check = _single_check(field, known)
    return _check_of_items(check) if check and field.is_repeated else check


def _single_check(field: FieldDescriptor, known: dict[str, Check | None]) -> Check | None:
    if field.message_type is not None:
        return _message_check(field.message_type, known)
    if field.enum_type is not None:
        return _check_of_enum(field.enum_type)
    return BY_TYPE.get(field.type)


def _check_of_items(check: Check) -> Check:
    def check_items(values: Iterable[Any]) -> Sequence[FieldViolation]:
        found: list[FieldViolation] = []
        for place, value in enumerate(values):
            if bad := check(value):
                found += _below(f"[{place}]", bad)
                if len(found) >= MAX_VIOLATIONS:
                    break
        return found

    return check_items


def _check_of_map(check_key: Check | None, check_value: Check | None) -> Check | None:
    if check_key is None and check_value is None:
        return None

    def check_map(values: Mapping[Any, Any]) -> Sequence[FieldViolation]:
        found: list[FieldViolation] = []
        for key, value in values.items():
            bad = [*(check_key(key) if check_key else FINE), *(check_value(value) if check_value else FINE)]
            if bad:
                found += _below(_subscript(key), bad)
                if len(found) >= MAX_VIOLATIONS:
                    break
        return found

    return check_map


def _check_of_enum(enum: EnumDescriptor) -> Check:
    defined = frozenset(enum.values_by_number)
    violation = [FieldViolation("", "enum.defined_only", "must be a defined value of the enum")]
    return lambda number: FINE if number in defined else violation


def _below(path: str, violations: Sequence[FieldViolation]) -> list[FieldViolation]:
    return [FieldViolation(path + each.field, each.rule, each.description) for each in violations]


def _subscript(key: object) -> str:
    if not isinstance(key, str):
        return f"[{key}]"
    return f"[{json.dumps(key if len(key) <= LONGEST_KEY else key[:LONGEST_KEY] + '…', ensure_ascii=False)}]"


def _violation(rule: str, description: str) -> Sequence[FieldViolation]:
    return (FieldViolation("", rule, description),)


HAS_NUL = _violation("string.nul", "must not contain a NUL character")
NOT_FINITE = _violation("double.finite", "must be a finite number")
NO_TIME = _violation("timestamp.valid", "must be in the years 0001 to 9999, its nanos from 0 to 999,999,999")
NO_DURATION = _violation(
    "duration.valid",
    "must be at most 315,576,000,000 seconds either way, its nanos below a second and of the same sign as its seconds",
)
NO_LATITUDE = _violation("latlng.latitude", "latitude must be between -90 and 90")
NO_LONGITUDE = _violation("latlng.longitude", "longitude must be between -180 and 180")
NO_KIND = _violation("struct.kind", "must have a value: null, a number, a string, a boolean, an object or a list")
TOO_DEEP = _violation(
    "struct.max_depth", f"is nested too deep: each object counts 3, each list 2, together at most {MAX_DEPTH}"
)


def _check_string(text: str) -> Sequence[FieldViolation]:
    return HAS_NUL if NUL in text else FINE


def _check_number(number: float) -> Sequence[FieldViolation]:
    return FINE if math.isfinite(number) else NOT_FINITE


def _check_timestamp(time: Any) -> Sequence[FieldViolation]:
    valid = FIRST_SECOND <= time.seconds <= LAST_SECOND and 0 <= time.nanos < SECOND
    return FINE if valid else NO_TIME


def _check_duration(duration: Any) -> Sequence[FieldViolation]:
    seconds, nanos = duration.seconds, duration.nanos
    valid = abs(seconds) <= LONGEST_DURATION and abs(nanos) < SECOND and seconds * nanos >= 0
    return FINE if valid else NO_DURATION


def _check_place(place: Any) -> Sequence[FieldViolation]:
    return (
        *(FINE if abs(place.latitude) <= MAX_LATITUDE else NO_LATITUDE),
        *(FINE if abs(place.longitude) <= MAX_LONGITUDE else NO_LONGITUDE),
    )


def check_struct(struct: Any) -> Sequence[FieldViolation]:
    """Return what is wrong with a `google.protobuf.Struct`, at most MAX_VIOLATIONS."""
    return TOO_DEEP if _is_deep(struct, MAX_DEPTH) else _check_object(struct)


def _check_any_value(value: Any) -> Sequence[FieldViolation]:
    return TOO_DEEP if _is_deep_value(value, MAX_DEPTH) else _check_value(value)


def _check_any_list(values: Any) -> Sequence[FieldViolation]:
    return TOO_DEEP if _is_deep_list(values, MAX_DEPTH) else _check_list(values)


def _is_deep(struct: Any, most: int) -> bool:
    """Return whether more than `most` messages are within one another, the Struct included."""
    return most < 1 or any(_is_deep_value(value, most - 2) for value in struct.fields.values())


def _is_deep_list(values: Any, most: int) -> bool:
    return most < 1 or any(_is_deep_value(value, most - 1) for value in values.values)


def _is_deep_value(value: Any, most: int) -> bool:
    if most < 1:
        return True
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _is_deep(value.struct_value, most - 1)
    return kind == "list_value" and _is_deep_list(value.list_value, most - 1)


def _check_value(value: Any) -> Sequence[FieldViolation]:
    kind = value.WhichOneof("kind")
    if kind is None:
        return NO_KIND
    return _KINDS[kind](getattr(value, kind))


def _check_object(struct: Any) -> Sequence[FieldViolation]:
    found = _check_entries(struct.fields)
    return found and _below(".fields", found)


def _check_list(values: Any) -> Sequence[FieldViolation]:
    found = _check_values(values.values)
    return found and _below(".values", found)


_check_entries: Any = _check_of_map(_check_string, _check_value)
_check_values = _check_of_items(_check_value)
_KINDS: Mapping[str, Check] = {
    "null_value": lambda number: FINE if number == 0 else NO_KIND,
    "number_value": _check_number,
    "string_value": _check_string,
    "bool_value": lambda _: FINE,
    "struct_value": lambda struct: _nested("struct_value", _check_object(struct)),
    "list_value": lambda values: _nested("list_value", _check_list(values)),
}


def _nested(kind: str, found: Sequence[FieldViolation]) -> Sequence[FieldViolation]:
    return found and _below(f".{kind}", found)


BY_TYPE: Mapping[int, Check] = {
    FieldDescriptor.TYPE_STRING: _check_string,
    FieldDescriptor.TYPE_DOUBLE: _check_number,
    FieldDescriptor.TYPE_FLOAT: _check_number,
}
WELL_KNOWN: Mapping[str, Check] = {
    "google.protobuf.Timestamp": _check_timestamp,
    "google.protobuf.Duration": _check_duration,
    "google.protobuf.Struct": check_struct,
    "google.protobuf.Value": _check_any_value,
    "google.protobuf.ListValue": _check_any_list,
    "google.type.LatLng": _check_place,
}
