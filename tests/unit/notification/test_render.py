"""What becomes of a payload on its way into a mail."""

import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import icalendar
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wingmanmatch_server.notification.render import (
    Mail,
    MissingField,
    Recipient,
    Renderer,
    UnknownKind,
    create_environment,
    language_of,
    one_line,
    quoted,
)
from wingmanmatch_server.notification.times import readable_time

RECIPIENT = Recipient("7a1c3f8e-2b4d-4e6f-8a9b-0c1d2e3f4a5b", "Ann", "en")
EVIL_NAME = "Eve\r\nBcc: all@example.org\u2028<script>alert(1)</script>\"'\u202egnp.exe"


@cache
def renderer(app_url: str | None) -> Renderer:
    """Return a renderer of this package's own templates."""
    return Renderer(create_environment(), sender="WingmanMatch <hello@notify.example.org>", app_url=app_url)


def render(kind: str, payload: Mapping[str, Any], app_url: str | None = "https://app.example.org") -> Mail:
    """Render with this package's own templates."""
    return renderer(app_url).render("6f0c", kind, RECIPIENT, payload, "a1b2")


class Tags(HTMLParser):
    """Collects the tags and the links of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.links: list[str | None] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of one tag."""
        self.names.append(tag)
        self.links += [value for name, value in attrs if name == "href"]


def test_name_cannot_break_the_subject() -> None:
    """A name with line breaks becomes part of one line, without control characters or turned text."""
    subject = render("MATCH_DECLINE", {"decliner_name": EVIL_NAME}).subject
    assert subject.startswith("Eve Bcc: all@example[.]org <script>")
    assert subject.isprintable()


@pytest.mark.parametrize("field", ["inviter_name", "venue_suggestion", "message"])
def test_html_in_a_field_stays_text(field: str) -> None:
    """Whatever a person writes, the page has the tags of the templates and no others."""
    payload = {"inviter_name": "Jo", "venue_suggestion": "Café", "message": "Hi"}
    harmless = Tags(render("MATCH_INVITATION", payload).html)
    hostile = Tags(render("MATCH_INVITATION", payload | {field: EVIL_NAME + "<a href='//evil'><img src=x>"}).html)
    assert hostile.names == harmless.names
    assert hostile.links == harmless.links


def test_message_keeps_its_lines_marked_as_quoted() -> None:
    """Each line of a message carries the mark in the text part, so none can pass for the mail's own words."""
    message = "Hi!\n\n--\nWingmanMatch: send us your password"
    text = render("MATCH_INVITATION", {"inviter_name": "Jo", "message": message}).text
    assert "> Hi!\n>\n> --\n> WingmanMatch: send us your password\n" in text


def test_template_syntax_in_a_field_is_not_evaluated() -> None:
    """A payload is data: braces come out as they went in."""
    assert render("MATCH_DECLINE", {"decliner_name": "{{ 7 * 7 }}"}).subject.startswith("{{ 7 * 7 }}")


def test_missing_field_is_an_error() -> None:
    """A mail is never sent with a hole where a name should be."""
    with pytest.raises(MissingField, match="decliner_name"):
        render("MATCH_DECLINE", {"decliner_name": ""})


def test_unknown_kind_is_an_error() -> None:
    """A kind without templates cannot be rendered, not even one that names a path."""
    with pytest.raises(UnknownKind):
        render("../LAYOUT", {})


def test_without_an_app_there_are_no_links() -> None:
    """Where no address for the buttons is known, mails say what to do and link to nothing."""
    mail = render("MATCH_INVITATION", {"inviter_name": "Jo"}, app_url=None)
    assert Tags(mail.html).links == []
    assert "Open WingmanMatch to answer." in mail.text


@pytest.mark.parametrize(("language", "word"), [("en", "profile"), ("de", "Profil")])
def test_nobody_is_said_to_have_a_profile_who_has_none(language: str, word: str) -> None:
    """The reason for a mail is told, and is true of people whom a back end names by their address alone as well."""
    for user_id in (RECIPIENT.user_id, None):
        recipient = Recipient(user_id, "Ann", language)
        mail = renderer(None).render("6f0c", "MATCH_DECLINE", recipient, {"decliner_name": "Jo"}, None)
        reason = mail.text.rpartition("WingmanMatch\n")[2]
        assert reason.strip()
        assert (word in reason) is (user_id is not None)


@pytest.mark.parametrize(
    ("time", "zone", "language", "expected"),
    [
        ("2026-11-24T14:00:00Z", "Europe/Berlin", "en", "Tue 24 Nov 2026, 15:00 CET"),
        ("2026-11-24T14:00:00Z", "Europe/Berlin", "de", "Di., 24. Nov. 2026, 15:00 MEZ"),
        ("2026-07-01T23:30:00+00:00", "Europe/Berlin", "en", "Thu 2 Jul 2026, 01:30 CEST"),
        ("2026-07-01T23:30:00+00:00", "Europe/Berlin", "de", "Do., 2. Juli 2026, 01:30 MESZ"),
        ("2026-11-24T20:00:00Z", "America/New_York", "de", "Di., 24. Nov. 2026, 15:00 EST"),
        ("2026-07-01T12:00:00+02:00", "Asia/Kathmandu", "en", "Wed 1 Jul 2026, 15:45 UTC+5:45"),
        ("2026-07-01T12:00:00Z", "Not/A_Zone", "en", "Wed 1 Jul 2026, 12:00 UTC"),
        ("2026-07-01T12:00:00Z", "../../etc/passwd", "en", "Wed 1 Jul 2026, 12:00 UTC"),
        # The hour that Berlin has twice, and the first minute after the one it has not.
        ("2026-10-25T00:30:00Z", "Europe/Berlin", "en", "Sun 25 Oct 2026, 02:30 CEST"),
        ("2026-10-25T01:30:00Z", "Europe/Berlin", "en", "Sun 25 Oct 2026, 02:30 CET"),
        ("2026-03-29T01:00:00Z", "Europe/Berlin", "en", "Sun 29 Mar 2026, 03:00 CEST"),
    ],
)
def test_time_is_the_recipients(time: str, zone: str, language: str, expected: str) -> None:
    """Times are told in the recipient's zone and language, and the zone is named."""
    assert readable_time(time, zone, language) == expected


@pytest.mark.parametrize("time", ["tomorrow at three", "2026-07-01T12:00:00"])
def test_time_without_a_moment_is_an_error(time: str) -> None:
    """A time that names no moment is refused rather than guessed."""
    with pytest.raises(ValueError, match=r".+"):
        readable_time(time, "UTC", "en")


def test_one_line_keeps_joined_emoji() -> None:
    """Only what could break a line or turn the text is taken away."""
    assert one_line("  👩‍🚀\tÅsa\u200d \n x ") == "👩‍🚀 Åsa\u200d x"


def test_quoted_marks_empty_lines() -> None:
    """An empty line cannot end the quotation."""
    assert quoted("a\n\nb") == "> a\n>\n> b"


@pytest.mark.parametrize(
    ("locale", "language"),
    [("de", "de"), ("de-AT", "de"), ("DE_ch", "de"), ("en-GB", "en"), ("pt-BR", "en"), ("", "en")],
)
def test_language_falls_back(locale: str, language: str) -> None:
    """A region's mails are those of its language, and where there is none they are in English."""
    assert language_of(locale) == language


MEETUP = {
    "partner_name": "Jo",
    "venue_name": "Café",
    "scheduled_time": "2026-11-24T20:00:00Z",
    "meetup_id": "9c0f3b1a-7e52-4d0a-8a45-2f6f8d1c7b10",
    "sequence": 4,
    "change_time": "2026-11-20T09:30:00+01:00",
}


def event_of(mail: Mail) -> Any:
    """Return the one entry of the calendar that a mail carries."""
    [file] = mail.attachments
    [event] = icalendar.Calendar.from_ical(file.content).walk("VEVENT")
    return event


@pytest.mark.parametrize(
    ("kind", "method", "status"),
    [
        ("MEETUP_SCHEDULED", "PUBLISH", "CONFIRMED"),
        ("MEETUP_MOVED", "PUBLISH", "CONFIRMED"),
        ("MEETUP_CANCELLED", "CANCEL", "CANCELLED"),
    ],
)
def test_calendar_file_follows_the_meetup(kind: str, method: str, status: str) -> None:
    """All mails of one meet-up speak of one entry, the newest by the highest sequence, and say so in both places."""
    mail = render(kind, MEETUP)
    event = event_of(mail)
    assert mail.attachments[0].content_type == f"text/calendar; method={method}"
    assert f"METHOD:{method}\r\n" in mail.attachments[0].content
    assert (event["UID"], event["SEQUENCE"], event["STATUS"]) == (
        "9c0f3b1a-7e52-4d0a-8a45-2f6f8d1c7b10@notify.example.org",
        4,
        status,
    )
    assert event["DTSTART"].dt == datetime(2026, 11, 24, 20, tzinfo=UTC)
    assert event["DTSTAMP"].dt == datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
    assert mail == render(kind, MEETUP)


def test_mails_without_a_meetup_carry_no_calendar() -> None:
    """A reminder comes after the entry was made, and news without an id have nothing to name it by."""
    assert render("SESSION_REMINDER", MEETUP).attachments == ()
    assert render("MEETUP_MOVED", MEETUP | {"meetup_id": ""}).attachments == ()


def test_calendars_on_the_web_take_new_meetups() -> None:
    """The links of a new meet-up carry it whole, and what has moved or is off has none: a link makes a second entry."""
    links = [link for link in Tags(render("MEETUP_SCHEDULED", MEETUP).html).links if link and "calendar" in link]
    given = [dict(parse_qsl(urlsplit(link).query)) for link in links]
    assert [(each["location"], each.get("text", each.get("subject"))) for each in given] == [
        ("Café", "WingmanMatch: Jo")
    ] * 2
    assert given[0]["dates"] == "20261124T200000Z/20261124T210000Z"
    assert (given[1]["startdt"], given[1]["enddt"]) == ("2026-11-24T20:00:00Z", "2026-11-24T21:00:00Z")
    for kind in ("MEETUP_MOVED", "MEETUP_CANCELLED", "SESSION_REMINDER"):
        assert "calendar" not in str(Tags(render(kind, MEETUP).html).links)


TEXT = st.text(max_size=300)


@settings(deadline=None)
@given(name=TEXT, venue=TEXT, title=TEXT)
@example(name=EVIL_NAME, venue="x\r\nATTENDEE:mailto:all@example.org\r\nEND:VEVENT", title="\u0085BEGIN:VALARM")
def test_nothing_breaks_out_of_a_mail(name: str, venue: str, title: str) -> None:
    """Whatever people write, a mail has the same tags, headers and calendar lines, and its text no line of theirs."""
    fields = {"partner_name": f"Jo {name}", "venue_name": f"Café {venue}", "challenge_title": f"Ask {title}"}
    harmless, hostile = (render("MEETUP_MOVED", MEETUP | {**fields, **plain}) for plain in (PLAIN, {}))
    assert Tags(hostile.html).names == Tags(harmless.html).names
    assert Tags(hostile.html).links == Tags(harmless.html).links
    assert hostile.headers == harmless.headers
    assert {unicodedata.category(character) for character in hostile.subject}.isdisjoint({"Cc", "Zl", "Zp"})
    assert len(hostile.text.splitlines()) == len(harmless.text.splitlines())
    assert list(event_of(hostile)) == list(event_of(harmless))


PLAIN = {"partner_name": "Jo", "venue_name": "Café", "challenge_title": "Ask"}
