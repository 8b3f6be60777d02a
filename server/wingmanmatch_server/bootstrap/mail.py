"""Joins what brings mails out, and what asks for them."""

import os
import random
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tenacity import AsyncRetrying, retry_if_exception_type, wait_fixed

from wingmanmatch_server import errors
from wingmanmatch_server.bootstrap.area import Area
from wingmanmatch_server.bootstrap.background import background, delivering
from wingmanmatch_server.bootstrap.core import Core
from wingmanmatch_server.bootstrap.signing import signing_secrets
from wingmanmatch_server.housekeeping import repeat
from wingmanmatch_server.notification.dispatcher import Dispatcher
from wingmanmatch_server.notification.http import notification_routes
from wingmanmatch_server.notification.mailer import Mailer, OutboxMailer
from wingmanmatch_server.notification.metrics import NotificationMetrics
from wingmanmatch_server.notification.render import FIELDS, Renderer, create_environment
from wingmanmatch_server.notification.service import NotificationService
from wingmanmatch_server.notification.store import NotificationStore
from wingmanmatch_server.notification.unsubscribe import UnsubscribeLinks
from wingmanmatch_server.notification.webhook import Webhooks
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system.dependencies import Dependency

PURGE_INTERVAL = 600.0  # seconds
RESUME_INTERVAL = 1.0  # seconds
TIMED = "THROTTLED"  # a pause that ends by itself and needs nobody


@asynccontextmanager
async def open_notifications(core: Core) -> AsyncIterator[Area]:
    """Make what serves notifications, and deliver mails for the length of the context.

    Raises OSError if the data folder can keep no secret, and errors.Unavailable if the database does not answer. Resend
    may be away.
    """
    settings, store, links = core.settings, NotificationStore(core.database), make_unsubscribe_links(core.settings)
    renderer = make_renderer(settings, links)
    webhooks = Webhooks(settings.webhook_secrets) if settings.webhook_secrets else None
    service = NotificationService(
        store,
        renderer,
        core.time_zones,
        core.pages,
        limiter=core.charged,
        webhooks=webhooks,
        queue_limit=settings.mail_queue_limit,
    )
    async with (
        open_mailer(settings, core.breakers["email"]) as mailer,
        _dispatching(core, store, renderer, mailer),
        background(repeat("purge_delivery_events", store.purge_events, interval=PURGE_INTERVAL)),
        background(repeat("purge_address_charges", store.purge_charges, interval=PURGE_INTERVAL)),
    ):
        yield Area(
            services={"wingmanmatch.notification.v1.NotificationService": service},
            dependencies=[_dependency(settings, store, mailer)],
            routes=notification_routes(store, webhooks, links),
        )


def make_unsubscribe_links(settings: Settings) -> UnsubscribeLinks | None:
    """Return the links that turn mails off; None without an address at which people reach the server."""
    if settings.public_url is None:
        return None
    return UnsubscribeLinks(settings.public_url, signing_secrets(settings), list(FIELDS))


def make_renderer(settings: Settings, links: UnsubscribeLinks | None) -> Renderer:
    """Return what makes mails of rows."""
    return Renderer(
        create_environment(),
        sender=settings.mail_from,
        app_url=settings.app_url,
        reply_to=settings.mail_reply_to,
        unsubscribe_url=links.url if links else None,
    )


@asynccontextmanager
async def _dispatching(core: Core, store: NotificationStore, renderer: Renderer, mailer: Mailer) -> AsyncIterator[None]:
    metrics = NotificationMetrics(core.registry)
    dispatcher = Dispatcher(
        store,
        renderer,
        mailer,
        core.database.listen,
        owner=f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}",
        random=random.Random(),  # noqa: S311 - spreads retries, guards nothing
        on_outcome=metrics.attempted,
        on_held=metrics.held,
    )
    async with background(_resume_deliveries(store)), delivering(dispatcher):
        yield


async def _resume_deliveries(store: NotificationStore) -> None:
    """End a pause, since another key or sender may be what was missing; wait for a database that takes changes."""
    await AsyncRetrying(retry=retry_if_exception_type(errors.TRANSIENT), wait=wait_fixed(RESUME_INTERVAL))(store.resume)


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
            until = pause.until_time.isoformat()
            message = f"Resend takes no mail ({pause.reason}: {pause.error}); mails wait until {until}"
            raise errors.Unavailable("EMAIL_UNAVAILABLE", message)
        return 0.0

    by_resend = settings.resend_api_key is not None
    return Dependency("email", "mail goes out by Resend" if by_resend else "mail is written to the outbox folder", ping)
