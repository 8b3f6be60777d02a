"""Three servers on one PostgreSQL and one Redis, each behind an address, that send their emails by Resend."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from support.mail_load import MailLoad, assert_each_once, mail_load
from support.postgres_pair import DATABASE, PostgresServer, one_primary
from support.redis_pair import RedisPair, redis_pair
from support.resend_server import KEY, ResendServer, resend_server
from support.soak.fault import Check
from support.soak.site import Site
from support.tcp_proxy import TcpProxy, proxied

REPLICAS = 3
ACCOUNT = "service_account"  # of the servers, at PostgreSQL and at Redis
FIRST_PASSWORD = "first"
MAIL_PAUSE = 0.3  # seconds between two emails that one caller asks for
MAIL_LATEST = 70.0  # seconds beyond the bound after which nobody waits for an email


@dataclass
class Dependencies:
    """What the servers need, and what leads to it."""

    postgres: PostgresServer
    address: TcpProxy
    redis: RedisPair
    resend: ResendServer
    database_password: Path
    redis_password: Path

    @property
    def settings(self) -> dict[str, str]:
        """What the servers are told."""
        return {
            "DATABASE_URL": f"postgresql://{ACCOUNT}@127.0.0.1:{self.address.port}/{DATABASE}",
            "DATABASE_PASSWORD_FILE": str(self.database_password),
            "MIGRATE_ON_START": "false",
            "REDIS_URL": self.redis.url.replace("//", f"//{ACCOUNT}@"),
            "REDIS_PASSWORD_FILE": str(self.redis_password),
            "RESEND_API_KEY": KEY,
            "RESEND_API_URL": self.resend.url,
            "MAIL_FROM": "WingmanMatch <wingman@example.org>",
        }


@dataclass
class MainSite(Site):
    """The servers, what they depend on, and the callers of emails."""

    on: Dependencies | None = None
    load: MailLoad | None = None

    @property
    def needs(self) -> Dependencies:
        """What the servers depend on."""
        assert self.on
        return self.on

    async def emails_flow(self, since: float, within: float) -> Check:
        """Wait for an email that is acknowledged from now on to be out, and say how long after `since` that was."""
        assert self.load
        known, out = set(self.load.acknowledged.values()), False
        while not out and time.monotonic() < since + within + MAIL_LATEST:
            await asyncio.sleep(0.02)
            new = set(self.load.acknowledged.values()) - known
            out = any(each.notification_id in new for each in self.needs.resend.ledger[-200:])
        seconds = time.monotonic() - since
        return Check(f"emails {seconds:.1f} s after (at most {within:g})", seconds <= within)

    async def check_emails(self) -> None:
        """Note as broken if an acknowledged email is not out, or went out twice."""
        assert self.load
        try:
            await assert_each_once(self.load, self.needs.postgres.dsn, self.needs.resend.ledger)
        except (AssertionError, TimeoutError) as error:
            self.broken.append(f"emails are lost, doubled or late: {type(error).__name__} {str(error)[:200]}")
        print(f"{'emails':<22}{len(self.load.acknowledged)} acknowledged, {len(self.needs.resend.ledger)} out")


async def _account_in_postgres(server: PostgresServer) -> None:
    rules = server.folder / "pg_hba.conf"
    rules.write_text(f"host all {ACCOUNT} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    create = f"create role {ACCOUNT} login password '{FIRST_PASSWORD}' in role service_role, anon"
    await server.execute(create, "select pg_reload_conf()")


async def _account_in_redis(pair: RedisPair) -> None:
    for server in (pair.first, pair.second):
        await server.execute_command("ACL", "SETUSER", ACCOUNT, "on", f">{FIRST_PASSWORD}", "~*", "&*", "+@all")


@asynccontextmanager
async def main_site(folder: Path) -> AsyncIterator[MainSite]:
    """Yield the servers under load; stop them in the end, and then what they depend on."""
    async with AsyncExitStack() as stack:
        site = MainSite(stack, folder)
        postgres = await stack.enter_async_context(one_primary())
        address = await stack.enter_async_context(proxied(postgres.port))
        redis = await stack.enter_async_context(redis_pair(folder, appendonly="yes"))
        resend = await stack.enter_async_context(resend_server())
        await _account_in_postgres(postgres)
        await _account_in_redis(redis)
        files = folder / "database-password", folder / "redis-password"
        for file in files:
            file.write_text(f"{FIRST_PASSWORD}\n")
        site.on = Dependencies(postgres, address, redis, resend, *files)
        await site.start(REPLICAS, **site.on.settings)
        stubs = [server.client.notification for server in site.servers]
        try:
            async with mail_load(*stubs, callers=REPLICAS, pause=MAIL_PAUSE) as site.load:
                yield site
        except TimeoutError:
            site.broken.append("emails that were asked for were not acknowledged in a minute")
        await site.check_emails()
