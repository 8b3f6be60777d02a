"""Local times in every zone of the pinned tz data, against parsers that are not ours."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from importlib import resources

import pytest
from dateutil import tz

from wingmanmatch_server.local_times import local_time, offset_name, time_zones, zone_of
from wingmanmatch_server.notification.times import PATTERNS, readable_time

FIRST_DAY = datetime(2027, 1, 1, tzinfo=UTC)
GERMAN = {"WEZ": "WET", "WESZ": "WEST", "MEZ": "CET", "MESZ": "CEST", "OEZ": "EET", "OESZ": "EEST"}
OFFSET = re.compile(r"UTC(?:([+-])(\d+)(?::(\d\d))?)?")


def parsed(zone: str) -> tz.tzfile:
    """Return a zone as dateutil reads the file."""
    with (resources.files("tzdata") / "zoneinfo").joinpath(*zone.split("/")).open("rb") as file:
        return tz.tzfile(file)


def moments(zone: tz.tzfile) -> list[datetime]:
    """Return the second before and the second of each transition in the year, and the year's first day."""
    found = [FIRST_DAY]
    for day in range(365):
        early, late = FIRST_DAY + timedelta(days=day), FIRST_DAY + timedelta(days=day + 1)
        if early.astimezone(zone).utcoffset() == late.astimezone(zone).utcoffset():
            continue
        while late - early > timedelta(seconds=1):
            middle = early + (late - early) // 2
            middle = middle.replace(microsecond=0)
            same = middle.astimezone(zone).utcoffset() == early.astimezone(zone).utcoffset()
            early, late = (middle, late) if same else (early, middle)
        found += [early, late]
    return found


def told_offset(label: str, local: datetime) -> timedelta | None:
    """Return the offset that a label names: in figures, or by dateutil's name of the one in force."""
    if figures := OFFSET.fullmatch(label):
        sign, hours, minutes = figures.groups("0")
        return timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
    return local.utcoffset() if GERMAN.get(label, label) == local.tzname() else None


@pytest.mark.parametrize("language", PATTERNS)
def test_label_is_the_offset_in_force(language: str) -> None:
    """In every zone, before and after each transition of a year, the clock is right and so is what it is called."""
    wrong = []
    for name in sorted(time_zones()):
        zone = parsed(name)
        for moment in moments(zone):
            local = moment.astimezone(zone)
            text = readable_time(moment.isoformat(), name, language)
            clock, label = text.split(", ")[-1].split(" ", 1)
            if (clock, told_offset(label, local)) != (f"{local:%H:%M}", local.utcoffset()):
                wrong.append((name, moment, text))
    assert wrong == []


@pytest.mark.parametrize(
    ("time", "zone", "language", "expected"),
    [
        ("2027-07-05T18:00:00Z", "Europe/Dublin", "en", "Mon 5 Jul 2027, 19:00 UTC+1"),
        ("2027-01-05T18:00:00Z", "Europe/Dublin", "en", "Tue 5 Jan 2027, 18:00 GMT"),
        ("2026-12-05T02:00:00Z", "America/Vancouver", "en", "Fri 4 Dec 2026, 19:00 UTC-7"),
        ("2026-12-05T02:00:00Z", "America/Vancouver", "de", "Fr., 4. Dez. 2026, 19:00 MST"),
        ("2026-07-01T10:00:00Z", "Asia/Kolkata", "en", "Wed 1 Jul 2026, 15:30 UTC+5:30"),
        ("2026-07-01T10:00:00Z", "America/St_Johns", "de", "Mi., 1. Juli 2026, 07:30 UTC-2:30"),
    ],
)
def test_names_that_were_wrong(time: str, zone: str, language: str, expected: str) -> None:
    """Where summer time is the standard, and where the rules changed lately."""
    assert readable_time(time, zone, language) == expected


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_ends_of_the_calendar(moment: datetime) -> None:
    """The first and the last moment can be written in every zone, in UTC where the zone has no such day."""
    for name in time_zones():
        local = local_time(moment, zone_of(name))
        assert (local, local.year) == (moment, moment.year)
        assert readable_time(moment.isoformat(), name, "en")


@pytest.mark.parametrize("name", ["Factory", "localtime", "posixrules", "Europe", "", "posix/UTC", "../zones", "/etc"])
def test_names_that_are_no_zone(name: str) -> None:
    """What tz databases hold beside zones is none, and reads as UTC."""
    assert name not in time_zones()
    assert zone_of(name) is UTC


@pytest.mark.parametrize(
    ("minutes", "name"), [(0, "UTC"), (60, "UTC+1"), (345, "UTC+5:45"), (-210, "UTC-3:30"), (-720, "UTC-12")]
)
def test_offset_name(minutes: int, name: str) -> None:
    """Whole hours have no minutes."""
    zone = tz.tzoffset(None, minutes * 60)
    assert offset_name(FIRST_DAY.astimezone(zone)) == name


@pytest.mark.skipif(not shutil.which("node"), reason="Node.js is not installed")
def test_clocks_are_those_of_intl() -> None:
    """The zones that ICU knows as we do show the same clock in the middle of January and of July 2025."""
    times = ["2025-01-15T12:00:00Z", "2025-07-15T12:00:00Z"]
    script = """
      const [zones, times] = JSON.parse(require("fs").readFileSync(0));
      const clock = (zone, time) => new Intl.DateTimeFormat("sv-SE", {
        timeZone: zone, dateStyle: "short", timeStyle: "short" }).format(new Date(time));
      const known = zones.filter(zone => { try { clock(zone, times[0]); return true; } catch { return false; } });
      console.log(JSON.stringify(Object.fromEntries(known.map(zone => [zone, times.map(time => clock(zone, time))]))));
    """
    asked = json.dumps([sorted(time_zones()), times])
    shown = json.loads(
        subprocess.run(["node", "-e", script], input=asked, capture_output=True, check=True, text=True).stdout
    )
    assert len(shown) > 400
    ours = {
        zone: [f"{datetime.fromisoformat(time).astimezone(zone_of(zone)):%Y-%m-%d %H:%M}" for time in times]
        for zone in shown
    }
    assert ours == shown
