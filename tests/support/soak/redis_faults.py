"""Faults of Redis, under three servers."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from support.redis_troubles import Trouble, cannot_save, out_of_memory
from support.session_load import calling, create
from support.soak.fault import Check, Episode, Fault
from support.soak.main_site import ACCOUNT, MainSite
from support.soak.site import LIMIT, REDIS_CALLS
from support.timeline import Timeline
from wingmanmatch.session.v1 import session_service_pb2

REFUSES_FOR = 6.0  # seconds
DEMOTED_FOR = 4.0
FAR_FOR = 6.0
FAR, SLOW = 0.1, 0.06  # seconds that an answer is on its way
IMPATIENT_CALLERS, SHORTEST, LONGEST = 20, 0.02, 0.13


def refusing(trouble: Trouble) -> Callable[[MainSite], Awaitable[Episode]]:
    """Return the fault in which Redis takes no writes for this reason."""

    async def cause(site: MainSite) -> Episode:
        needs = site.needs
        async with trouble(needs.redis.first, site.folder / str(needs.redis.ports[0])):
            await asyncio.sleep(REFUSES_FOR)
            seen = all(not server.health.good for server in site.servers)
        return Episode(time.monotonic(), [Check("health reports it", seen)])

    return cause


async def far_away(site: MainSite) -> Episode:
    """Every answer of Redis takes long: too long for a decision on a limit."""
    address = site.needs.redis.address
    address.delay = FAR
    await asyncio.sleep(FAR_FOR)
    address.delay = 0.0
    return Episode(time.monotonic())


async def impatient(site: MainSite) -> Episode:
    """Callers of a slow Redis give up before it answers."""
    address, own, chance = site.needs.redis.address, Timeline(), random.Random(1)
    token = await create(site.first)
    read = session_service_pb2.GetSessionRequest(token=token)
    write = session_service_pb2.UpdateSessionRequest(token=token, data={"a": "b"})
    sessions = site.first.client.session

    async def give_up() -> None:
        for method, request in ((sessions.GetSession, read), (sessions.UpdateSession, write)):
            await own.call("impatient", method, request, chance.uniform(SHORTEST, LONGEST))

    address.delay = SLOW
    async with calling(*[give_up] * IMPATIENT_CALLERS):
        await asyncio.sleep(FAR_FOR)
    address.delay = 0.0
    gave_up = sum(call.code == "DEADLINE_EXCEEDED" for call in own.calls)
    return Episode(time.monotonic(), [Check(f"{gave_up} gave up", gave_up > 100)], own)


async def new_password(site: MainSite) -> Episode:
    """The servers' account gets another password, and every connection that was made with the old one is closed."""
    needs = site.needs
    servers = needs.redis.first, needs.redis.second
    for server in servers:
        await server.execute_command("ACL", "SETUSER", ACCOUNT, ">second")
    needs.redis_password.write_text("second\n")
    for server in servers:
        await server.execute_command("ACL", "SETUSER", ACCOUNT, "<first")
    await asyncio.sleep(1)
    for server in servers:
        await server.execute_command("CLIENT", "KILL", "USER", ACCOUNT)
    end = time.monotonic()
    await asyncio.sleep(1)
    made = sum(each["user"] == ACCOUNT for each in await needs.redis.first.client_list())
    return Episode(end, [Check(f"{made} connections made with it", made >= len(site.servers))])


async def failover(site: MainSite) -> Episode:
    """The replica becomes the primary; the address moves seconds later, connections stay."""
    pair = site.needs.redis
    await pair.swap()
    await asyncio.sleep(DEMOTED_FOR)
    pair.move_address()
    return Episode(time.monotonic())


FAULTS = (
    Fault(
        "redis-out-of-memory", "one change each way; 2 s",
        refusing(out_of_memory), recovery=2, may_fail=REDIS_CALLS,
    ),
    Fault("redis-misconf", "one change each way; 2 s", refusing(cannot_save), recovery=2, may_fail=REDIS_CALLS),
    Fault("redis-100-ms-away", "sessions: 0 failed", far_away, recovery=2, may_fail=frozenset({LIMIT})),
    Fault("impatient-callers", "the patient: 0 failed", impatient),
    Fault(
        "redis-new-password", "read from its file; what was under way fails",
        new_password, recovery=2, may_fail=REDIS_CALLS,
    ),
    Fault(
        "redis-one-address", "3 s after the address moved, at most two changes",
        failover, recovery=3, may_fail=REDIS_CALLS,
    ),
)  # fmt: skip
