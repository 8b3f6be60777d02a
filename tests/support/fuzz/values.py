"""Values at the edges of each type, and beyond what its field expects."""

import random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

INT32, INT64 = 2**31, 2**63
INTEGERS = (0, 1, -1, 2, 100, 999, 65_535, INT32 - 1, -INT32, INT64 - 1, -INT64, 10**12, -(10**12))
UNSIGNED = (0, 1, 2, 255, 2 * INT32 - 1, 2 * INT64 - 1)
DOUBLES = (
    *(0.0, -0.0, 5e-324, -5e-324, 1e-310, 1e-9, 0.1, 25.0, 90.0, -90.0, 180.0, -180.0, 500.0, 500.0000001),
    *(1e15, 1e16, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
)
NANOS = (0, 0, 1, 999, 999_999_999, -1, -5, 10**9, 2 * 10**9, INT32 - 1, -INT32)
SECONDS = (
    *(0, 1, -1, 59, 60, 3600, 86_400, 315_576_000_000, -315_576_000_000, 315_576_000_001, 2**60, -(2**60)),
    *(INT64 - 1, -INT64, INT32, 946_684_799, 946_684_800, 7_258_118_399, 7_258_118_400),
    *(253_402_300_799, 253_402_300_800, -62_135_596_800, -62_135_596_801),
)
LONGEST = 2_000  # characters of most long texts
TEXTS = (
    *("", " ", "\0", "a\0b", "\t\n\r", "\x7f\x80\x9f", "\u200b\u200d\ufeff", "\u2028\u2029", "\u202egnp.exe"),
    *("e\u0301" * 20, "\U0001f3f3\ufe0f\u200d\U0001f308", "\U0010ffff\U000e0001", "\ufdfa" * 50, "\u0130\u0131\u017f"),
    *("\U0001d518\U0001d52b", "Z\u0351\u036b\u0343a\u0334l\u0337g\u0328" * 5),
    *("NaN", "Infinity", "null", "true", "{}", "[]", "\\", '"', "'", "%s%n%x", "{0}{self}", "${jndi:x}", "$1", ":name"),
    *(
        "' OR 1=1 --",
        "\\x00",
        "\\u0000",
        "\\ud800",
        "; DROP TABLE match_pool",
        "<script>alert(1)</script>",
        "../../etc",
    ),
    *(
        "0",
        "-1",
        "1e400",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "AAAA====",
        "=",
    ),
    *("a@b", "a..b@x.example", ".a@x.example", '"a b"@x.example', "a@bücher.example", "=?utf-8?q?=40?=@x.example"),
    *("Mars/Phobos", "Factory", "localtime", "Pacific/Kiritimati", "America/Los_Angeles", "Etc/GMT-14", "UTC+25"),
    *("en-", "x-klingon", "zh-Hant-TW", "de_DE", "https://x.example/\r\nSet-Cookie: a=b", "http://[::1", "https://"),
)


def text(random_: random.Random) -> str:
    """Return a text that something may stumble over."""
    kind = random_.randrange(10)
    if kind < 7:
        return random_.choice(TEXTS)
    if kind == 7:
        return random_.choice(("x", "é", "\U0001f4a5", "\0", " ", "\u0301", "(", "%")) * random_.randrange(1, LONGEST)
    if kind == 8:
        points = [random_.randrange(0x110000) for _ in range(random_.randrange(1, 40))]
        return "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)
    return random_.choice(TEXTS) + random_.choice(TEXTS)


def value(field: FieldDescriptor, random_: random.Random) -> Any:
    """Return a value of a field's type, or of one item of it, which may break every rule but the wire's."""
    if field.message_type is not None:
        return message(field.message_type.full_name, GetMessageClass(field.message_type)(), random_)
    if field.cpp_type in _SCALARS:
        return random_.choice(_SCALARS[field.cpp_type])
    if field.cpp_type == field.CPPTYPE_BOOL:
        return random_.random() < 0.5
    if field.type == field.TYPE_BYTES:
        return random_.randbytes(random_.choice((0, 1, 16, 64, 1000)))
    return text(random_)


_SCALARS: dict[int, tuple[Any, ...]] = {
    FieldDescriptor.CPPTYPE_INT32: tuple(each for each in INTEGERS if -INT32 <= each < INT32),
    FieldDescriptor.CPPTYPE_INT64: INTEGERS,
    FieldDescriptor.CPPTYPE_UINT32: tuple(each for each in UNSIGNED if each < 2 * INT32),
    FieldDescriptor.CPPTYPE_UINT64: UNSIGNED,
    FieldDescriptor.CPPTYPE_ENUM: (0, 1, 2, 3, 4, 7, 12, 99, -1, INT32 - 1, -INT32),
    FieldDescriptor.CPPTYPE_DOUBLE: DOUBLES,
    FieldDescriptor.CPPTYPE_FLOAT: DOUBLES,
}


def message(kind: str, empty: Any, random_: random.Random) -> Message:
    """Return a message of a kind, made of the edges of its parts; of an unknown kind the empty one."""
    if kind in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
        empty.seconds, empty.nanos = random_.choice(SECONDS), random_.choice(NANOS)
    elif kind == "google.type.LatLng":
        empty.latitude, empty.longitude = random_.choice(DOUBLES), random_.choice(DOUBLES)
    elif kind == "google.protobuf.Struct":
        fill(empty, random_, random_.choice((0, 1, 2, 3, 5, 31, 32, 33, 40)))
    filled: Message = empty
    return filled


def fill(struct: Any, random_: random.Random, depth: int) -> None:
    """Fill a Struct with values of every kind, and one that is nested so deep."""
    for _ in range(random_.randrange(4)):
        _write(struct.fields[text(random_)], random_)
    inner = struct
    for _ in range(depth):
        inner = inner.fields[random_.choice("ab")].struct_value
    if random_.random() < 0.3:
        values = inner.fields["list"].list_value
        for _ in range(random_.choice((1, 3, 45, 50))):
            values = values.values.add().list_value


def _write(value: Any, random_: random.Random) -> None:
    kind = random_.randrange(6)
    if kind == 0:
        value.number_value = random_.choice(DOUBLES)
    elif kind == 1:
        value.string_value = text(random_)
    elif kind == 2:
        value.bool_value = True
    elif kind == 3:
        value.null_value = random_.choice((0, 0, 5))
    elif kind == 4:
        value.struct_value.SetInParent()
