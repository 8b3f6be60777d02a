"""Load and faults, in turns, before one real `wingmanmatch serve`: `make soak`, for 3 minutes or SOAK_SECONDS.

Prints a line for each phase, and ends with status 1 if one of these does not hold:

- outside faults every call is answered with OK;
- during faults calls end by UNAVAILABLE, DEADLINE_EXCEEDED or RESOURCE_EXHAUSTED and by nothing else;
- every acknowledged mail went out, and went out once;
- at the end memory and open files are what they were after the first minutes, and the server stops with status 0.
"""

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import grpc
import psutil

from support.crowd import HEAD, PATIENCE, Crowd, Record
from support.http2 import RST_STREAM, connected
from support.mail_load import MailLoad, assert_each_once, mail_load
from support.own_postgres import OwnPostgres
from support.resend_server import KEY, ResendServer, answer, drop, drop_after_accepting, resend_server, stall
from support.served import Served, start
from support.server import roomy_limits
from support.valkey import OwnValkey, own_valkey
from wingmanmatch.system.v1 import system_pb2, system_service_pb2

SECONDS = float(os.environ.get("SOAK_SECONDS", "180"))
CALLERS = 12
PATH = "/wingmanmatch.matching.v1.MatchingService/GetProfile"
CANCEL = (8).to_bytes(4)
GROWTH = 24  # MB by which the server may have grown between the first calm phase and the last
FILES = 40  # the same for files and sockets, of which pools keep a changing number
MB = 1 << 20


@dataclass
class Soak:
    """One server, all it depends on, and all who call it."""

    server: Served
    postgres: OwnPostgres
    valkey: OwnValkey
    resend: ResendServer
    crowd: Crowd
    load: MailLoad
    broken: list[str] = field(default_factory=list)

    async def phase(self, name: str, seconds: float, fault: Callable[[float], Awaitable[None]] | None = None) -> None:
        """Run one phase, print its line, and wait until the server is well again."""
        record = self.crowd.record = Record(name, calm=fault is None)
        await (fault(seconds) if fault else asyncio.sleep(seconds))
        memory, files = self.held()
        print(record.row(memory, files), flush=True)
        self.crowd.record = Record("recovery", calm=False)
        await self.well()
        await asyncio.sleep(0.5)  # for calls that began before
        self.broken += [*record.broken, *self.crowd.record.broken]

    def held(self) -> tuple[float, int]:
        """Return the server's memory in MB and its open files."""
        process = psutil.Process(self.server.process.pid)
        return process.memory_info().rss / MB, process.num_fds()

    async def well(self) -> None:
        """Wait until the server is healthy; close what is open, as an operator may once the cause is gone."""
        system = self.crowd.stubs.system
        async with asyncio.timeout(60):
            while True:
                report = await system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=PATIENCE)
                if report.status == system_pb2.SYSTEM_STATUS_HEALTHY:
                    return
                for breaker in report.circuit_breakers:
                    if breaker.state != system_pb2.CIRCUIT_BREAKER_STATE_CLOSED:
                        request = system_service_pb2.ResetCircuitBreakerRequest(name=breaker.name)
                        await system.ResetCircuitBreaker(request, timeout=PATIENCE)
                await asyncio.sleep(0.5)

    async def redis_killed(self, seconds: float) -> None:
        """Redis is killed and started again."""
        await asyncio.to_thread(self.valkey.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.valkey.start)

    async def redis_frozen(self, seconds: float) -> None:
        """Redis hangs, then goes on."""
        self.valkey.send(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self.valkey.send(signal.SIGCONT)

    async def database_restarted(self, seconds: float) -> None:
        """PostgreSQL stops in good order, and starts."""
        await asyncio.to_thread(self.postgres.stop)
        await asyncio.sleep(seconds)
        self.postgres.start()

    async def database_killed(self, seconds: float) -> None:
        """PostgreSQL is killed, and recovers."""
        await asyncio.to_thread(self.postgres.crash)
        await asyncio.sleep(seconds)
        self.postgres.start()

    async def database_frozen(self, seconds: float) -> None:
        """PostgreSQL hangs, then goes on."""
        self.postgres.send(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self.postgres.send(signal.SIGCONT)

    async def connections_cut(self, seconds: float) -> None:
        """Every connection to PostgreSQL is ended, each half second."""
        end, sql = time.monotonic() + seconds, await asyncpg.connect(self.postgres.dsn)
        cut = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'wingmanmatch'"
        while time.monotonic() < end:
            await sql.execute(cut)
            await asyncio.sleep(0.5)
        await sql.close()

    async def resend_failing(self, seconds: float) -> None:
        """Resend refuses, fails, drops and stalls, now and then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.resend.misbehave(answer(429, "rate_limit_exceeded", retry_after="0.2"), answer(500, "error"))
            self.resend.misbehave(drop, drop_after_accepting, stall)
            await asyncio.sleep(1)
        self.resend._behaviours.clear()

    async def attacked(self, seconds: float) -> None:
        """Others flood the port with calls that they take back or never end, and with bytes of no protocol."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            async with AsyncExitStack() as stack:
                for number in range(10):
                    connection = await stack.enter_async_context(connected(self.server.grpc))
                    for _ in range(100):
                        stream = connection.open(PATH, end=True)
                        if number % 2:
                            connection.send(RST_STREAM, 0, stream, CANCEL)
                    connection.writer.write(os.urandom(1000) if number % 3 == 0 else b"")
                await asyncio.sleep(0.5)


@asynccontextmanager
async def soaking(folder: Path) -> AsyncIterator[Soak]:
    """Start everything; in the end stop the server and note how it ended."""
    async with AsyncExitStack() as stack:
        postgres = OwnPostgres(folder / "postgres")
        postgres.start()
        stack.callback(postgres.stop)
        valkey = stack.enter_context(own_valkey(folder))
        resend = await stack.enter_async_context(resend_server())
        log = stack.enter_context((folder / "log").open("w"))
        settings = {
            "DATABASE_URL": postgres.dsn,
            "REDIS_URL": valkey.url,
            "REDIS_TIMEOUT": "1",
            "RESEND_API_KEY": KEY,
            "RESEND_API_URL": resend.url,
            "RATE_LIMITS_FILE": str(roomy_limits(folder)),
            "MAX_CONNECTION_AGE": "20",
            "DRAIN_DELAY": "1",
        }
        server = await asyncio.to_thread(start, folder / "server", log=log, **settings)
        stack.callback(server.process.kill)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.grpc))
        crowd = Crowd(channel)
        tasks = [asyncio.create_task(crowd.call_for_ever(random.Random(number))) for number in range(CALLERS)]
        async with mail_load(crowd.stubs.notification, callers=2) as load:
            soak = Soak(server, postgres, valkey, resend, crowd, load)
            yield soak
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(ended, asyncio.CancelledError):
                soak.broken.append(f"a caller ended: {ended!r}")
        await assert_each_once(load, postgres.dsn, resend.ledger)
        server.process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(server.process.wait, 60)
        if status:
            soak.broken.append(f"the server ended with status {status}")


async def main() -> list[str]:
    """Soak; return what did not hold."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        async with soaking(Path(folder)) as soak:
            faults = (
                soak.redis_killed,
                soak.redis_frozen,
                soak.connections_cut,
                soak.database_restarted,
                soak.database_killed,
                soak.database_frozen,
                soak.resend_failing,
                soak.attacked,
            )
            turn = SECONDS / (2 * len(faults) + 2)
            print(HEAD)
            await soak.phase("warm-up", turn, asyncio.sleep)
            await soak.phase("calm", turn)
            before = soak.held()
            for fault in faults:
                await soak.phase(fault.__name__.replace("_", " "), turn, fault)
                await soak.phase("calm", turn)
            after = soak.held()
            if after[0] - before[0] > GROWTH or after[1] - before[1] > FILES:
                soak.broken.append(f"memory and files went from {before} to {after}")
        print(f"mails: {len(soak.load.acknowledged)} acknowledged, {len(soak.resend.ledger)} out, each once")
        return soak.broken


if __name__ == "__main__":
    broken = asyncio.run(main())
    print("\n".join(f"BROKEN  {each}" for each in broken) or "all held")
    sys.exit(bool(broken))
