"""Mails as files."""

import asyncio
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest

from wingmanmatch_server.notification.mailer import Attachment, OutboxMailer, Outcome, OutgoingMail, to_message

MAIL = OutgoingMail(
    notification_id="0d9e1b0e-5f6a-4c53-9d27-6b1f6f0f2b11",
    kind="MATCH_INVITATION",
    idempotency_key="ntf/0d9e1b0e-5f6a-4c53-9d27-6b1f6f0f2b11/g1",
    create_time=datetime(2026, 11, 24, 15, 0, 9, tzinfo=timezone(timedelta(hours=1))),
    send_time=datetime(2026, 11, 25, 8, 0, tzinfo=UTC),
    recipient_email="ann@example.org",
    recipient_name='Ann "Ace" Ünal, Dr.',
    sender="WingmanMatch <hello@notify.example.org>",
    subject="Zoë 🙂 would like to be your wingman" + " and so on" * 12,
    html="<!DOCTYPE html>\n<h1>Zoë</h1>\n" + "<p>long line</p>" * 200,
    text="Hi Ann,\n\nZoë 🙂 invites you.\n.\nFrom here on.\n",
    headers={"X-Entity-Ref-ID": "0d9e1b0e-5f6a-4c53-9d27-6b1f6f0f2b11"},
)
STEM = "20261124T140009Z_match_invitation_0d9e1b0e-5f6a-4c53-9d27-6b1f6f0f2b11"


async def deliver(directory: Path, mail: OutgoingMail) -> EmailMessage:
    """File `mail` and return what a mail program makes of the file."""
    delivery = await OutboxMailer(directory).deliver(mail)
    assert delivery.outcome is Outcome.ACCEPTED
    assert delivery.provider_message_id is not None
    message = message_from_bytes((directory / delivery.provider_message_id).read_bytes(), policy=default)
    assert isinstance(message, EmailMessage)
    return message


def body(message: EmailMessage, subtype: str) -> str:
    """Return the part of one subtype as text."""
    part = message.get_body((subtype,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def names(directory: Path) -> list[str]:
    """Return what lies in a folder."""
    return sorted(path.name for path in directory.iterdir())


async def test_mail_program_reads_back_what_was_written(tmp_path: Path) -> None:
    """Subject, people and both parts survive the way through the file."""
    message = await deliver(tmp_path, MAIL)
    assert message["Subject"] == MAIL.subject
    assert message["To"].addresses[0].addr_spec == MAIL.recipient_email
    assert message["To"].addresses[0].display_name == MAIL.recipient_name
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert body(message, "plain") == MAIL.text
    assert body(message, "html").rstrip("\n") == MAIL.html


async def test_headers_come_from_the_row(tmp_path: Path) -> None:
    """Date, Message-ID and the reference are the notification's, not the moment's."""
    message = await deliver(tmp_path, MAIL)
    assert message["Date"].datetime == MAIL.send_time
    assert message["Message-ID"] == f"<{MAIL.notification_id}@notify.example.org>"
    assert message["X-Entity-Ref-ID"] == MAIL.notification_id


async def test_files_are_named_for_time_kind_and_id(tmp_path: Path) -> None:
    """The names tell when and what, never to whom, and nothing else is left behind."""
    outbox = tmp_path / "data" / "outbox"
    await deliver(outbox, MAIL)
    assert names(outbox) == [f"{STEM}.eml", f"{STEM}.html"]
    assert (outbox / f"{STEM}.html").read_text("utf-8") == MAIL.html


async def test_folder_and_files_are_the_owners(tmp_path: Path) -> None:
    """Nobody else on the machine can read the mails."""
    outbox = tmp_path / "outbox"
    await deliver(outbox, MAIL)
    assert stat.S_IMODE(outbox.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in outbox.iterdir()} == {0o600}


async def test_lines_end_as_mail_demands(tmp_path: Path) -> None:
    """Every line ends with CRLF and is at most 998 characters long, the bytes are ASCII."""
    await deliver(tmp_path, MAIL)
    lines = (tmp_path / f"{STEM}.eml").read_bytes().split(b"\r\n")
    assert all(b"\n" not in line and b"\r" not in line and len(line) <= 998 and line.isascii() for line in lines)


async def test_delivering_twice_files_one_mail(tmp_path: Path) -> None:
    """Two deliveries of one notification, even at once, leave one mail of the same bytes."""
    await deliver(tmp_path, MAIL)
    first = (tmp_path / f"{STEM}.eml").read_bytes()
    await asyncio.gather(*(deliver(tmp_path, MAIL) for _ in range(8)))
    assert len(names(tmp_path)) == 2
    assert (tmp_path / f"{STEM}.eml").read_bytes() == first == to_message(MAIL).as_bytes()


@pytest.mark.parametrize("field", ["subject", "recipient_name", "recipient_email", "sender"])
async def test_line_break_in_a_header_is_refused(tmp_path: Path, field: str) -> None:
    """A header cannot be smuggled in: such a mail is bad for ever, and no file appears."""
    mail = replace(MAIL, **{field: "x@example.org\r\nBcc: all@example.org"})
    delivery = await OutboxMailer(tmp_path).deliver(mail)
    assert delivery.outcome is Outcome.BAD_MESSAGE
    assert names(tmp_path) == []


@pytest.mark.parametrize("address", ["", "ann", "ann@example.org, eve@example.org", "<ann@example.org>"])
async def test_what_is_not_one_address_is_refused(tmp_path: Path, address: str) -> None:
    """A mail goes to exactly one address or nowhere."""
    delivery = await OutboxMailer(tmp_path).deliver(replace(MAIL, recipient_email=address))
    assert delivery.outcome is Outcome.BAD_MESSAGE
    assert delivery.error is not None
    assert "ann" not in delivery.error


async def test_unwritable_folder_is_surely_not_sent(tmp_path: Path) -> None:
    """A folder that cannot be made means that the mail is not out and may be tried again."""
    (tmp_path / "file").write_text("in the way")
    delivery = await OutboxMailer(tmp_path / "file").deliver(MAIL)
    assert delivery.outcome is Outcome.NOT_ACCEPTED
    assert delivery.error == "FileExistsError"


async def test_attachment_goes_along_under_its_own_type(tmp_path: Path) -> None:
    """A calendar keeps its method and its text; what people read stays the body."""
    calendar = Attachment("meetup.ics", "text/calendar; method=REQUEST", "BEGIN:VCALENDAR\r\nSUMMARY:Zoë\r\n")
    message = await deliver(tmp_path, replace(MAIL, attachments=[calendar]))
    (part,) = message.iter_attachments()
    assert part.get_filename() == "meetup.ics"
    assert part["Content-Type"].params["method"] == "REQUEST"
    assert part.get_content().splitlines() == ["BEGIN:VCALENDAR", "SUMMARY:Zoë"]
    assert body(message, "plain") == MAIL.text
    assert to_message(replace(MAIL, attachments=[calendar])).as_bytes() == (
        to_message(replace(MAIL, attachments=[calendar])).as_bytes()
    )
