"""Mails in the outbox folder, read back from their files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

# As `notification/mailer.py` names them: create time, kind, id.
NAME = re.compile(r"(\d{8}T\d{6}Z)_([a-z_]+)_([0-9a-f-]{36})\.eml")
HEADERS = ("From", "To", "Reply-To", "Subject", "Date", "List-Unsubscribe")


class NoSuchMail(Exception):
    """No mail, or more than one, is meant; the text says which."""


@dataclass(frozen=True, slots=True)
class FiledMail:
    """A mail by its file's name; nothing of its content has been read."""

    path: Path
    create_time: datetime
    kind: str
    id: str

    @property
    def page(self) -> Path:
        """The file of what the mail looks like."""
        return self.path.with_suffix(".html")

    def message(self) -> EmailMessage:
        """Read the mail. Raises OSError."""
        message = message_from_bytes(self.path.read_bytes(), policy=default)
        assert isinstance(message, EmailMessage)  # the policy makes no other
        return message


def filed_mails(folder: Path) -> list[FiledMail]:
    """Return the folder's mails, newest first; none where there is no folder."""
    named = ((path, NAME.fullmatch(path.name)) for path in folder.glob("*.eml"))
    mails = [FiledMail(path, _time(name[1]), name[2].upper(), name[3]) for path, name in named if name]
    return sorted(mails, key=lambda mail: (mail.create_time, mail.id), reverse=True)


def find_mail(mails: Sequence[FiledMail], beginning: str | None) -> FiledMail:
    """Return the one mail whose id begins so, or the newest. Raises NoSuchMail."""
    if beginning is None:
        if not mails:
            raise NoSuchMail("the outbox is empty")
        return mails[0]
    found = [mail for mail in mails if mail.id.startswith(beginning.lower())]
    if len(found) == 1:
        return found[0]
    raise NoSuchMail(f"{len(found) or 'no'} mails have an id that begins with {beginning}")


def headers_of(message: EmailMessage) -> list[tuple[str, str]]:
    """Return the headers that a person may care for."""
    return [(name, str(message[name])) for name in HEADERS if message[name]]


def text_of(message: EmailMessage) -> str:
    """Return the text part."""
    part = message.get_body(("plain",))
    return str(part.get_content()).replace("\r\n", "\n") if part else ""


def _time(written: str) -> datetime:
    return datetime.strptime(written, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
