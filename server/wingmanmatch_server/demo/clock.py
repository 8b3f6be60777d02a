"""How days pass in a minute.

The server has no clock that anybody could turn: its rules ask the database for the time, and nothing in them is there
for the demo. So the demo does the reverse. It makes all that is stored of its own people so much older, and to the
rules that is the same as having waited. What was written down before, such as the date in a mail or a calendar entry,
stays as it was written; only the times that the API shows afterwards are older by what was skipped.

It does so as the owner of a server's own PostgreSQL, whose socket nobody else can open. A server on Supabase or another
database, as in production, has none: there time cannot be moved.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from wingmanmatch_server.demo.people import DemoFailed
from wingmanmatch_server.drivers.embedded_postgres import running_dsn
from wingmanmatch_server.drivers.postgres import AWAY

# Every table that says whose its rows are, with every time in it but the one that names a mail's file.
STATEMENTS = """
select format(
    'update public.%I set %s where %s',
    c.relname,
    string_agg(format('%1$I = %1$I - $1::interval', a.attname), ', ')
        filter (where a.atttypid = 'timestamptz'::regtype and a.attgenerated = ''),
    string_agg(format('%I = any ($2::uuid[])', a.attname), ' or ')
        filter (where a.attname in ('user_id', 'requester_id', 'invitee_id')))
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    and (c.relname, a.attname) <> ('notifications', 'create_time')
where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
group by c.relname
having bool_or(a.atttypid = 'timestamptz'::regtype and a.attgenerated = '')
    and bool_or(a.attname in ('user_id', 'requester_id', 'invitee_id'))
order by c.relname
"""


class Clock:
    """The time of a few people, ahead of everybody else's by what was skipped."""

    def __init__(self, connection: asyncpg.Connection, user_ids: Sequence[str]) -> None:
        """`connection` is the database owner's."""
        self._connection = connection
        self._user_ids = list(user_ids)
        self._skipped = timedelta()

    @property
    def skipped(self) -> timedelta:
        """How far these people's time is ahead of the server's."""
        return self._skipped

    @property
    def now(self) -> datetime:
        """The time of these people."""
        return datetime.now(UTC) + self._skipped

    async def forward_to(self, moment: datetime) -> None:
        """Let the time until `moment` have passed."""
        await self.forward(moment - self.now)

    async def forward(self, span: timedelta) -> None:
        """Let so much time have passed, in one transaction. Raises DemoFailed if nobody of these is here."""
        async with self._connection.transaction():
            changed = 0
            for (statement,) in await self._connection.fetch(STATEMENTS):
                done = await self._connection.execute(statement, span, self._user_ids)
                changed += int(done.split()[-1])
            # Who waits for what is due looks again.
            await self._connection.execute("select pg_notify('notifications', '')")
        if not changed:
            raise DemoFailed("the people are in another database; is DATA_DIR the server's?")
        self._skipped += span


@asynccontextmanager
async def open_clock(data_dir: Path, user_ids: Sequence[str]) -> AsyncIterator[Clock | None]:
    """Yield the clock of a server that runs its own PostgreSQL on `data_dir`, None where none does."""
    connection = await _connect(data_dir)
    if connection is None:
        yield None
        return
    try:
        yield Clock(connection, user_ids)
    finally:
        await connection.close()


async def _connect(data_dir: Path) -> asyncpg.Connection | None:
    dsn = running_dsn(data_dir)
    try:
        return await asyncpg.connect(dsn) if dsn else None
    except AWAY:
        # What a server left behind that was killed.
        return None
