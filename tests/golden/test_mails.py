"""Every kind of mail, exactly as it goes out.

After a change that is meant, `UPDATE_GOLDEN=1 pytest tests/golden/test_mails.py` writes the files anew: look at them.
"""

import os
import re
from html import unescape
from importlib.resources import files
from pathlib import Path

import pytest

from golden.photograph import HEIGHTS, SCHEMES, browser, photograph
from wingmanmatch_server.notification.render import FIELDS, Mail, Recipient, Renderer, create_environment

FOLDER = Path(__file__).parent / "mails"
NOTIFICATION_ID = "0d9e1b0e-5f6a-4c53-9d27-6b1f6f0f2b11"
USER_ID = "7a1c3f8e-2b4d-4e6f-8a9b-0c1d2e3f4a5b"
LANGUAGES = ("en", "de")
LAYOUT = files("wingmanmatch_server.notification").joinpath("templates", "layout.mjml").read_text("utf-8")
# Each text on what is behind it: body, small print, label, brand, button.
CONTRASTS = {
    "light": [
        ("#1f2933", "#ffffff"),
        ("#56616b", "#ffffff"),
        ("#56616b", "#f4f1ec"),
        ("#1f2933", "#eef6f4"),
        ("#475560", "#eef6f4"),
        ("#0f766e", "#f4f1ec"),
        ("#ffffff", "#0f766e"),
    ],
    "dark": [
        ("#eef1f3", "#1e2428"),
        ("#b6c0c7", "#1e2428"),
        ("#b6c0c7", "#14181b"),
        ("#eef1f3", "#26332f"),
        ("#b6c0c7", "#26332f"),
        ("#5eead4", "#14181b"),
        ("#14181b", "#5eead4"),
        ("#ffffff", "#0f766e"),
    ],
}
MEETUP = {
    "partner_name": "Ben",
    "venue_name": "Central Park, Bethesda Terrace",
    "scheduled_time": "2026-11-24T20:00:00Z",
    "time_zone": "America/New_York",
    "challenge_title": "Ask somebody for a book they love",
    "meetup_id": "9c0f3b1a-7e52-4d0a-8a45-2f6f8d1c7b10",
    "sequence": 1,
    "change_time": "2026-11-20T09:30:00Z",
}
# Where a mail's links may lead.
HOSTS = {"www.w3.org", "app.example.org", "notify.example.org", "calendar.google.com", "outlook.live.com"}
MATCH_ID = "4b7f1c52-8a0e-4f6e-9f55-0a5b4f1d9c30"
CASES = {
    "match_invitation": {"inviter_name": "Zoë", "venue_suggestion": "Café Central", "message": "Hi!\nShall we?"},
    "match_invitation_plain": {"inviter_name": "Zoë"},
    "match_acceptance": {
        "accepter_name": "Ben",
        "venue_name": "Central Park, Bethesda Terrace",
        "scheduled_time": "2026-11-24T20:00:00Z",
        "time_zone": "America/New_York",
    },
    "match_acceptance_open": {"accepter_name": "Ben", "venue_name": "Central Park"},
    "match_decline": {"decliner_name": "Chris"},
    "session_reminder": {**MEETUP, "lead_hours": "2"},
    "session_reminder_plain": {"partner_name": "Ben", "scheduled_time": "2026-11-24T20:00:00Z"},
    "meetup_scheduled": MEETUP,
    "meetup_moved": {**MEETUP, "sequence": 2, "previous_time": "2026-11-23T18:00:00Z"},
    "meetup_cancelled": {**MEETUP, "sequence": 3},
    "meetup_cancelled_for_good": {**MEETUP, "sequence": 3, "match_ended": True},
    "digest": {"invitations": 4, "answers": 1, "meetup_changes": 12, "reminders": 2},
    "digest_of_invitations": {"invitations": 1},
    "meetup_cancelled_by_nobody": {**MEETUP, "sequence": 3, "match_ended": True, "partner_name": "", "venue_name": ""},
}

LONGEST = MEETUP | {"partner_name": "W" * 60, "venue_name": "W" * 200, "previous_venue_name": "W" * 200}


def kind_of(case: str) -> str:
    """Return the kind that a case's name begins with."""
    return next(kind for kind in FIELDS if case.upper().startswith(kind))


def render(case: str, language: str = "en") -> Mail:
    """Render a case, or words as long as people may write them."""
    renderer = Renderer(
        create_environment(),
        sender="WingmanMatch <hello@notify.example.org>",
        app_url="https://app.example.org",
        unsubscribe_url=lambda user_id, kind: f"https://notify.example.org/unsubscribe/{user_id}.{kind}",
    )
    kind, payload = (kind_of(case), CASES[case]) if case in CASES else ("MEETUP_MOVED", LONGEST)
    return renderer.render(NOTIFICATION_ID, kind, Recipient(USER_ID, "Ann", language), payload, MATCH_ID)


def parts_of(mail: Mail) -> dict[str, str]:
    """Return all that a mail consists of, by the ending of the file that records it."""
    headers = "".join(f"{name}: {value}\n" for name, value in mail.headers.items())
    parts = {"head.txt": f"Subject: {mail.subject}\n{headers}", "html": mail.html, "txt": mail.text}
    if mail.attachments:
        parts["ics"] = mail.attachments[0].content.replace("\r\n", "\n")
    return parts


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("case", CASES)
def test_mail_is_as_recorded(case: str, language: str) -> None:
    """No word, no tag and no header of a mail changes unnoticed."""
    for ending, part in parts_of(render(case, language)).items():
        path = FOLDER / f"{case}.{language}.{ending}"
        rendered = part.rstrip("\n") + "\n"
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(rendered, "utf-8")
        assert rendered == path.read_text("utf-8")


def test_every_kind_has_a_case() -> None:
    """A kind of mail cannot be added without recording what it looks like."""
    assert {kind_of(case) for case in CASES} == set(FIELDS)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("case", CASES)
def test_mail_keeps_the_rules_of_accessibility(case: str, language: str) -> None:
    """One h1, a language, layout tables marked as such, both schemes, no tag left over, nothing loaded, and small."""
    html = render(case, language).html
    assert html.count("<h1") == 1
    assert f'<html lang="{language}" dir="ltr"' in html
    assert f'role="article" lang="{language}" dir="ltr"' in html
    assert all('role="presentation"' in table for table in re.findall(r"<table[^>]*>", html))
    assert '<meta name="color-scheme" content="light dark"' in html
    assert "@media (prefers-color-scheme: dark)" in html
    assert "<mj-" not in html
    assert "{{" not in html
    assert "{%" not in html
    assert set(re.findall(r"https?://([^/\"')]+)", html)) <= HOSTS
    assert not re.search(r"<(img|link|script|iframe)\b|url\(|@import", html)
    assert len(html.encode()) < 40_000


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("case", CASES)
def test_preheader_is_a_sentence_of_its_own(case: str, language: str) -> None:
    """What a list of mails shows beside the subject is 40 to 90 characters long and does not repeat it."""
    mail = render(case, language)
    found = re.search(r'<div style="display:none[^>]*>([^&]*)', mail.html)
    assert found is not None
    assert 40 <= len(found[1]) <= 90
    assert mail.subject not in found[1]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("case", CASES)
def test_both_parts_tell_the_same_facts(case: str, language: str) -> None:
    """Who reads the text part learns every name, place and address that the page shows."""
    mail = render(case, language)
    links = map(unescape, re.findall(r'href="([^"]*)"', mail.html))
    names = ("venue_name", "venue_suggestion", "challenge_title")
    facts = [str(value) for name, value in CASES[case].items() if name in names]
    assert all(link in mail.text for link in links)
    assert all(fact in mail.html and fact in mail.text for fact in facts)


@pytest.mark.skipif(browser() is None, reason="no Chromium is installed")
@pytest.mark.parametrize(("width", "scheme"), list(zip(HEIGHTS, SCHEMES, strict=True)))
def test_mails_fit_their_screens(tmp_path: Path, width: int, scheme: str) -> None:
    """Nothing in a mail is cut off, whatever people wrote; pictures stay in build/mails for people to look at."""
    program = browser()
    assert program
    longest = tmp_path / "longest_words.html"
    longest.write_text(render("longest_words").html, "utf-8")
    picture, too_large = photograph(program, [*sorted(FOLDER.glob("*.html")), longest], width, scheme)
    assert too_large == []
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_text_can_be_read(scheme: str) -> None:
    """Text stands out from what is behind it by 4.5 to 1 (WCAG 2.2, 1.4.3), in both colour schemes."""
    for text, behind in CONTRASTS[scheme]:
        assert text in LAYOUT
        assert behind in LAYOUT
        lighter, darker = sorted((luminance(text), luminance(behind)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, behind)


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb, after WCAG 2.2."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
