"""A process that dispatches mails to Resend, and ends or stops itself at a point of a mail's way if told to.

Run as a program: `DSN URL [--die POINT | --stop POINT] [--without-key]`. It says on its standard output "ready", the
point at which it stops, and the state that each recorded attempt reached.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from support.resend_server import KEY
from wingmanmatch_server.bootstrap.breakers import EMAIL_LIMITS
from wingmanmatch_server.drivers.postgres import open_postgres
from wingmanmatch_server.notification.dispatcher import Dispatcher
from wingmanmatch_server.notification.mailer import Delivery, OutgoingMail
from wingmanmatch_server.notification.render import Mail, Renderer, create_environment
from wingmanmatch_server.notification.resend_mailer import ResendMailer, open_resend
from wingmanmatch_server.notification.store import NotificationStore
from wingmanmatch_server.resilience.breaker import Breaker

# In the order in which a mail passes them.
POINTS = ("claimed", "rendered", "cleared", "delivered", "recorded")
Reach = Callable[[str], None]


def say(line: str) -> None:
    """Tell the parent."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Points:
    """Where the process ends or stops, once."""

    def __init__(self, die_at: str | None, stop_at: str | None) -> None:
        """Name the points."""
        self._signals = {die_at: signal.SIGKILL, stop_at: signal.SIGSTOP}

    def reached(self, point: str) -> None:
        """End or stop here if this is the point."""
        number = self._signals.pop(point, None)
        if number is not None:
            say(point)
            os.kill(os.getpid(), number)


class Store(NotificationStore):
    """The store, with points around what it does."""

    points: Points

    async def claim(self, *args: Any, **named: Any) -> Any:
        """Claim, and pass a point with a mail in hand."""
        claim = await super().claim(*args, **named)
        if claim.notifications:
            self.points.reached("claimed")
        return claim

    async def begin_delivery(self, *args: Any, **named: Any) -> Any:
        """Commit, and pass a point before the first byte leaves."""
        clearance = await super().begin_delivery(*args, **named)
        self.points.reached("cleared")
        return clearance

    async def finish(self, *args: Any, **named: Any) -> str | None:
        """Pass a point with the answer in hand, record it, and pass another."""
        self.points.reached("delivered")
        state = await super().finish(*args, **named)
        say(str(state))
        self.points.reached("recorded")
        return state


class PointRenderer(Renderer):
    """The renderer, with a point after its work."""

    points: Points

    def render(self, *args: Any, **named: Any) -> Mail:
        """Render, and pass a point with a mail that nobody has stored."""
        mail = super().render(*args, **named)
        self.points.reached("rendered")
        return mail


class WithoutKey:
    """Gives every attempt a key of its own, as if there were none: what must make duplicates."""

    def __init__(self, mailer: ResendMailer) -> None:
        """Wrap the mailer."""
        self._mailer = mailer
        self.away_for = mailer.away_for

    async def deliver(self, mail: OutgoingMail) -> Delivery:
        """Deliver under a new key."""
        return await self._mailer.deliver(replace(mail, idempotency_key=str(uuid.uuid4())))


async def dispatch(options: argparse.Namespace) -> None:
    """Dispatch until the end comes."""
    points = Points(options.die, options.stop)
    renderer = PointRenderer(create_environment(), sender="WingmanMatch <hello@notify.example.org>")
    renderer.points = points
    breaker = Breaker("email", EMAIL_LIMITS, asyncio.get_running_loop().time)
    async with (
        open_postgres(options.dsn, max_connections=8) as database,
        open_resend(KEY, options.url, breaker) as mailer,
    ):
        store = Store(database)
        store.points = points
        dispatcher = Dispatcher(
            store,
            renderer,
            WithoutKey(mailer) if options.without_key else mailer,
            database.listen,
            owner=str(uuid.uuid4()),
            random=random.Random(1),
        )
        say("ready")
        await dispatcher.run()


class Process:
    """The program, running."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Keep the process."""
        self.process = process

    async def said(self) -> str:
        """Return the next line; empty once it has ended."""
        assert self.process.stdout
        return (await self.process.stdout.readline()).decode().strip()

    async def kill(self) -> None:
        """End it at once."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()


@asynccontextmanager
async def dispatcher_process(dsn: str, url: str, *options: str) -> AsyncIterator[Process]:
    """Run the program; yield it once it dispatches, and kill it in the end."""
    process = Process(
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "support.dispatcher_process", dsn, url, *options),
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[1],
        )
    )
    try:
        assert await process.said() == "ready"
        yield process
    finally:
        await process.kill()


def main() -> None:
    """Read the command line and dispatch."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dsn")
    parser.add_argument("url")
    parser.add_argument("--die", choices=POINTS)
    parser.add_argument("--stop", choices=POINTS)
    parser.add_argument("--without-key", action="store_true")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    asyncio.run(dispatch(parser.parse_args()))


if __name__ == "__main__":
    main()
