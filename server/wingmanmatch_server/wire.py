"""Times, enum values and ids as protobuf writes them; for services."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_SECONDS = 86400

V = TypeVar("V", bound=int)


def canonical_id(identifier: str) -> str:
    """Return the one spelling of a UUID, as the database writes it. Raises ValueError for what is none."""
    return str(uuid.UUID(identifier))


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a moment, which must know its offset, as a Timestamp; None stays None."""
    if moment is None:
        return None
    # A third of the time that Timestamp.FromDatetime takes, and answers are full of times.
    elapsed = moment - _EPOCH
    return Timestamp(seconds=elapsed.days * _DAY_SECONDS + elapsed.seconds, nanos=elapsed.microseconds * 1000)


def duration(seconds: float | None) -> Duration | None:
    """Return seconds as a Duration, to the nanosecond; None stays None."""
    if seconds is None:
        return None
    written = Duration()
    written.FromNanoseconds(round(seconds * 1e9))
    return written


def short_names(values: Iterable[tuple[str, V]], prefix: str) -> dict[str, V]:
    """Return an enum's values by their names without the prefix, as the database has them. `values` is its items()."""
    return {name.removeprefix(prefix): value for name, value in values}
