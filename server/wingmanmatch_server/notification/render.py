"""Turns a notification into a mail. The same notification gives the same mail, but for a change of templates.

What a mail says is plain text, a file a kind and language. One page and one text part show it, and the page alone knows
HTML: it escapes all it is given. The page is MJML, which becomes HTML once, before any data is there.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
import mjml
from markupsafe import Markup

from wingmanmatch_server.notification.calendar import calendar_file, calendar_links
from wingmanmatch_server.notification.defang import defang
from wingmanmatch_server.notification.mailer import Attachment
from wingmanmatch_server.notification.times import readable_time

# What each kind's templates speak of; a field without a default must be in the payload.
REQUIRED = None
MEETUP = {
    "partner_name": REQUIRED,
    "venue_name": "",
    "scheduled_time": REQUIRED,
    "time_zone": "UTC",
    "challenge_title": "",
}
VERSION = {"meetup_id": "", "sequence": "", "change_time": ""}
FIELDS: Mapping[str, Mapping[str, str | None]] = {
    "MATCH_INVITATION": {"inviter_name": REQUIRED, "venue_suggestion": "", "message": ""},
    "MATCH_ACCEPTANCE": {"accepter_name": REQUIRED, "venue_name": "", "scheduled_time": "", "time_zone": "UTC"},
    "MATCH_DECLINE": {"decliner_name": REQUIRED},
    "SESSION_REMINDER": MEETUP,
    "MEETUP_SCHEDULED": MEETUP | VERSION,
    "MEETUP_MOVED": MEETUP | VERSION | {"previous_time": "", "previous_venue_name": ""},
    # Of somebody who was erased there is no name left to tell.
    "MEETUP_CANCELLED": MEETUP | VERSION | {"partner_name": "", "match_ended": ""},
    # How many emails of each topic it stands for.
    "DIGEST": {"invitations": "", "answers": "", "meetup_changes": "", "reminders": ""},
}
# The facts that a mail lists, by the label that `common.j2` translates.
DETAILS: Mapping[str, Sequence[tuple[str, str]]] = {
    "MATCH_INVITATION": (("with", "inviter_name"), ("where", "venue_suggestion")),
    "MATCH_ACCEPTANCE": (("with", "accepter_name"), ("where", "venue_name"), ("when", "scheduled_time")),
    "MATCH_DECLINE": (),
    "DIGEST": tuple((topic, topic) for topic in FIELDS["DIGEST"]),
}
OF_MEETUPS = (
    ("with", "partner_name"),
    ("when", "scheduled_time"),
    ("before", "previous_time"),
    ("where", "venue_name"),
    ("before", "previous_venue_name"),
    ("challenge", "challenge_title"),
)
# Those that hold no longer.
OVER: Mapping[str, Sequence[str]] = {
    "MEETUP_MOVED": ("previous_time", "previous_venue_name"),
    "MEETUP_CANCELLED": ("scheduled_time", "venue_name"),
}
TIMES = ("scheduled_time", "previous_time")
# What people write: it is shown without links.
WRITTEN = frozenset(
    {
        "inviter_name",
        "accepter_name",
        "decliner_name",
        "partner_name",
        "message",
        "venue_suggestion",
        "venue_name",
        "previous_venue_name",
    }
)
LINES = ("subject", "preheader", "heading", "action", "without_app")
PARAGRAPHS = ("intro", "body", "aside")
LANGUAGES = ("en", "de")  # the first where none fits
# So that lists of mails show nothing of what follows it.
PREHEADER_PADDING = Markup("&#847;&zwnj;&nbsp;" * 60)  # noqa: S704 - our own
# One click turns off what other people can cause, which is every kind; an email about the security of the recipient's
# own account would not be among them.
UNSUBSCRIBABLE = frozenset(FIELDS)
BLANK_LINES = re.compile(r"\n{3,}")
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
        page = mjml.mjml2html(_read_template("layout.mjml"))
        self._page = environment.overlay(autoescape=True).from_string(page)
        self._text = environment.get_template("layout.txt.j2")

    def render(
        self, notification_id: str, kind: str, recipient: Recipient, payload: Mapping[str, Any], match_id: str | None
    ) -> Mail:
        """Return the mail. Raises UnknownKind, MissingField, or ValueError where a field is not of its form."""
        language, fields = language_of(recipient.locale), _fields(kind, payload)
        content = self._content(kind, language, defang(one_line(recipient.name)), fields)
        unsubscribe_url = self._unsubscribe(kind, recipient)
        summary = ": ".join(filter(None, ("WingmanMatch", fields.get("partner_name"))))
        calendar = calendar_file(kind, fields, self._sender, summary)
        shown = {
            **content,
            "why": content["why"] if recipient.user_id else content["why_without_profile"],
            "url": self._url(kind, fields, match_id),
            "unsubscribe_url": unsubscribe_url,
            "calendar_links": calendar_links(kind, fields, summary),
        }
        return Mail(
            sender=self._sender,
            subject=content["subject"],
            html=self._page.render(shown),
            text=BLANK_LINES.sub("\n\n", self._text.render(shown)).strip() + "\n",
            # Mail programs group mails of equal subject; this tells them that each is one of its own.
            headers={"X-Entity-Ref-ID": notification_id, **_unsubscribe_headers(unsubscribe_url)},
            reply_to=self._reply_to,
            attachments=(calendar,) if calendar else (),
        )

    def _content(self, kind: str, language: str, name: str, fields: Mapping[str, str]) -> dict[str, Any]:
        told = {**fields, "recipient_name": name}
        for field in TIMES:
            if told.get(field):
                told[field] = readable_time(told[field], told["time_zone"], language)
        common = self._blocks(f"{language}/common.j2", told)
        own = self._blocks(f"{language}/{kind.lower()}.j2", told)
        return {
            **common,
            **{name: one_line(own.get(name, common.get(name, ""))) for name in LINES},
            **{name: [one_line(text) for text in own[name].split("\n\n") if text.strip()] for name in PARAGRAPHS},
            "language": language,
            "padding": PREHEADER_PADDING,
            "quote": told.get("message", ""),
            # Label, value, and whether it holds no longer.
            "details": [
                (common[label], told[field], field in OVER.get(kind, ()))
                for label, field in DETAILS.get(kind, OF_MEETUPS)
                if told.get(field)
            ],
        }

    def _blocks(self, template_name: str, context: Mapping[str, str]) -> dict[str, str]:
        template = self._environment.get_template(template_name)
        given = template.new_context(dict(context))
        return {name: "".join(block(given)) for name, block in template.blocks.items()}

    def _unsubscribe(self, kind: str, recipient: Recipient) -> str | None:
        if self._unsubscribe_url is None or recipient.user_id is None or kind not in UNSUBSCRIBABLE:
            return None
        return self._unsubscribe_url(recipient.user_id, kind)

    def _url(self, kind: str, fields: Mapping[str, str], match_id: str | None) -> str | None:
        # What was declined or ended is over: the way on is to look for somebody else.
        leads_home = kind in ("MATCH_DECLINE", "DIGEST") or match_id is None or bool(fields.get("match_ended"))
        return self._app_url if self._app_url is None or leads_home else f"{self._app_url}/matches/{match_id}"


def create_environment() -> jinja2.Environment:
    """Return the environment of this package's templates, which are text: a missing name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read_template),
        autoescape=False,  # noqa: S701 - texts; the one page is rendered with it on
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


def language_of(locale: str) -> str:
    """Return the language of ours that fits a locale best: de for de-AT, and en where none does."""
    language = locale.replace("_", "-").partition("-")[0].lower()
    return language if language in LANGUAGES else LANGUAGES[0]


def _unsubscribe_headers(url: str | None) -> dict[str, str]:
    if url is None:
        return {}
    return {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def _fields(kind: str, payload: Mapping[str, Any]) -> dict[str, str]:
    if kind not in FIELDS:
        raise UnknownKind(kind)
    return {name: _field(name, payload.get(name) or default) for name, default in FIELDS[kind].items()}


def _field(name: str, value: str | None) -> str:
    if value is REQUIRED:
        raise MissingField(name)
    lines = [one_line(line) for line in str(value).splitlines()]
    text = ("\n" if name == "message" else " ").join(lines).strip()
    return defang(text) if name in WRITTEN else text


def _read_template(name: str) -> str:
    template = files(__package__).joinpath("templates", *name.split("/"))
    return template.read_text("utf-8")
