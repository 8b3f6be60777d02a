"""What a fault is, and what is measured while it lasts and after it."""

import asyncio
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from support.soak.site import REDIS_CALLS, Site
from support.timeline import Ended, Timeline, codes

CALM = 2.0  # seconds before each fault in which no call may fail
QUIET = 3.0  # seconds without a failed call after which a fault is over
LONGEST = 75.0  # seconds after its end for which calls may fail before the next fault comes: a breaker's 60 and more
HEALTHY_WITHIN = 15.0  # seconds after the last failed call; a server looks at its dependencies every five
CAUSED_WITHIN = 180.0  # seconds, with what is waited for
TEMPORARY = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"})
LIMITER = "rate_limiter"
NEVER = frozenset({"INTERNAL", "UNKNOWN"})


@dataclass(frozen=True)
class Check:
    """Something beside the calls that a fault is judged by, and whether it is as it must be."""

    text: str
    holds: bool


@dataclass
class Episode:
    """When a fault ended, on the clock of time.monotonic, what it showed, and the calls of its own callers."""

    end: float
    checks: list[Check] = field(default_factory=list)
    own: Timeline = field(default_factory=Timeline)


@dataclass(frozen=True)
class Fault:
    """A scenario. `may_fail` are the kinds of calls that may fail until `recovery` seconds after its end.

    `changes` is how often any breaker of a server may change. `missing` returns why the fault cannot be caused on this
    machine, if so.
    """

    name: str
    bound: str
    cause: Callable[[Any], Awaitable[Episode]]
    recovery: float = 0.0
    may_fail: frozenset[str] = frozenset()
    changes: int = 2
    missing: Callable[[], str] = str


@dataclass(frozen=True)
class Result:
    """What became of one fault."""

    fault: Fault
    calls: int
    during: Sequence[Ended]
    after: Sequence[Ended]
    recovered: float
    changes: Counter[str]
    flips: int
    checks: Sequence[Check]

    @property
    def missed(self) -> list[str]:
        """What is not as it must be."""
        failed = [*self.during, *self.after]
        kinds = sorted({call.kind for call in failed} - self.fault.may_fail)
        return [
            *(f"failed {kind}: {dict(codes(call for call in failed if call.kind == kind))}" for kind in kinds),
            *(f"ended {code}" for code in sorted({call.code for call in failed} - TEMPORARY)),
            *([f"last failure {self.recovered:.1f} s after"] if self.recovered > self.fault.recovery else []),
            *(f"{name} changed {count} times" for name, count in self._judged.items() if count > self.fault.changes),
            *(check.text for check in self.checks if not check.holds),
        ]

    @property
    def _judged(self) -> Counter[str]:
        """The changes that are the fault's doing.

        A decision on a limit has 35 ms, which a busy machine takes longer for by itself; so the limiter's breaker is
        judged where the fault is one of Redis.
        """
        ours = self.fault.may_fail & REDIS_CALLS
        return Counter({name: count for name, count in self.changes.items() if ours or name != LIMITER})

    def row(self) -> str:
        """Return its line of the table."""
        breakers = " ".join(f"{name}:{count}" for name, count in sorted(self.changes.items()) if count) or "-"
        said = "; ".join(check.text for check in self.checks)
        verdict = f"MISSED ({'; '.join(self.missed)})" if self.missed else "OK"
        return (
            f"{self.fault.name:<22}{self.calls:>7}{len(self.during):>8}{len(self.after):>7}{self.recovered:>8.1f}  "
            f"{breakers:<32}{self.flips:>5}  {verdict}  [{self.fault.bound}]" + (f"  {said}" if said else "")
        )


HEAD = f"{'fault':<22}{'calls':>7}{'during':>8}{'after':>7}{'back s':>8}  {'breaker changes':<32}{'flips':>5}"


async def play(fault: Fault, site: Site) -> Result:
    """Cause one fault and return what became of it, once it is over."""
    await asyncio.sleep(CALM)
    started, changes, flips = time.monotonic(), await site.changes(), site.flips()
    if early := site.failures(started - CALM, started):
        site.broken.append(f"before {fault.name} calls failed: {dict(codes(early))}")
    episode = await _cause(fault, site)
    checks = [*episode.checks, *await _settle(site, fault, episode)]
    during, after = site.failures(started, episode.end), site.failures(episode.end)
    return Result(
        fault,
        len(site.calls(started)),
        during,
        after,
        max((call.at - episode.end for call in after), default=0.0),
        most(await site.changes(), changes),
        max(most(site.flips(), flips).values(), default=0),
        checks,
    )


async def _cause(fault: Fault, site: Site) -> Episode:
    try:
        async with asyncio.timeout(CAUSED_WITHIN):
            return await fault.cause(site)
    except Exception as error:  # noqa: BLE001 one fault that cannot be caused does not keep the others from being
        traceback.print_exc()
        return Episode(time.monotonic(), [Check(f"broke off: {error!r}", holds=False)])


async def _settle(site: Site, fault: Fault, episode: Episode) -> list[Check]:
    """Wait until calls and health are as before; return what is not."""
    until = episode.end + LONGEST
    least = episode.end + fault.recovery + QUIET
    while time.monotonic() < least or (time.monotonic() < until and site.failures(time.monotonic() - QUIET)):
        await asyncio.sleep(0.1)
    healthy_by = time.monotonic() + HEALTHY_WITHIN
    while not all(server.health.good for server in site.servers) and time.monotonic() < healthy_by:
        await asyncio.sleep(0.1)
    broken = [f"{call.code} of {call.kind}" for call in episode.own.calls if call.code in NEVER]
    good = all(server.health.good for server in site.servers)
    return [Check(text, holds=False) for text in sorted(set(broken))] + (
        [] if good else [Check("health does not come back", holds=False)]
    )


def most(now: Sequence[Counter[str]], before: Sequence[Counter[str]]) -> Counter[str]:
    """Return how much each name has grown since `before` in the server in which it has grown most."""
    grown: Counter[str] = Counter()
    for each, earlier in zip(now, before, strict=True):
        grown |= each - earlier
    return grown
