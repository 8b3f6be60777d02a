"""The people's mails, as the server's outbox folder has them."""

import asyncio
import email
import email.policy
from email.message import EmailMessage
from pathlib import Path

from wingmanmatch_server.demo.people import DemoFailed, Person, Say, expect

MAIL_TIMEOUT = 15.0  # seconds a mail may take to lie in the outbox
POLL_INTERVAL = 0.05


class Mails:
    """Finds mails in a folder and says where they lie."""

    def __init__(self, outbox: Path, say: Say) -> None:
        self._outbox = outbox
        self._say = say

    async def show(self, recipient: Person, kind: str, *, count: int = 1) -> EmailMessage:
        """Wait until `count` mails of a kind to a person lie there, say where the last is and return it.

        Raises DemoFailed if they do not come.
        """
        try:
            async with asyncio.timeout(MAIL_TIMEOUT):
                while (  # noqa: ASYNC110
                    len(found := await asyncio.to_thread(self._mails_to, recipient, kind)) < count
                ):
                    await asyncio.sleep(POLL_INTERVAL)  # a folder tells nobody of a new file
        except TimeoutError:
            raise DemoFailed(f"no mail to {recipient.name} in {self._outbox}; is DATA_DIR the server's?") from None
        expect(len(found) == count, f"one mail of a kind ({kind}) for one occasion")
        path, message = found[-1]
        self._say(f"  {recipient.name} gets a mail: {message['Subject']}\n    {path.absolute()}")
        return message

    async def show_calendar(self, recipient: Person, kind: str) -> None:
        """Do the same with a mail that brings a calendar entry, and say what the entry is."""
        message = await self.show(recipient, kind)
        entries = [part for part in message.iter_attachments() if part.get_content_type() == "text/calendar"]
        expect(len(entries) == 1, "a calendar entry")
        lines = dict(line.split(":", 1) for line in entries[0].get_content().splitlines() if ":" in line)
        self._say(f"    with {entries[0].get_filename()}: {lines['DTSTART']}, version {lines['SEQUENCE']}")

    def _mails_to(self, recipient: Person, kind: str) -> list[tuple[Path, EmailMessage]]:
        paths = sorted(self._outbox.glob(f"*_{kind}_*.eml"), key=lambda path: path.stat().st_mtime_ns)
        read = ((path, _read(path)) for path in paths)
        return [(path, message) for path, message in read if recipient.address in str(message["To"])]


def _read(path: Path) -> EmailMessage:
    return email.message_from_bytes(path.read_bytes(), EmailMessage, policy=email.policy.default)
