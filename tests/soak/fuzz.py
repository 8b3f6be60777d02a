"""Requests spoiled in every way, to every RPC of a real server, as whoever may call.

    python tests/soak/fuzz.py                      a million requests of seed 1, or the rest of them
    python tests/soak/fuzz.py --requests 200000    fewer
    python tests/soak/fuzz.py --seed 7             others
    python tests/soak/fuzz.py --from 41000 --requests 42000    these again, on a new server

Prints how many requests each method was sent and how they ended. Where it has got to is in build/fuzz-SEED.json:
started again, it goes on there; once all are sent the file is removed. Ends with status 1 if a call ended with INTERNAL
or UNKNOWN, hung, or failed without a reason; if the server logged an error; if it holds more memory than it did, is not
healthy, or does not stop with status 0.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from support.fuzz.campaign import Result
from support.fuzz.run import fuzz

REQUESTS = 1_000_000
BUILD = Path(__file__).parents[2] / "build"


def state_of(seed: int) -> Path:
    """Return the file that says where the requests of a seed have got to."""
    BUILD.mkdir(exist_ok=True)
    return BUILD / f"fuzz-{seed}.json"


def begun(seed: int, start: int | None) -> Result:
    """Return what is known of the requests of a seed, or nothing from a start that was asked for."""
    if start is not None:
        return Result(seed, start)
    try:
        return Result.load(state_of(seed))
    except FileNotFoundError:
        return Result(seed)


async def main(seed: int, count: int, start: int | None = None) -> bool:
    """Send the requests; return whether all held."""
    result, started = begun(seed, start), time.monotonic()
    file, first = state_of(seed), result.count

    def part_done(memory: float) -> None:
        rate = (result.count - first) / (time.monotonic() - started)
        problems = len(result.problems)
        print(f"fuzz: {result.count} of {count}, {rate:.0f}/s, {memory:.0f} MB, {problems} problems", flush=True)
        if start is None:
            result.save(file)

    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        problems = await fuzz(Path(folder), result, count, part_done)
    print(result.table())
    print("\n".join(f"BROKEN  {each}" for each in problems) or "all held")
    if start is None:
        file.unlink(missing_ok=True)
    return not problems


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Send spoiled requests to every RPC of a real server.")
    parser.add_argument("--seed", type=int, default=1, help="what the requests are made of")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="the number of the request to stop before")
    parser.add_argument("--from", type=int, dest="start", help="the number of the request to begin with")
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    sys.exit(not asyncio.run(main(given.seed, given.requests, given.start)))
