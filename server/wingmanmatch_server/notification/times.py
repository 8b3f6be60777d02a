"""Moments as mails tell them: in the recipient's zone and language."""

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel.dates import format_datetime

PATTERNS = {"en": "EEE d MMM y, HH:mm", "de": "EEE, d. MMM y, HH:mm"}


def moment_of(time: str) -> datetime:
    """Return an ISO 8601 time. Raises ValueError for one without an offset, which names no moment."""
    moment = datetime.fromisoformat(time)
    if moment.tzinfo is None:
        raise ValueError("a time without an offset names no moment")
    return moment


def readable_time(time: str, time_zone: str, language: str) -> str:
    """Return an ISO 8601 time as 'Tue 24 Nov 2026, 15:00 CET'; an unknown zone reads as UTC. Raises ValueError."""
    local = moment_of(time).astimezone(_zone(time_zone))
    text = format_datetime(local, PATTERNS[language], locale=language)
    return f"{text} {_zone_name(local, language)}"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _zone_name(local: datetime, language: str) -> str:
    translated = format_datetime(local, "zzz", locale=language)
    # Many zones have no letters of their own, or none in this language, and call themselves "+05".
    names = (name for name in (translated, f"{local:%Z}") if name.isalpha())
    return next(names, f"UTC{local:%z}")
