"""The faults of a run: what they are, and when a seed has them happen."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import redis

from support.history.losses import CRASH
from support.history.operations import Operation, Outcome
from support.history.recorder import Recorder
from support.history.wire import Wire
from support.own_postgres import OwnPostgres
from support.valkey import OwnValkey
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

EVERYSEC, ALWAYS = "everysec", "always"
# For how many seconds before a kill each way to sync the log may lose what was acknowledged. While an fsync in the
# background is late, `everysec` keeps what it should write in memory: for two seconds, by a clock of whole ones.
LOSSY_WINDOWS = {EVERYSEC: 3.0, ALWAYS: 0.0}
CUT = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'wingmanmatch'"


class HistoryPostgres(OwnPostgres):
    """A PostgreSQL whose start keeps nobody else waiting: callers run on the same loop."""

    async def start_again(self) -> None:
        """Start it and return once it answers."""
        self._engines = EmbeddedEngines(self._folder, valkey=False)
        self._engines.start()
        while not all(engine.poll() for engine in self._engines._engines):
            await asyncio.sleep(0.01)
        self.dsn = self._engines.postgres_dsn


class HistoryValkey(OwnValkey):
    """A Valkey with a log that is synced `"everysec"`, as the embedded one's, or `"always"`, before each answer."""

    def __init__(self, folder: Path, fsync: str) -> None:
        super().__init__(folder)
        self._fsync = fsync

    def start(self) -> None:
        """Start the server and return once it answers."""
        super().start()
        with redis.Redis(unix_socket_path=str(socket_of(self))) as client:
            client.config_set("appendfsync", self._fsync)


@contextmanager
def own_valkey(folder: Path, fsync: str) -> Iterator[HistoryValkey]:
    """Yield a started Valkey, and kill it in the end."""
    valkey = HistoryValkey(folder, fsync)
    valkey.start()
    try:
        yield valkey
    finally:
        valkey.kill()


@asynccontextmanager
async def own_postgres(folder: Path) -> AsyncIterator[HistoryPostgres]:
    """Yield a started PostgreSQL, and stop it in the end."""
    postgres = HistoryPostgres(folder / "postgres")
    await postgres.start_again()
    try:
        yield postgres
    finally:
        postgres.stop()


class Faults:
    """What can happen to a server's dependencies and connections; each fault ends what it began."""

    def __init__(
        self, postgres: HistoryPostgres, valkey: OwnValkey, redis_wire: Wire, client_wire: Wire, recorder: Recorder
    ) -> None:
        self.crashes: list[Operation] = []
        self.happened: list[str] = []
        self._postgres = postgres
        self._valkey = valkey
        self._redis_wire = redis_wire
        self._client_wire = client_wire
        self._recorder = recorder

    async def play(self, source: random.Random, seconds: float) -> None:
        """Have every fault happen once within so many seconds: the source decides their order, times and lengths."""
        faults = [
            self.redis_killed,
            self.redis_frozen,
            self.redis_answers_lost,
            self.callers_cut_off,
            self.database_cut_off,
            source.choice((self.database_restarted, self.database_killed)),
            self.database_frozen,
        ]
        source.shuffle(faults)
        for fault in faults:
            share = seconds / len(faults)
            await self._happen(fault, length=source.uniform(0.2, 0.5) * share)
            await asyncio.sleep(source.uniform(0.3, 0.5) * share)

    async def _happen(self, fault: Callable[[float], Awaitable[None]], length: float) -> None:
        began = self._recorder.now()
        await fault(length)
        self.happened.append(f"{began:7.3f} to {self._recorder.now():7.3f}  {fault.__name__.replace('_', ' ')}")

    async def redis_killed(self, seconds: float) -> None:
        """Valkey is killed, and started again on what it had written."""
        start = self._recorder.now()
        await asyncio.to_thread(self._valkey.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self._valkey.start)
        self.crashes.append(Operation(0, "", CRASH, start, self._recorder.now(), Outcome.OK))

    async def redis_frozen(self, seconds: float) -> None:
        """Valkey hangs, then goes on."""
        self._valkey.send(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._valkey.send(signal.SIGCONT)

    async def redis_answers_lost(self, seconds: float) -> None:
        """What Valkey does is done, but nobody is told; then the connections break."""
        self._redis_wire.answers_lost = True
        await asyncio.sleep(min(seconds, 0.3))
        self._redis_wire.answers_lost = False
        self._redis_wire.cut()

    async def callers_cut_off(self, seconds: float) -> None:
        """The connections between callers and server break, time and again."""
        for _ in range(4):
            self._client_wire.cut()
            await asyncio.sleep(seconds / 4)

    async def database_cut_off(self, seconds: float) -> None:
        """Every connection to PostgreSQL is ended, twice."""
        sql = await asyncpg.connect(self._postgres.dsn)
        try:
            for _ in range(2):
                await sql.execute(CUT)
                await asyncio.sleep(seconds / 2)
        finally:
            await sql.close()

    async def database_restarted(self, seconds: float) -> None:
        """PostgreSQL stops in good order, and starts."""
        await asyncio.to_thread(self._postgres.stop)
        await asyncio.sleep(seconds)
        await self._postgres.start_again()

    async def database_killed(self, seconds: float) -> None:
        """PostgreSQL is killed, and recovers."""
        await asyncio.to_thread(self._postgres.crash)
        await asyncio.sleep(seconds)
        await self._postgres.start_again()

    async def database_frozen(self, seconds: float) -> None:
        """PostgreSQL hangs, then goes on."""
        self._postgres.send(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._postgres.send(signal.SIGCONT)


def socket_of(valkey: OwnValkey) -> Path:
    """Return where a Valkey listens."""
    return Path(valkey.url.removeprefix("unix://"))
