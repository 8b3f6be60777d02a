"""A process that dispatches until it kills itself with a mail in its hands.

Run as a program: `DSN (render|deliver|delivered)`, the point at which it dies. What it delivers it writes to its
standard output first, one line of JSON a mail.
"""

import asyncio
import os
import random
import signal
import sys
from dataclasses import asdict
from typing import Any, Never

import orjson

from wingmanmatch_server.drivers.postgres import open_postgres
from wingmanmatch_server.notification.dispatcher import Dispatcher
from wingmanmatch_server.notification.mailer import Delivery, OutgoingMail
from wingmanmatch_server.notification.render import Mail, Renderer, create_environment
from wingmanmatch_server.notification.store import NotificationStore


def die() -> Never:
    """End the process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class DyingRenderer(Renderer):
    """Dies with a rendered mail that nobody has stored."""

    def render(self, *args: Any, **parameters: Any) -> Mail:
        """Render, and die."""
        super().render(*args, **parameters)
        die()


class DyingMailer:
    """Dies before a mail is out, or after."""

    def __init__(self, point: str) -> None:
        """Die at `point`."""
        self._point = point

    async def deliver(self, mail: OutgoingMail) -> Delivery:
        """Deliver to standard output unless death comes first."""
        if self._point == "delivered":
            sys.stdout.buffer.write(orjson.dumps(asdict(mail)) + b"\n")
            sys.stdout.flush()
        die()

    def away_for(self) -> float:
        """Be there."""
        return 0.0


async def main(dsn: str, point: str) -> None:
    """Dispatch on `dsn` until death."""
    create_renderer = DyingRenderer if point == "render" else Renderer
    renderer = create_renderer(create_environment(), sender="WingmanMatch <hello@notify.example.org>")
    async with open_postgres(dsn) as database:
        store = NotificationStore(database)
        mailer = DyingMailer(point)
        await Dispatcher(store, renderer, mailer, database.listen, owner="doomed", random=random.Random(1)).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
