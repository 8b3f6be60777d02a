"""Joins what brings mails out, and what asks for them."""

import os
import random
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from wingmanmatch_server import errors
from wingmanmatch_server.bootstrap.background import delivering
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.notification.dispatcher import Dispatcher, Listen
from wingmanmatch_server.notification.mailer import Mailer, OutboxMailer
from wingmanmatch_server.notification.metrics import NotificationMetrics
from wingmanmatch_server.notification.render import FIELDS, Renderer, create_environment
from wingmanmatch_server.notification.service import Limiter, NotificationService
from wingmanmatch_server.notification.store import NotificationStore
from wingmanmatch_server.notification.unsubscribe import UnsubscribeLinks
from wingmanmatch_server.notification.webhook import Webhooks
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system.dependencies import Dependency

TIMED = "THROTTLED"  # a pause that ends by itself and needs nobody


@dataclass(frozen=True, slots=True)
class Mail:
    """What all that deals with mails shares; None is what the settings turn off."""

    store: NotificationStore
    renderer: Renderer
    webhooks: Webhooks | None
    links: UnsubscribeLinks | None


def make_mail(settings: Settings, database: Database) -> Mail:
    """Return it. Raises OSError if the data folder can keep no secret."""
    links = None
    if settings.public_url is not None:
        links = UnsubscribeLinks(settings.public_url, link_secret(settings), list(FIELDS))
    return Mail(
        NotificationStore(database),
        Renderer(
            create_environment(),
            sender=settings.mail_from,
            reply_to=settings.mail_reply_to,
            unsubscribe_url=links.url if links else None,
        ),
        Webhooks(settings.webhook_secrets) if settings.webhook_secrets else None,
        links,
    )


def make_notification_service(
    settings: Settings, mail: Mail, time_zones: Collection[str], limiter: Limiter | None
) -> NotificationService:
    """Return the service."""
    return NotificationService(
        mail.store,
        mail.renderer,
        time_zones,
        limiter=limiter,
        webhooks=mail.webhooks,
        queue_limit=settings.mail_queue_limit,
    )


def link_secret(settings: Settings) -> str:
    """Return LINK_SECRET, or the one that was made and kept in the data folder."""
    if settings.link_secret is not None:
        return settings.link_secret.get_secret_value()
    path = settings.data_dir / "link-secret"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="ascii") as file, suppress(FileExistsError):
        file.write(secrets.token_urlsafe(48))
        file.flush()
        os.link(file.name, path)  # so that nobody ever reads half of it, or another one
    return path.read_text("ascii")


@asynccontextmanager
async def open_dispatching(
    settings: Settings, mail: Mail, listen: Listen, breaker: Breaker, metrics: NotificationMetrics
) -> AsyncIterator[Dependency]:
    """Deliver mails for the length of the context; yield what tells whether they get out.

    Raises errors.Unavailable if the database does not answer. Resend may be away.
    """
    async with open_mailer(settings, breaker) as mailer:
        # Another key or sender than before may be what was missing.
        await mail.store.resume()
        dispatcher = Dispatcher(
            mail.store,
            mail.renderer,
            mailer,
            listen,
            owner=f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}",
            random=random.Random(),  # noqa: S311 - spreads retries, guards nothing
            on_outcome=metrics.attempted,
        )
        async with delivering(dispatcher):
            yield _dependency(settings, mail.store, mailer)


@asynccontextmanager
async def open_mailer(settings: Settings, breaker: Breaker) -> AsyncIterator[Mailer]:
    """Open Resend if there is a key for it, and else the outbox folder."""
    if settings.resend_api_key is None:
        yield OutboxMailer(settings.data_dir / "outbox")
        return
    # Its import takes as long as many others together.
    from wingmanmatch_server.notification.resend_mailer import open_resend  # noqa: PLC0415

    async with open_resend(settings.resend_api_key.get_secret_value(), settings.resend_api_url, breaker) as mailer:
        yield mailer


def _dependency(settings: Settings, store: NotificationStore, mailer: Mailer) -> Dependency:
    async def ping() -> float:
        # Resend is not asked: every request counts against the mails.
        if mailer.away_for() > 0:
            raise errors.Unavailable("EMAIL_UNAVAILABLE", "Resend does not answer; mails wait")
        pause = await store.get_pause()
        if pause is not None and pause.reason != TIMED:
            message = f"Resend takes no mail ({pause.reason}: {pause.error}); mails wait until {pause.until_time}"
            raise errors.Unavailable("EMAIL_UNAVAILABLE", message)
        return 0.0

    by_resend = settings.resend_api_key is not None
    return Dependency("email", "mail goes out by Resend" if by_resend else "mail is written to the outbox folder", ping)
