"""Histories of calls under faults, against sequential models: one run for each seed, one line for each run.

    python tests/soak/histories.py                  20 seeds on one Redis and PostgreSQL
    python tests/soak/histories.py --seed 7         one seed again
    python tests/soak/histories.py --redis sentinel what a failover loses; also `cluster`

On one Redis the log is synced before each answer with every other seed: then nothing excuses a loss. With the others
it is synced as the embedded one's is, and what a kill loses is counted.

A line says how many operations ended how (`unknown`: nobody knows whether they took effect), how many acknowledged
changes Redis lost in a crash, and the verdict. After a violation follow the faults of the run and, for each key, the
operations that can have no order. Ends with status 1 if a run is violated or undecided.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from support.history.areas import Result
from support.history.failover import run_failover
from support.history.faults import ALWAYS, EVERYSEC
from support.history.redundant_redis import cluster_with_replica, watched_pair
from support.history.run import run

SEEDS = 20
BEHIND = 0.5  # seconds for which a replica has heard nothing when its primary is killed


async def run_one(redis: str, seed: int, folder: Path) -> Result:
    """Run one seed on a kind of Redis."""
    if redis == "one":
        return await run(seed, folder, fsync=ALWAYS if seed % 2 else EVERYSEC)
    replicated = {"sentinel": watched_pair, "cluster": cluster_with_replica}[redis]
    return await run_failover(seed, folder, replicated(folder), behind=BEHIND)


async def main(redis: str, seeds: range) -> bool:
    """Run all seeds; return whether all hold."""
    hold = True
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="histories-") as folder:
            result = await run_one(redis, seed, Path(folder))
        print(result.line(), flush=True)
        if not result.report.holds:
            print("\n".join(["faults:", *result.faults, "", result.report.text(), ""]), flush=True)
        hold = hold and result.report.holds
    return hold


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Check histories of calls under faults against sequential models.")
    parser.add_argument("--redis", choices=("one", "sentinel", "cluster"), default="one", help="what Redis runs as")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many seeds to run, from 1 on")
    parser.add_argument("--seed", type=int, help="the one seed to run")
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    chosen = range(given.seed, given.seed + 1) if given.seed is not None else range(1, given.seeds + 1)
    sys.exit(not asyncio.run(main(given.redis, chosen)))
