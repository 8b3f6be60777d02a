"""Times and enum values as protobuf writes them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch_server.wire import short_names, timestamp

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# A day from either end, so that no offset leads beyond it.
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=OFFSETS)  # noqa: DTZ001 - see timezones


@given(MOMENTS)
def test_timestamp_is_protobufs_own(moment: datetime) -> None:
    """Before 1970 and after, with any offset, it is what FromDatetime makes of the moment."""
    expected = Timestamp()
    expected.FromDatetime(moment)
    assert timestamp(moment) == expected


def test_timestamp_of_nothing() -> None:
    """No moment stays none, and one without an offset is refused."""
    assert timestamp(None) is None
    with pytest.raises(TypeError):
        timestamp(datetime(2026, 11, 28))  # noqa: DTZ001 - that is the case
    assert timestamp(datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)) == Timestamp(seconds=-1, nanos=999_999_000)


def test_short_names_are_the_databases() -> None:
    """Every value is found by its name without the prefix."""
    assert short_names(matching_pb2.LocationPrivacy.items(), "LOCATION_PRIVACY_") == {
        "UNSPECIFIED": matching_pb2.LOCATION_PRIVACY_UNSPECIFIED,
        "APPROXIMATE": matching_pb2.LOCATION_PRIVACY_APPROXIMATE,
        "CITY_ONLY": matching_pb2.LOCATION_PRIVACY_CITY_ONLY,
    }
