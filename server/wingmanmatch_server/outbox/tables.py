"""Mails as a terminal shows them. What people wrote is text here: no markup, no control character has an effect."""

import sys
import unicodedata
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from wingmanmatch.notification.v1 import notification_pb2
from wingmanmatch_server.outbox.folder import FiledMail, headers_of, text_of
from wingmanmatch_server.outbox.rows import kind_of, state_of

SHORT_ID = 8
PIPED_WIDTH = 200  # columns, where no terminal says how wide it is
COLOURS = {"DEAD": "red", "REVIEW": "red", "BOUNCED": "red", "COMPLAINED": "red", "SENDING": "yellow"}


def show(what: RenderableType) -> None:
    """Print it."""
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False).print(what)


def of_files(mails: Sequence[FiledMail], folder: Path, total: int) -> RenderableType:
    """Return a table of the folder's mails, or a sentence where it is empty."""
    if not mails:
        return Text(f"No mails in {folder}.")
    table = _table("id", "created", "kind", "to", "subject")
    for mail in mails:
        message = mail.message()
        created = f"{mail.create_time:%Y-%m-%d %H:%M:%S}"
        _add(table, mail.id[:SHORT_ID], created, mail.kind, _to(message), str(message["Subject"]))
    return Group(table, Text(f"{len(mails)} of {total} in {folder}; times in UTC", style="dim"))


def of_rows(rows: Sequence[notification_pb2.Notification]) -> RenderableType:
    """Return a table of a server's mails, or a sentence where there are none."""
    if not rows:
        return Text("No such mails.")
    table = _table("id", "send time", "kind", "state", "attempts", "last error")
    for row in rows:
        state = Text(state_of(row), style=COLOURS.get(state_of(row), ""))
        time = f"{row.send_time.ToDatetime():%Y-%m-%d %H:%M:%S}"
        _add(table, row.id, time, kind_of(row), state, str(row.attempt_count), row.last_error)
    return table


def of_facts(facts: Sequence[tuple[str, str]]) -> RenderableType:
    """Return names and values below one another."""
    table = Table.grid(padding=(0, 2))
    for name, value in facts:
        table.add_row(Text(name, style="bold"), _printable(value))
    return table


def of_message(message: EmailMessage) -> RenderableType:
    """Return headers, the text, and the names of what is attached."""
    files = [("Attached", str(part.get_filename())) for part in message.iter_attachments()]
    return Group(of_facts([*headers_of(message), *files]), Text(), _printable(text_of(message)))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _add(table: Table, *cells: str | Text) -> None:
    table.add_row(*(_printable(cell) if isinstance(cell, str) else cell for cell in cells))


def _printable(text: str) -> Text:
    """Return text without characters that a terminal would obey."""
    return Text("".join("\N{REPLACEMENT CHARACTER}" if _is_command(each) else each for each in text))


def _is_command(character: str) -> bool:
    return character != "\n" and unicodedata.category(character) in ("Cc", "Cs")


def _to(message: EmailMessage) -> str:
    return ", ".join(address.addr_spec for address in message["To"].addresses)
