"""What the world outside asks of mails by HTTP: the provider's events, and people who want fewer mails."""

from collections.abc import Awaitable, Callable
from html import escape

import structlog
from aiohttp import web

from wingmanmatch_server import errors
from wingmanmatch_server.links import LinkInvalid
from wingmanmatch_server.notification.store import NotificationStore
from wingmanmatch_server.notification.unsubscribe import UnsubscribeLinks
from wingmanmatch_server.notification.webhook import Webhooks

log = structlog.get_logger(__name__)

SIGNED = ("svix-id", "svix-timestamp", "svix-signature")
Handler = Callable[[web.Request], Awaitable[web.Response]]
# Links carry their proof in their path: no cache, no frame and no other site may get hold of it.
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
}
PAGE = """<!doctype html>
<html lang="en" dir="ltr">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --page: #f4f1ec; --card: #fff; --ink: #1f2933; --brand: #0f766e; --mark: #fff; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --page: #14181b; --card: #1e2428; --ink: #eef1f3; --brand: #5eead4; --mark: #14181b; }}
}}
body {{ margin: 0; padding: 2rem 1rem; background: var(--page); color: var(--ink); }}
body {{ font: 1rem/1.6 system-ui, sans-serif; }}
header, main {{ box-sizing: border-box; max-width: 34rem; margin: 0 auto; }}
header {{ padding: 0 2rem 1rem; color: var(--brand); font-size: 1.125rem; font-weight: 700; }}
header span {{ display: inline-block; width: 1.75rem; margin-right: .6rem; border-radius: .5rem; text-align: center; }}
header span {{ background: var(--brand); color: var(--mark); font-size: 1rem; line-height: 1.75rem; }}
main {{ padding: 2rem; border-top: 6px solid var(--brand); border-radius: 1rem; background: var(--card); }}
h1 {{ margin: 0 0 1rem; font-size: 1.6rem; line-height: 1.3; }}
p {{ margin: 0 0 1.5rem; }}
p:last-child, form {{ margin: 0; }}
button {{ min-height: 44px; padding: .75rem 1.75rem; border: 0; border-radius: .6rem; background: #0f766e; color: #fff;
  font: inherit; font-weight: 600; cursor: pointer; }}
button:focus-visible {{ outline: 3px solid var(--brand); outline-offset: 3px; }}
</style>
</head>
<body>
<header><span aria-hidden="true">W</span>WingmanMatch</header>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""
FORM = '<p>{text}</p><form method="post"><button>Turn these mails off</button></form>'
NAMES = {
    "MATCH_INVITATION": "invitations",
    "MATCH_ACCEPTANCE": "answers to your invitations",
    "MATCH_DECLINE": "answers to your invitations that are a no",
    "SESSION_REMINDER": "reminders of meet-ups",
    "MEETUP_SCHEDULED": "news of scheduled meet-ups",
    "MEETUP_MOVED": "news of moved meet-ups",
    "MEETUP_CANCELLED": "news of cancelled meet-ups",
    "DIGEST": "digests of mails that were held back",
}


def notification_routes(
    store: NotificationStore, webhooks: Webhooks | None, links: UnsubscribeLinks | None
) -> list[web.RouteDef]:
    """Return the routes there are: those of events with `webhooks`, those that turn mails off with `links`."""
    routes: list[web.RouteDef] = []
    if webhooks is not None:
        routes.append(web.post("/webhooks/resend", _take_event(store, webhooks)))
    if links is not None:
        routes.append(web.get("/unsubscribe/{token}", _ask(links), allow_head=True))
        routes.append(web.post("/unsubscribe/{token}", _unsubscribe(store, links)))
    return routes


def _take_event(store: NotificationStore, webhooks: Webhooks) -> Handler:
    """Answer 2xx once the event is committed; Resend repeats what is answered otherwise."""

    async def take(request: web.Request) -> web.Response:
        payload = await request.read()
        event_id, timestamp, signature = (request.headers.get(name, "") for name in SIGNED)
        try:
            event = webhooks.read(event_id, timestamp, signature, payload)
            await store.record_event(event)
        except errors.InvalidArgument:
            return web.Response(status=400)
        except errors.TRANSIENT:
            return web.Response(status=503, headers={"Retry-After": "5"})
        log.info("delivery_event", type=event.type if event.state else "other", notification_id=event.notification_id)
        return web.Response(status=204)

    return take


def _ask(links: UnsubscribeLinks) -> Handler:
    """Show a page with a button: programs that follow links must turn nothing off."""

    async def ask(request: web.Request) -> web.Response:
        try:
            _, kind = links.read(request.match_info["token"])
        except LinkInvalid:
            return _page("This link does not work", "<p>Please use the link of a newer mail.</p>", 404)
        return _page("Fewer mails?", FORM.format(text=escape(f"You will get no more {NAMES[kind]} by mail.")))

    return ask


def _unsubscribe(store: NotificationStore, links: UnsubscribeLinks) -> Handler:
    """Turn the mails off, for a person's click as for a mail program's (RFC 8058). Repeating it changes nothing."""

    async def unsubscribe(request: web.Request) -> web.Response:
        try:
            user_id, kind = links.read(request.match_info["token"])
            await store.unsubscribe(user_id, kind)
        except LinkInvalid:
            return _page("This link does not work", "<p>Please use the link of a newer mail.</p>", 404)
        except errors.TRANSIENT:
            return _page("Please try again in a minute", "<p>Nothing was changed yet.</p>", 503)
        return _page("Done", f"<p>{escape(f'You will get no more {NAMES[kind]} by mail.')}</p>")

    return unsubscribe


def _page(title: str, body: str, status: int = 200) -> web.Response:
    text = PAGE.format(title=title, body=body)
    return web.Response(text=text, content_type="text/html", status=status, headers=HEADERS)
