"""Every kind of mail, exactly as it goes out.

After a change that is meant, `UPDATE_GOLDEN=1 pytest tests/golden/test_mails.py` writes the files anew: look at them.
"""

import os
import re
from pathlib import Path

import pytest

from wingmanmatch_server.notification.render import FIELDS, Mail, Recipient, Renderer, create_environment

FOLDER = Path(__file__).parent / "mails"
NOTIFICATION_ID = "0d9e1b0e-5f6a-4c53-9d27-6b1f6f0f2b11"
RECIPIENT = Recipient("7a1c3f8e-2b4d-4e6f-8a9b-0c1d2e3f4a5b", "Ann", "en")
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
    "session_reminder": {
        "partner_name": "Ben",
        "venue_name": "Central Park, Bethesda Terrace",
        "scheduled_time": "2026-11-24T20:00:00Z",
        "time_zone": "America/New_York",
    },
}


def kind_of(case: str) -> str:
    """Return the kind that a case's name begins with."""
    return next(kind for kind in FIELDS if case.upper().startswith(kind))


def render(case: str) -> Mail:
    """Render a case."""
    renderer = Renderer(
        create_environment(), sender="WingmanMatch <hello@notify.example.org>", app_url="https://app.example.org"
    )
    return renderer.render(NOTIFICATION_ID, kind_of(case), RECIPIENT, CASES[case], MATCH_ID)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("part", ["subject", "html", "text"])
def test_mail_is_as_recorded(case: str, part: str) -> None:
    """No word and no tag of a mail changes unnoticed."""
    path = FOLDER / f"{case}.{ {'subject': 'subject.txt', 'html': 'html', 'text': 'txt'}[part] }"
    rendered = getattr(render(case), part).rstrip("\n") + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(rendered, "utf-8")
    assert rendered == path.read_text("utf-8")


def test_every_kind_has_a_case() -> None:
    """A kind of mail cannot be added without recording what it looks like."""
    assert {kind_of(case) for case in CASES} == set(FIELDS)


@pytest.mark.parametrize("case", CASES)
def test_mail_keeps_the_rules_of_accessibility(case: str) -> None:
    """One h1, a language, layout tables marked as such, both colour schemes, and a page that no program clips."""
    html = render(case).html
    assert html.count("<h1") == 1
    assert '<html lang="en" dir="ltr">' in html
    assert html.count("<table") == html.count('<table role="presentation"')
    assert '<meta name="color-scheme" content="light dark">' in html
    assert "@media (prefers-color-scheme: dark)" in html
    assert len(html.encode()) < 102_000


@pytest.mark.parametrize("case", CASES)
def test_preheader_is_a_sentence_of_its_own(case: str) -> None:
    """What a list of mails shows beside the subject is 40 to 90 characters long and does not repeat it."""
    mail = render(case)
    found = re.search(r'<div style="display:none[^>]*>([^&]*)', mail.html)
    assert found is not None
    assert 40 <= len(found[1]) <= 90
    assert mail.subject not in found[1]


@pytest.mark.parametrize("case", CASES)
def test_both_parts_tell_the_same_facts(case: str) -> None:
    """Who reads the text part learns every name, place and address that the page shows."""
    mail = render(case)
    links = re.findall(r'href="([^"]*)"', mail.html)
    facts = [value for name, value in CASES[case].items() if name in ("venue_name", "venue_suggestion")]
    assert all(fact in mail.html and fact in mail.text for fact in [*links, *facts])
