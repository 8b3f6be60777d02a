"""Turns a notification into a mail. The same notification gives the same mail, but for a change of templates."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import jinja2

from wingmanmatch_server.notification.mailer import Attachment

# What each kind's templates speak of; a field without a default must be in the payload.
REQUIRED = None
FIELDS: Mapping[str, Mapping[str, str | None]] = {
    "MATCH_INVITATION": {"inviter_name": REQUIRED, "venue_suggestion": "", "message": ""},
    "MATCH_ACCEPTANCE": {"accepter_name": REQUIRED, "venue_name": "", "scheduled_time": "", "time_zone": "UTC"},
    "MATCH_DECLINE": {"decliner_name": REQUIRED},
    "SESSION_REMINDER": {"partner_name": REQUIRED, "venue_name": "", "scheduled_time": REQUIRED, "time_zone": "UTC"},
}
# Mails that nobody waits for: one click turns them off.
UNSUBSCRIBABLE = frozenset({"MATCH_INVITATION", "SESSION_REMINDER"})
# Control characters, line separators, and the marks that turn the direction in which the text after them is read.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+")


class UnknownKind(Exception):
    """There are no templates for this kind of notification."""


class MissingField(Exception):
    """The payload lacks what the templates need."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """To whom a mail speaks. `user_id` is None for somebody without a profile; `locale` is a tag such as de-AT."""

    user_id: str | None
    name: str
    locale: str


@dataclass(frozen=True, slots=True)
class Mail:
    """A rendered mail. `subject` is one line."""

    sender: str
    subject: str
    html: str
    text: str
    headers: Mapping[str, str]
    reply_to: str | None = None
    attachments: Sequence[Attachment] = ()


class Renderer:
    """Renders mails from `sender`, whose buttons lead to `app_url`; without one they have no buttons.

    Answers go to `reply_to`, or without one to the sender.
    """

    def __init__(
        self,
        environment: jinja2.Environment,
        *,
        sender: str,
        app_url: str | None = None,
        reply_to: str | None = None,
        unsubscribe_url: Callable[[str, str], str] | None = None,
    ) -> None:
        """`unsubscribe_url` returns the link that turns a kind off for a person; without it mails have none."""
        self._environment = environment
        self._sender = sender
        self._reply_to = reply_to
        self._unsubscribe_url = unsubscribe_url
        self._app_url = app_url.rstrip("/") if app_url else None

    def render(
        self, notification_id: str, kind: str, recipient: Recipient, payload: Mapping[str, Any], match_id: str | None
    ) -> Mail:
        """Return the mail. Raises UnknownKind, MissingField, or ValueError where a field is not of its form."""
        context = self._context(kind, recipient.name, payload, match_id)
        subject = one_line(self._part(kind, "subject.txt", context))
        return Mail(
            sender=self._sender,
            subject=subject,
            html=self._part(kind, "body.html", {**context, "subject": subject}),
            text=self._part(kind, "body.txt", context).strip() + "\n",
            # Mail programs group mails of equal subject; this tells them that each is one of its own.
            headers={"X-Entity-Ref-ID": notification_id, **self._unsubscribe_headers(kind, recipient)},
            reply_to=self._reply_to,
        )

    def _unsubscribe_headers(self, kind: str, recipient: Recipient) -> dict[str, str]:
        if self._unsubscribe_url is None or recipient.user_id is None or kind not in UNSUBSCRIBABLE:
            return {}
        url = self._unsubscribe_url(recipient.user_id, kind)
        return {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}

    def _part(self, kind: str, part: str, context: Mapping[str, Any]) -> str:
        return self._environment.get_template(f"{kind.lower()}/{part}.j2").render(context)

    def _context(
        self, kind: str, recipient_name: str, payload: Mapping[str, Any], match_id: str | None
    ) -> dict[str, Any]:
        fields = _fields(kind, payload)
        if fields.get("scheduled_time"):
            fields["scheduled_time"] = readable_time(fields["scheduled_time"], fields["time_zone"])
        return {
            **fields,
            "recipient_name": one_line(recipient_name),
            "home_url": self._app_url,
            "match_url": f"{self._app_url}/matches/{match_id}" if self._app_url and match_id else self._app_url,
        }


def create_environment() -> jinja2.Environment:
    """Return the environment of this package's templates: HTML escapes what it is given, a missing name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read_template),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quoted"] = quoted
    return environment


def one_line(text: str) -> str:
    """Return `text` as one line of printable characters, runs of space as one space."""
    return " ".join(UNPRINTABLE.sub(" ", text).split())


def quoted(text: str) -> str:
    """Mark each line of a person's words, so that in plain text they cannot pass for ours."""
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def readable_time(time: str, time_zone: str) -> str:
    """Return an ISO 8601 time as 'Tue 24 Nov 2026, 15:00 CET'; an unknown zone reads as UTC. Raises ValueError."""
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    moment = datetime.fromisoformat(time)
    if moment.tzinfo is None:
        raise ValueError("a time without an offset names no moment")
    local = moment.astimezone(zone)
    # Many zones have no letters of their own and call themselves "+05".
    name = f"{local:%Z}" if f"{local:%Z}".isalpha() else f"UTC{local:%z}"
    return f"{local:%a} {local.day} {local:%b %Y, %H:%M} {name}"


def _fields(kind: str, payload: Mapping[str, Any]) -> dict[str, str]:
    if kind not in FIELDS:
        raise UnknownKind(kind)
    return {name: _field(name, payload.get(name) or default) for name, default in FIELDS[kind].items()}


def _field(name: str, value: str | None) -> str:
    if value is REQUIRED:
        raise MissingField(name)
    lines = [one_line(line) for line in str(value).splitlines()]
    return ("\n" if name == "message" else " ").join(lines).strip()


def _read_template(name: str) -> str:
    template = files(__package__).joinpath("templates", *name.split("/"))
    return template.read_text("utf-8")
