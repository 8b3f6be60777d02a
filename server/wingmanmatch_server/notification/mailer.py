"""The seam through which mails leave, and the one that files them in a folder."""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Outcome(StrEnum):
    """What is known after an attempt. It decides what happens next."""

    ACCEPTED = "ACCEPTED"  # it is out, or will be without us
    NOT_ACCEPTED = "NOT_ACCEPTED"  # surely not out; trying again is safe
    AMBIGUOUS = "AMBIGUOUS"  # it may be out; only the same content under the same key may be tried again
    THROTTLED = "THROTTLED"  # not out: too many requests at present
    QUOTA = "QUOTA"  # not out: the account has used up its mails
    CONFIG = "CONFIG"  # not out: the account, its key or the sender is wrong, whatever the mail
    IN_FLIGHT = "IN_FLIGHT"  # another attempt under the same key is under way
    WITHHELD = "WITHHELD"  # not tried: the provider is known to be away
    BAD_MESSAGE = "BAD_MESSAGE"  # it never will be accepted
    KEY_MISMATCH = "KEY_MISMATCH"  # the key stands for other content; a person must look


@dataclass(frozen=True, slots=True)
class Delivery:
    """The end of one attempt. `error` is a class name or a provider's code, free of content and addresses.

    `pause_seconds` is for how long the provider wants no mail from anybody.
    """

    outcome: Outcome
    provider_message_id: str | None = None
    error: str | None = None
    pause_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of text that goes along; `content_type` is its MIME type with parameters, such as a calendar's method."""

    filename: str
    content_type: str
    content: str


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    """A mail as it leaves: equal for every attempt of one notification, whoever makes it."""

    notification_id: str
    kind: str
    idempotency_key: str
    create_time: datetime
    send_time: datetime
    recipient_email: str
    recipient_name: str
    sender: str
    subject: str
    html: str
    text: str
    headers: Mapping[str, str]
    reply_to: str | None = None
    attachments: Sequence[Attachment] = ()


class Mailer(Protocol):
    """What takes mails to their recipients."""

    async def deliver(self, mail: OutgoingMail) -> Delivery:
        """Try once. A second call with the same idempotency key sends no second mail.

        What it raises counts as AMBIGUOUS, and so does cancelling it.
        """

    def away_for(self) -> float:
        """Return the seconds in which no mail need be brought; 0 if one may be now."""


class OutboxMailer:
    """Files each mail as `<create time>_<kind>_<id>.eml`, and what it looks like as `.html` beside it.

    Files appear whole or not at all. The folder is created readable by its owner only; file names hold no address.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def deliver(self, mail: OutgoingMail) -> Delivery:
        """See `Mailer.deliver`; the notification's id is the idempotency key, since the name is made of it."""
        return await asyncio.to_thread(self._file, mail)

    def away_for(self) -> float:
        """See `Mailer.away_for`; a folder is always there to be tried."""
        return 0.0

    def _file(self, mail: OutgoingMail) -> Delivery:
        path = self._directory / f"{_stem(mail)}.eml"
        try:
            message = to_message(mail).as_bytes()
        except ValueError as error:
            return Delivery(Outcome.BAD_MESSAGE, error=type(error).__name__)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                _write(path.with_suffix(".html"), mail.html.encode())
                _write(path, message)
        except OSError as error:
            return Delivery(Outcome.NOT_ACCEPTED, error=type(error).__name__)
        return Delivery(Outcome.ACCEPTED, provider_message_id=path.name)


def to_message(mail: OutgoingMail) -> EmailMessage:
    """Return `mail` in RFC 5322 form, the same bytes each time. Raises ValueError if a header cannot be written."""
    message = EmailMessage(policy=SMTP)
    message["From"] = mail.sender
    message["To"] = recipient(mail)
    if mail.reply_to:
        message["Reply-To"] = mail.reply_to
    message["Subject"] = mail.subject
    message["Date"] = mail.send_time
    message["Message-ID"] = f"<{mail.notification_id}@{message['From'].addresses[0].domain}>"
    for name, value in mail.headers.items():
        message[name] = value
    message.set_content(mail.text, cte="quoted-printable")
    message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
    for attachment in mail.attachments:
        _attach(message, attachment)
    for number, part in enumerate(part for part in message.walk() if part.is_multipart()):
        part.set_boundary(f"=_wingmanmatch_{number}_{mail.notification_id}")
    return message


def _attach(message: EmailMessage, attachment: Attachment) -> None:
    message.add_attachment(attachment.content, filename=attachment.filename, cte="quoted-printable")
    part = list(message.iter_attachments())[-1]
    part.replace_header("Content-Type", f"{attachment.content_type}; charset=utf-8")


def recipient(mail: OutgoingMail) -> Address:
    """Return whom `mail` goes to. Raises ValueError if that is not one address."""
    try:
        return Address(mail.recipient_name, addr_spec=mail.recipient_email)
    except (IndexError, MessageError) as error:  # the parser stumbles over some addresses before it can refuse them
        raise ValueError("not an e-mail address") from error


def _stem(mail: OutgoingMail) -> str:
    created = mail.create_time.astimezone(UTC)
    return f"{created:%Y%m%dT%H%M%SZ}_{mail.kind.lower()}_{mail.notification_id}"


def _write(path: Path, content: bytes) -> None:
    # Two workers may file one mail at the same time, so each writes a file of its own before either renames.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)
