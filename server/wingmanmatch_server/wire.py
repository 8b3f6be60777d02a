"""Time as protobuf writes it; for services."""

from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a moment, which must know its offset, as a Timestamp; None stays None."""
    if moment is None:
        return None
    written = Timestamp()
    written.FromDatetime(moment)
    return written


def duration(seconds: float | None) -> Duration | None:
    """Return seconds as a Duration, to the nanosecond; None stays None."""
    if seconds is None:
        return None
    written = Duration()
    written.FromNanoseconds(round(seconds * 1e9))
    return written
