"""Ways to spoil a request."""

import random
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from support.fuzz import values
from support.fuzz.spots import Spot, all_spots

HUGE = (70_000, 300_000, 1_050_000)  # characters: beyond any field, and beyond any request
DEEPEST = 33  # objects within one another that a parser takes
Mutation = Callable[[Any, random.Random, Message], bytes]


def at_an_edge(request: Any, random_: random.Random, _other: Message) -> bytes:
    """One to three fields at the edge of their types, or beyond what they may be."""
    for _ in range(random_.randrange(1, 4)):
        spot = _spot(request, random_)
        if spot:
            spot.put(request, values.value(spot.field, random_))
    return _bytes(request)


def without_a_field(request: Any, random_: random.Random, _other: Message) -> bytes:
    """A field, wherever it stands, is left out."""
    container = request
    while fields := container.ListFields():
        field, value = random_.choice(fields)
        within = field.message_type is not None and not field.message_type.GetOptions().map_entry
        if not within or random_.random() < 0.5:
            container.ClearField(field.name)
            break
        container = random_.choice(value) if field.is_repeated else value
    return _bytes(request)


def crossed_over(request: Any, random_: random.Random, other: Message) -> bytes:
    """The bytes of another request, of whichever method, before, behind or within."""
    first, second = _bytes(request), other.SerializeToString()
    cut = random_.randrange(len(first) + 1)
    return random_.choice((first + second, second + first, second, first[:cut] + second + first[cut:]))


def with_random_bytes(request: Any, random_: random.Random, _other: Message) -> bytes:
    """Bytes flipped, cut, doubled or put in."""
    data = bytearray(_bytes(request) or random_.randbytes(8))
    for _ in range(random_.randrange(1, 6)):
        place = random_.randrange(len(data)) if data else 0
        kind = random_.randrange(5)
        if kind == 0 and data:
            data[place] ^= 1 << random_.randrange(8)
        elif kind == 1:
            data[place:place] = random_.randbytes(random_.randrange(1, 9))
        elif kind == 2:
            del data[place : place + random_.randrange(1, 9)]
        elif kind == 3:
            data[place:place] = data[place : place + random_.randrange(1, 40)]
        elif data:
            data[place] = random_.randrange(256)
    return bytes(data)


def with_unknown_fields(request: Any, random_: random.Random, _other: Message) -> bytes:
    """Fields that no version has: numbers, bytes, groups."""
    number = random_.choice((90, 1000, 536_870_911))
    parts = (
        _tag(number, 0) + _varint(random_.getrandbits(64)),
        _tag(number, 1) + random_.randbytes(8),
        _tag(number, 2) + _varint(20) + random_.randbytes(20),
        _tag(number, 3) + _tag(number, 4),
        _tag(number, 3) * 110,
        _tag(number, 5) + random_.randbytes(4),
    )
    return _bytes(request) + random_.choice(parts) * random_.choice((1, 1, 100))


def huge(request: Any, random_: random.Random, _other: Message) -> bytes:
    """One text as long as a request may be, or longer."""
    texts = [spot for spot in all_spots(request.DESCRIPTOR) if spot.field.type == spot.field.TYPE_STRING]
    if texts:
        letter = random_.choice(("x", "é", "\0", " ", "0", "("))
        random_.choice(texts).put(request, letter * (random_.choice(HUGE) // len(letter.encode())))
    return _bytes(request)


def with_many_items(request: Any, random_: random.Random, _other: Message) -> bytes:
    """A list as long as it may be, or longer."""
    lists = [field for field, _ in request.ListFields() if field.is_repeated]
    if lists:
        items = getattr(request, random_.choice(lists).name)
        for _ in range(random_.choice((10, 100, 999, 1_001, 5_000))):
            items.append(items[0])
    return _bytes(request)


def deep(request: Any, random_: random.Random, _other: Message) -> bytes:
    """A Struct as deep as parsers take it, or deeper, with whatever below."""
    structs = [spot for spot in all_spots(request.DESCRIPTOR) if _is_struct(spot)]
    if not structs:
        return at_an_edge(request, random_, _other)
    struct = Struct()
    values.fill(struct, random_, random_.randrange(DEEPEST + 5))
    random_.choice(structs).put(request, struct)
    return _bytes(request)


def untouched(request: Any, _random: random.Random, _other: Message) -> bytes:
    """The request as it was."""
    return _bytes(request)


# By how often each is chosen.
WEIGHTS: dict[Mutation, int] = {
    untouched: 15,
    at_an_edge: 45,
    without_a_field: 8,
    crossed_over: 8,
    with_random_bytes: 14,
    with_unknown_fields: 4,
    huge: 1,
    with_many_items: 2,
    deep: 3,
}


def mutated(request: Message, random_: random.Random, other: Message) -> tuple[str, bytes]:
    """Return the name of a mutation, and the bytes it made of a request; `other` is one of another method."""
    (mutation,) = random_.choices(list(WEIGHTS), WEIGHTS.values())
    return mutation.__name__, mutation(request, random_, other)


def _is_struct(spot: Spot) -> bool:
    return spot.field.message_type is not None and spot.field.message_type.name == "Struct"


def _spot(request: Any, random_: random.Random) -> Spot | None:
    found = all_spots(request.DESCRIPTOR)
    return random_.choice(found) if found else None


def _bytes(request: Any) -> bytes:
    data: bytes = request.SerializeToString()
    return data


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)
