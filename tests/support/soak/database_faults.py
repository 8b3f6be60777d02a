"""Faults of PostgreSQL, under three servers."""

import asyncio
import time

from support.postgres_pair import PostgresServer, program, standby_of
from support.soak.fault import Check, Episode, Fault
from support.soak.main_site import ACCOUNT, MainSite
from support.soak.site import DATABASE_CALLS
from support.timeline import READ, WRITE, accepts_writes

UNAVAILABLE_FOR = 3.8  # seconds
DEMOTED_FOR = 3.6
READ_ONLY_FOR = 4.0
PROMOTE = "select pg_promote(wait => false)"
IN_STEP = "select count(*) from pg_stat_replication where replay_lsn >= pg_current_wal_lsn()"
CUT = f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{ACCOUNT}'"

MADE_SINCE = f"select count(*) from pg_stat_activity where usename = '{ACCOUNT}' and backend_start >"


def no_standby() -> str:
    """Return why there can be no standby here, if so."""
    return "" if program("pg_basebackup").exists() else "pg_basebackup is not installed"


async def restarted(site: MainSite) -> Episode:
    """PostgreSQL is stopped and started again."""
    postgres, stopped = site.needs.postgres, time.monotonic()
    await asyncio.to_thread(postgres.stop)
    await asyncio.sleep(UNAVAILABLE_FOR - (time.monotonic() - stopped))
    accepting = asyncio.create_task(accepts_writes(postgres.dsn))
    postgres.start()
    back = await accepting
    return Episode(back, [await site.emails_flow(back, 2)])


async def read_only(site: MainSite) -> Episode:
    """PostgreSQL refuses changes for a while, as where its disk fills up."""
    postgres = site.needs.postgres
    await postgres.make_read_only()
    await asyncio.sleep(READ_ONLY_FOR)
    seen = all(not server.health.good for server in site.servers)
    back = time.monotonic()
    await postgres.make_read_only(on=False)
    return Episode(back, [Check("health reports it", seen), await site.emails_flow(back, 3)])


async def failover(site: MainSite) -> Episode:
    """The primary is demoted and its standby promoted; the address moves seconds later, connections stay."""
    needs = site.needs
    old, new = needs.postgres, await site.stack.enter_async_context(standby_of(needs.postgres))
    await old.make_read_only()
    await _in_step(old)
    await new.execute(PROMOTE)
    await accepts_writes(new.dsn)
    await asyncio.sleep(DEMOTED_FOR)
    back, needs.address.target, needs.postgres = time.monotonic(), new.port, new
    return Episode(back, [await site.emails_flow(back, 3)])


async def _in_step(primary: PostgresServer) -> None:
    async with asyncio.timeout(20):
        while not await primary.fetch_value(IN_STEP):
            await asyncio.sleep(0.02)


async def new_password(site: MainSite) -> Episode:
    """The servers' account gets another password, and every connection that was made with the old one is closed."""
    needs = site.needs
    await needs.postgres.execute(f"alter role {ACCOUNT} password 'second'")
    needs.database_password.write_text("second\n")
    await asyncio.sleep(1)
    before = await needs.postgres.fetch_value("select clock_timestamp()::text")
    await needs.postgres.execute(CUT)
    end = time.monotonic()
    await asyncio.sleep(1)
    made = await needs.postgres.fetch_value(f"{MADE_SINCE} '{before}'")
    return Episode(end, [Check(f"{made} connections made with it", made >= len(site.servers))])


FAULTS = (
    Fault(
        "postgres-restarted", "all serve and emails flow 2 s after it takes writes",
        restarted, recovery=2, may_fail=DATABASE_CALLS,
    ),
    Fault("postgres-read-only", "writes alone fail; 3 s", read_only, recovery=3, may_fail=frozenset({WRITE})),
    Fault(
        "postgres-new-password", "read from its file; what was under way fails",
        new_password, recovery=2, may_fail=DATABASE_CALLS,
    ),
    Fault(
        "postgres-one-address", "writes alone fail, until 3 s after the address moved",
        failover, recovery=3, may_fail=frozenset({READ, WRITE}), missing=no_standby,
    ),
)  # fmt: skip
