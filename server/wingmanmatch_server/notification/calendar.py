"""Meet-ups as files that calendars take."""

from collections.abc import Mapping
from datetime import UTC, timedelta
from email.utils import parseaddr
from urllib.parse import urlencode

import icalendar

from wingmanmatch_server.notification.mailer import Attachment
from wingmanmatch_server.notification.times import moment_of

LENGTH = timedelta(hours=1)  # nobody says how long they will stay
GOOGLE = "https://calendar.google.com/calendar/render"
OUTLOOK = "https://outlook.live.com/calendar/0/deeplink/compose"
# Nobody reads replies, so an invitation that asks for one would be dishonest: the entry is published.
METHODS = {"MEETUP_SCHEDULED": "PUBLISH", "MEETUP_MOVED": "PUBLISH", "MEETUP_CANCELLED": "CANCEL"}


def calendar_file(kind: str, fields: Mapping[str, str], sender: str, summary: str) -> Attachment | None:
    """Return the meet-up that a mail speaks of, None for a mail without one.

    All versions of a meet-up have one UID, and each a higher SEQUENCE than the one before. Equal fields give equal
    bytes. Raises ValueError where a field is not of its form.
    """
    if kind not in METHODS or not fields.get("meetup_id"):
        return None
    domain = parseaddr(sender)[1].rpartition("@")[2]
    start = moment_of(fields["scheduled_time"]).astimezone(UTC)
    event = icalendar.Event()
    event.add("uid", f"{fields['meetup_id']}@{domain}")
    event.add("sequence", int(fields["sequence"] or 0))
    event.add("dtstamp", moment_of(fields["change_time"] or fields["scheduled_time"]).astimezone(UTC))
    event.add("dtstart", start)
    event.add("dtend", start + LENGTH)
    event.add("summary", summary)
    event.add("status", "CANCELLED" if kind == "MEETUP_CANCELLED" else "CONFIRMED")
    if fields["venue_name"]:
        event.add("location", fields["venue_name"])
    calendar = icalendar.Calendar()
    calendar.add("prodid", "-//WingmanMatch//Meet-ups//EN")
    calendar.add("version", "2.0")
    calendar.add("method", METHODS[kind])
    calendar.add_component(event)
    content = calendar.to_ical().decode()
    return Attachment("meetup.ics", f"text/calendar; method={METHODS[kind]}", content)


def calendar_links(kind: str, fields: Mapping[str, str], summary: str) -> list[tuple[str, str]]:
    """Return the name and link of each calendar on the web that takes a new meet-up; none for other mails.

    A link always makes a new entry, so there is none for what has moved. Raises ValueError as `calendar_file` does.
    """
    if kind != "MEETUP_SCHEDULED":
        return []
    start = moment_of(fields["scheduled_time"]).astimezone(UTC)
    times = [f"{moment:%Y%m%dT%H%M%SZ}" for moment in (start, start + LENGTH)]
    google = {"action": "TEMPLATE", "text": summary, "dates": "/".join(times), "location": fields["venue_name"]}
    outlook = {
        "path": "/calendar/action/compose",
        "rru": "addevent",
        "subject": summary,
        "startdt": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "enddt": f"{start + LENGTH:%Y-%m-%dT%H:%M:%SZ}",
        "location": fields["venue_name"],
    }
    return [("Google", f"{GOOGLE}?{urlencode(google)}"), ("Outlook", f"{OUTLOOK}?{urlencode(outlook)}")]
