"""Faults, one after the other, under callers that never stop, at the shipped values: `make soak`.

Real servers (`wingmanmatch serve`) on real engines. Prints a line for each fault: the calls of others meanwhile, how
many of them failed during the fault and after it, how many seconds after its end the last one failed, how often
circuit breakers and health changed in the server in which they changed most often, and whether the fault's bound was
kept. Ends with status 1 if

- a bound was missed, or calls failed outside faults,
- a call ended by INTERNAL or UNKNOWN, or during a fault by anything but UNAVAILABLE, DEADLINE_EXCEEDED,
  RESOURCE_EXHAUSTED or ABORTED,
- an acknowledged email was lost or went out twice,
- memory or open files did not come back, or a server did not stop with status 0,
- one of the histories (tests/soak/histories.py) that follow is violated.

SOAK_FAULTS=name,name causes those only, and SOAK_HISTORIES=20 is how many seeds of histories follow; 0 for none.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import histories

from support.soak.fault import HEAD, Fault, Result, play
from support.soak.groups import GROUPS, Group

HISTORIES = int(os.environ.get("SOAK_HISTORIES", "20"))
CHOSEN = frozenset(filter(None, os.environ.get("SOAK_FAULTS", "").split(",")))
GROWTH = 24  # MB by which a server may have grown between the first fault and the last
FILES = 40  # the same for files and sockets, of which pools keep a changing number


async def play_group(group: Group, folder: Path) -> tuple[list[Result], list[str]]:
    """Bring all chosen faults of a group to its site, and print what became of each; return that, and what broke."""
    faults, results, before = [fault for fault in group.faults if is_possible(fault)], [], None
    if not faults:
        return [], []
    async with group.open(folder) as site:
        for fault in faults:
            results.append(await play(fault, site))
            print(results[-1].row(), flush=True)
            before = before or site.held()  # pools and caches are filled by now
        assert before
        site.broken += grown(before, site.held())
    return results, site.broken


def is_possible(fault: Fault) -> bool:
    """Return whether a fault is chosen and can be caused here; say why if not."""
    if CHOSEN and fault.name not in CHOSEN:
        return False
    if reason := fault.missing():
        print(f"{fault.name:<22} skipped: {reason}", flush=True)
    return not reason


def grown(before: Sequence[tuple[float, int]], after: Sequence[tuple[float, int]]) -> list[str]:
    """Return which servers hold more than they did."""
    print(f"{'memory MB, open files':<22}  {pairs(before)} -> {pairs(after)}", flush=True)
    return [
        f"a server's memory and open files went from {then} to {now}"
        for then, now in zip(before, after, strict=True)
        if now[0] - then[0] > GROWTH or now[1] - then[1] > FILES
    ]


def pairs(held: Sequence[tuple[float, int]]) -> str:
    """Return what servers hold, for people."""
    return " ".join(f"{memory:.0f},{files}" for memory, files in held)


async def play_all() -> list[str]:
    """Cause all faults; return what did not hold."""
    problems = []
    print(f"{HEAD}  verdict", flush=True)
    for group in GROUPS:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            results, broken = await play_group(group, Path(folder))
        problems += [f"{each.fault.name}: {text}" for each in results for text in each.missed] + broken
    return problems


def check_names() -> None:
    """End the process if a fault is chosen that there is not."""
    known = [fault.name for group in GROUPS for fault in group.faults]
    if unknown := CHOSEN.difference(known):
        sys.exit(f"SOAK_FAULTS: {', '.join(sorted(unknown))} is not one of {', '.join(known)}")


async def main() -> int:
    """Soak; return the status to end with."""
    check_names()
    started = time.monotonic()
    problems = await play_all()
    print(f"faults: {time.monotonic() - started:.0f} s", flush=True)
    if HISTORIES and not await histories.main("one", range(1, HISTORIES + 1)):
        problems.append("a history is violated")
    print("\n".join(f"BROKEN  {each}" for each in problems) or "all held")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
