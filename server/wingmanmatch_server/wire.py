"""Time as protobuf writes it; for services."""

from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_SECONDS = 86400


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
