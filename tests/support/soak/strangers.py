"""Processes that hang, connections that are cut, and strangers at the port."""

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack

import psutil

from support.http2 import RST_STREAM, connected
from support.soak.database_faults import CUT
from support.soak.fault import Episode, Fault
from support.soak.main_site import MainSite
from support.soak.site import DATABASE_CALLS, REDIS_CALLS

FROZEN_FOR = 8.0  # seconds: longer than anything waits
CUT_FOR, CUTS = 4.0, 8
ATTACKED_FOR = 5.0
PATH = "/wingmanmatch.matching.v1.MatchingService/GetProfile"
CANCEL = (8).to_bytes(4)


def _send(number: signal.Signals, pid: int) -> None:
    first = psutil.Process(pid)
    for process in (first, *first.children()):
        process.send_signal(number)


async def _frozen(pid: int) -> Episode:
    _send(signal.SIGSTOP, pid)
    try:
        await asyncio.sleep(FROZEN_FOR)
    finally:
        _send(signal.SIGCONT, pid)
    return Episode(time.monotonic())


async def postgres_frozen(site: MainSite) -> Episode:
    """PostgreSQL hangs, then goes on."""
    return await _frozen(site.needs.postgres.pid)


async def redis_frozen(site: MainSite) -> Episode:
    """Redis hangs, then goes on."""
    return await _frozen(await site.needs.redis.primary_pid())


async def connections_cut(site: MainSite) -> Episode:
    """Every connection to PostgreSQL is ended, each half second."""
    for _ in range(CUTS):
        await site.needs.postgres.execute(CUT)
        await asyncio.sleep(CUT_FOR / CUTS)
    return Episode(time.monotonic())


async def attacked(site: MainSite) -> Episode:
    """Strangers flood the port with calls that they take back or never end, and with bytes of no protocol."""
    end = time.monotonic() + ATTACKED_FOR
    while time.monotonic() < end:
        async with AsyncExitStack() as stack:
            for number in range(10):
                connection = await stack.enter_async_context(connected(site.first.served.grpc))
                for _ in range(100):
                    stream = connection.open(PATH, end=True)
                    if number % 2:
                        connection.send(RST_STREAM, 0, stream, CANCEL)
                connection.writer.write(os.urandom(1000) if number % 3 == 0 else b"")
            await asyncio.sleep(0.5)
    return Episode(time.monotonic())


FAULTS = (
    Fault("postgres-frozen", "bounded wait; 2 s", postgres_frozen, recovery=2, may_fail=DATABASE_CALLS),
    Fault("redis-frozen", "bounded wait; 2 s", redis_frozen, recovery=2, may_fail=REDIS_CALLS),
    Fault("connections-cut", "2 s", connections_cut, recovery=2, may_fail=DATABASE_CALLS, changes=CUTS * 2),
    Fault("attacked", "0 failed", attacked, changes=0),
)
