"""Local times: the one place that reads time zones. They come from the pinned tzdata package, never from the system."""

from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

# In the list of zones, though it is none: a placeholder for systems whose zone was never set.
PLACEHOLDERS = frozenset({"Factory"})


@cache
def time_zones() -> frozenset[str]:
    """Return the names of the IANA time zones that there are."""
    names = (resources.files("tzdata") / "zones").read_text("ascii").split()
    return frozenset(names) - PLACEHOLDERS


@cache
def zone_of(name: str) -> tzinfo:
    """Return a time zone by its IANA name; UTC for a name that is none."""
    if name not in time_zones():
        return UTC
    with (resources.files("tzdata") / "zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def local_time(moment: datetime, zone: tzinfo) -> datetime:
    """Return a moment, which must know its offset, as clocks of the zone show it.

    Where the calendar has no such day, just before year 1 and just after 9999, it is in UTC.
    """
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment.astimezone(UTC)


def offset_name(local: datetime) -> str:
    """Return how far a local time is ahead of UTC, such as UTC, UTC+1 and UTC-3:30; seconds are left out."""
    offset = local.utcoffset() or timedelta()
    minutes = abs(offset) // timedelta(minutes=1)
    if not minutes:
        return "UTC"
    hours, rest = divmod(minutes, 60)
    return f"UTC{'-' if offset < timedelta() else '+'}{hours}" + (f":{rest:02}" if rest else "")
