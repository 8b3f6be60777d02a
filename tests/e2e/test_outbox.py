"""`wingmanmatch outbox`: mails as people look at them."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from support.served import Served, command, refusal
from wingmanmatch.notification.v1 import notification_pb2, notification_service_pb2, notification_service_pb2_grpc
from wingmanmatch_server.notification.mailer import OutboxMailer, OutgoingMail

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
OLD, NEW = "0d9e1b0e-5f6a-4c53-9d27-6b1f6f0f2b11", "0d9e77aa-0000-4000-8000-6b1f6f0f2b12"


def run(*arguments: str, **environment: str) -> str:
    """Run the command and return what it printed."""
    with command("outbox", *arguments, **environment) as process:
        output, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
    return output


def mail(notification_id: str, minutes: int, subject: str, text: str = "Hi Ann,\n\nBen said no.\n") -> OutgoingMail:
    """Return a mail of some minutes after noon."""
    return OutgoingMail(
        notification_id=notification_id,
        kind="MATCH_DECLINE",
        idempotency_key=notification_id,
        create_time=NOON + timedelta(minutes=minutes),
        send_time=NOON,
        recipient_email="ann@example.org",
        recipient_name="Ann",
        sender="WingmanMatch <hello@notify.example.org>",
        subject=subject,
        html=f"<h1>{subject}</h1>",
        text=text,
        headers={},
    )


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A data folder with two mails in its outbox, and something that is none."""
    mailer = OutboxMailer(tmp_path / "outbox")
    await mailer.deliver(mail(NEW, 1, "The newer one", text="Zoë 🙂 [bold]wrote[/bold] \x1b[31mred\x07\n"))
    await mailer.deliver(mail(OLD, 0, "The older one"))
    (tmp_path / "outbox" / "notes.eml").write_text("no mail of ours")
    return tmp_path


def test_list_is_newest_first(folder: Path) -> None:
    """A line for each mail tells when, what, to whom and about what."""
    lines = run("list", DATA_DIR=str(folder)).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == [NEW[:8], OLD[:8]]
    assert lines[2].split() == [
        *(OLD[:8], "2026-11-24", "12:00:00", "MATCH_DECLINE", "ann@example.org", "The", "older", "one")
    ]
    assert lines[3].startswith("2 of 2 in ")
    assert OLD[:8] not in run("list", "--limit", "1", "--data-dir", str(folder))


def test_show_prints_headers_and_text(folder: Path) -> None:
    """A mail is named by the beginning of its id; without one it is the newest."""
    shown = run("show", "0d9e1", DATA_DIR=str(folder))
    assert [line.split() for line in shown.splitlines()[1:3]] == [
        ["To", "Ann", "<ann@example.org>"],
        ["Subject", "The", "older", "one"],
    ]
    assert shown.endswith("\n\nHi Ann,\n\nBen said no.\n\n")
    assert "The newer one" in run("show", DATA_DIR=str(folder))


def test_nothing_in_a_mail_commands_the_terminal(folder: Path) -> None:
    """What looks like markup is text, and control characters are replaced."""
    shown = run("show", NEW, DATA_DIR=str(folder))
    assert "Zoë 🙂 [bold]wrote[/bold] \ufffd[31mred\ufffd" in shown
    assert "\x1b" not in shown


def test_open_names_the_page(folder: Path) -> None:
    """The page of a mail is a file that a browser can show."""
    page = Path(run("open", "0d9e1", "--path", DATA_DIR=str(folder)).strip())
    assert page.read_text("utf-8") == "<h1>The older one</h1>"


def test_open_starts_the_browser(folder: Path, tmp_path: Path) -> None:
    """The browser that a person has chosen is started with the page."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{tmp_path}/opened"\n')
    browser.chmod(0o755)
    page = Path(run("open", NEW, DATA_DIR=str(folder), BROWSER=f"{browser} %s").strip())
    assert (tmp_path / "opened").read_text().strip() == page.as_uri()


def test_what_is_not_there_is_said(folder: Path, tmp_path: Path) -> None:
    """An empty outbox, an unknown id and an ambiguous one each get a sentence."""
    assert "No mails in" in run("list", DATA_DIR=str(tmp_path / "none"))
    assert "the outbox is empty" in refusal("outbox", "show", DATA_DIR=str(tmp_path / "none"))
    assert "no mails have an id that begins with ffff" in refusal("outbox", "show", "ffff", DATA_DIR=str(folder))
    assert "2 mails have an id" in refusal("outbox", "open", "0d9e", DATA_DIR=str(folder))
    assert "--state needs --server" in refusal("outbox", "list", "--state", "DEAD", DATA_DIR=str(folder))


async def test_rows_of_a_server(server: Served) -> None:
    """A running server tells of mails that are in no folder yet, by state, and never the address."""
    later = Timestamp(seconds=int((datetime.now(UTC) + timedelta(hours=1)).timestamp()))
    request = notification_service_pb2.SendNotificationRequest(
        recipient_email="ann@example.org",
        match_decline=notification_pb2.MatchDecline(decliner_name="Ben"),
        send_time=later,
    )
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub = notification_service_pb2_grpc.NotificationServiceStub(channel)
        waiting = (await stub.SendNotification(request, timeout=10)).notification
    listed = run("list", "--server", server.grpc, "--state", "scheduled", "--limit", "100")
    assert next(line.split() for line in listed.splitlines() if line.startswith(waiting.id)) == [
        *(waiting.id, *later.ToDatetime().isoformat(" ").split(), "MATCH_DECLINE", "SCHEDULED", "0")
    ]
    shown = dict(line.split(None, 1) for line in run("show", waiting.id, "--server", server.grpc).splitlines())
    assert (shown["state"].strip(), shown["send_time"].strip()) == ("SCHEDULED", later.ToJsonString())
    assert "ann@" not in listed + str(shown)
    assert waiting.id not in run("list", "--server", server.grpc, "--state", "dead")


def test_what_a_server_cannot_tell(server: Served) -> None:
    """An unknown state or mail, and a server that is not there, each get a sentence."""
    unknown = refusal("outbox", "list", "--server", server.grpc, "--state", "LOST")
    assert "no state LOST; there are SCHEDULED," in unknown
    assert "NOT_FOUND" in refusal("outbox", "show", str(uuid.uuid4()), "--server", server.grpc)
    assert "needs its whole id" in refusal("outbox", "show", "--server", server.grpc)
    assert "UNAVAILABLE" in refusal("outbox", "list", "--server", "127.0.0.1:1")
