"""Times as emails write them: in the recipient's time zone and language."""

from datetime import datetime, timedelta

from babel.dates import format_datetime

from wingmanmatch_server.local_times import local_time, offset_name, zone_of

# Names that no two time zones use for different offsets, by how many hours clocks are ahead of UTC.
NAMES = {
    0: "UTC GMT WET",
    1: "BST CET WEST",
    2: "CEST EET SAST",
    3: "EEST MSK",
    8: "HKT AWST",
    9: "JST KST",
    10: "AEST",
    11: "AEDT",
    12: "NZST",
    13: "NZDT",
    -4: "EDT",
    -5: "EST",
    -6: "MDT",
    -7: "MST PDT",
    -8: "AKDT",
    -9: "AKST",
    -10: "HST",
}
OFFSETS = {name: timedelta(hours=hours) for hours, names in NAMES.items() for name in names.split()}
# The names of other languages by those of the tz data.
GERMAN = {"WEZ": "WET", "WESZ": "WEST", "MEZ": "CET", "MESZ": "CEST", "OEZ": "EET", "OESZ": "EEST"}
PATTERNS = {"en": "EEE d MMM y, HH:mm", "de": "EEE, d. MMM y, HH:mm"}


def moment_of(time: str) -> datetime:
    """Return an ISO 8601 time. Raises ValueError for one without an offset, which names no moment."""
    moment = datetime.fromisoformat(time)
    if moment.tzinfo is None:
        raise ValueError("a time without an offset names no moment")
    return moment


def readable_time(time: str, time_zone: str, language: str) -> str:
    """Return an ISO 8601 time as 'Tue 24 Nov 2026, 15:00 CET'; an unknown zone reads as UTC. Raises ValueError.

    A zone is named where people have a name for the offset in force, and is otherwise UTC+5:30 and the like.
    """
    local = local_time(moment_of(time), zone_of(time_zone))
    text = format_datetime(local, PATTERNS[language], locale=language)
    return f"{text} {_zone_name(local, language)}"


def _zone_name(local: datetime, language: str) -> str:
    """Return the zone's name in a language if it is that of the offset in force, and else the offset.

    CLDR's names follow the calendar of summer time, and are wrong where summer time is the standard (Dublin) or where
    the rules have changed since (Vancouver): one is taken only where the tz data, which have the offset, agree.
    """
    translated = format_datetime(local, "zzz", locale=language)
    name = GERMAN.get(translated, translated)
    if name.isalpha():
        return translated if name == local.tzname() else offset_name(local)
    name = local.tzname() or ""
    return name if OFFSETS.get(name) == local.utcoffset() else offset_name(local)
