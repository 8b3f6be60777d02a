"""Joins what brings mails out."""

import os
import random
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wingmanmatch_server import errors
from wingmanmatch_server.bootstrap.background import delivering
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.notification.dispatcher import Dispatcher
from wingmanmatch_server.notification.mailer import Mailer, OutboxMailer
from wingmanmatch_server.notification.metrics import NotificationMetrics
from wingmanmatch_server.notification.render import Renderer, create_environment
from wingmanmatch_server.notification.store import NotificationStore
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system.dependencies import Dependency

TIMED = "THROTTLED"  # a pause that ends by itself and needs nobody


@asynccontextmanager
async def open_dispatching(
    settings: Settings, database: Database, breaker: Breaker, metrics: NotificationMetrics
) -> AsyncIterator[Dependency]:
    """Deliver mails for the length of the context; yield what tells whether they get out.

    Raises errors.Unavailable if the database does not answer. Resend may be away.
    """
    store = NotificationStore(database)
    async with open_mailer(settings, breaker) as mailer:
        # Another key or sender than before may be what was missing.
        await store.resume()
        async with delivering(make_dispatcher(settings, database, mailer, metrics)):
            yield _dependency(settings, store, mailer)


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


def make_dispatcher(settings: Settings, database: Database, mailer: Mailer, metrics: NotificationMetrics) -> Dispatcher:
    """Return what delivers the mails that the database holds."""
    return Dispatcher(
        NotificationStore(database),
        Renderer(create_environment(), sender=settings.mail_from, reply_to=settings.mail_reply_to),
        mailer,
        database.listen,
        owner=f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}",
        random=random.Random(),  # noqa: S311 - spreads retries, guards nothing
        on_outcome=metrics.attempted,
    )


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
