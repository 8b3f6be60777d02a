"""What becomes of a payload on its way into a mail."""

from html.parser import HTMLParser

import pytest

from wingmanmatch_server.notification.render import (
    Mail,
    MissingField,
    Recipient,
    Renderer,
    UnknownKind,
    create_environment,
    one_line,
    quoted,
    readable_time,
)

RECIPIENT = Recipient("7a1c3f8e-2b4d-4e6f-8a9b-0c1d2e3f4a5b", "Ann", "en")
EVIL_NAME = "Eve\r\nBcc: all@example.org\u2028<script>alert(1)</script>\"'\u202egnp.exe"


def render(kind: str, payload: dict[str, str], app_url: str | None = "https://app.example.org") -> Mail:
    """Render with this package's own templates."""
    renderer = Renderer(create_environment(), sender="WingmanMatch <hello@notify.example.org>", app_url=app_url)
    return renderer.render("6f0c", kind, RECIPIENT, payload, "a1b2")


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
    assert subject.startswith("Eve Bcc: all@example.org <script>")
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


@pytest.mark.parametrize(
    ("time", "zone", "expected"),
    [
        ("2026-11-24T14:00:00Z", "Europe/Berlin", "Tue 24 Nov 2026, 15:00 CET"),
        ("2026-07-01T23:30:00+00:00", "Europe/Berlin", "Thu 2 Jul 2026, 01:30 CEST"),
        ("2026-07-01T12:00:00+02:00", "Asia/Kathmandu", "Wed 1 Jul 2026, 15:45 UTC+0545"),
        ("2026-07-01T12:00:00Z", "Not/A_Zone", "Wed 1 Jul 2026, 12:00 UTC"),
        ("2026-07-01T12:00:00Z", "../../etc/passwd", "Wed 1 Jul 2026, 12:00 UTC"),
    ],
)
def test_time_is_the_recipients(time: str, zone: str, expected: str) -> None:
    """Times are told in the recipient's zone, which is named."""
    assert readable_time(time, zone) == expected


@pytest.mark.parametrize("time", ["tomorrow at three", "2026-07-01T12:00:00"])
def test_time_without_a_moment_is_an_error(time: str) -> None:
    """A time that names no moment is refused rather than guessed."""
    with pytest.raises(ValueError, match=r".+"):
        readable_time(time, "UTC")


def test_one_line_keeps_joined_emoji() -> None:
    """Only what could break a line or turn the text is taken away."""
    assert one_line("  👩‍🚀\tÅsa\u200d \n x ") == "👩‍🚀 Åsa\u200d x"


def test_quoted_marks_empty_lines() -> None:
    """An empty line cannot end the quotation."""
    assert quoted("a\n\nb") == "> a\n>\n> b"
