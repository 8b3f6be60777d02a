"""What Chat costs beside Anthropic's bare SDK, both against one Claude of the test's own, in one run.

    python benchmarks/coaching.py [--answers 120] [--deltas 150] [--callers 1 8]

Starts engines, a server, and a Claude that answers at once, each in a process of its own. Bare and Chat take turns,
answer by answer, so that whatever else the machine does meets both. An answer is a sentence every ten deltas; the first
delta is one by itself, since Chat lets whole sentences pass. Processor time is that of the process in which the SDK
runs: this one for the bare SDK, the server's for Chat.
"""

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import anthropic
import grpc
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.claude_server import Says, serving_claude
from wingmanmatch.coaching.v1 import coaching_service_pb2, coaching_service_pb2_grpc
from wingmanmatch_server.coaching.claude import request_of
from wingmanmatch_server.coaching.history import Conversation
from wingmanmatch_server.coaching.prompts import Prompts
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migrations import migrate

MODEL = "claude-sonnet-5-5"
MESSAGE = "How do I begin a talk at a market?"
BUDGET = 5_000_000  # tokens a day: no answer of the run is refused
WARM_UP = 8
Answer = Callable[[], Awaitable[float]]  # returns the seconds until the first text


async def serve_claude(deltas: int) -> None:
    """Answer every request with so many deltas until this process is ended; print where."""
    async with serving_claude() as claude:
        words = (" and so on." if number % 10 == 9 else " word" for number in range(deltas - 1))
        claude.default = Says(["Begin with a greeting. ", *words], cut=1 << 20)
        print(claude.url, flush=True)
        while True:
            await asyncio.sleep(60)
            claude.script()


@contextmanager
def running(*command: str, log: Path, says: str, **environment: str) -> Iterator[tuple[int, str]]:
    """Run a program and yield its process id and what stands in its output in place of `says`."""
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, *command], env=os.environ | environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout
        said = ""
        while not (found := re.search(says, said)):
            line = process.stdout.readline()
            assert line, log.read_text()
            said += line
        try:
            yield process.pid, found[1]
        finally:
            process.terminate()


def processor_seconds(pid: int) -> float:
    """Return the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bare(client: anthropic.AsyncAnthropic) -> Answer:
    """Return what reads one answer by the SDK alone, with the request that the server would send."""
    now = datetime.now(UTC)
    prompt = Prompts().chat(Conversation("c", "u", now, now, now), None, MESSAGE, 1024, now=now, minor=False)
    request = request_of(prompt, MODEL)

    async def answer() -> float:
        started, first = time.perf_counter(), 0.0
        async with client.messages.stream(**request) as stream:
            async for event in stream:
                if event.type == "content_block_delta" and not first:
                    first = time.perf_counter() - started
        return first

    return answer


def chat(stub: coaching_service_pb2_grpc.CoachingServiceStub) -> Answer:
    """Return what reads one answer by Chat; each is somebody else's first."""

    async def answer() -> float:
        request = coaching_service_pb2.ChatRequest(user_id=str(uuid.uuid4()), message=MESSAGE)
        started, first = time.perf_counter(), 0.0
        async for response in stub.Chat(request):  # noqa: B007 - the last one is looked at
            first = first or time.perf_counter() - started
        assert response.done.remembered
        return first

    return answer


class Figures:
    """What one kind has taken: milliseconds to the first text, seconds in all, and seconds of processor time."""

    def __init__(self, answer: Answer, pid: int) -> None:
        self.answer = answer
        self.pid = pid
        self.first: list[float] = []
        self.whole = 0.0
        self.processor = 0.0

    async def turn(self, callers: int) -> None:
        """Read as many answers at once."""
        used, started = processor_seconds(self.pid), time.perf_counter()
        self.first += [1000 * each for each in await asyncio.gather(*(self.answer() for _ in range(callers)))]
        self.whole += time.perf_counter() - started
        self.processor += processor_seconds(self.pid) - used


async def measure(kinds: dict[str, tuple[Answer, int]], answers: int, callers: int, deltas: int) -> None:
    """Read answers by turns and print one row a kind."""
    for _ in range(WARM_UP):
        for answer, _ in kinds.values():
            await answer()
    figures = {kind: Figures(*each) for kind, each in kinds.items()}
    for _ in range(answers // callers):
        for each in figures.values():
            await each.turn(callers)
    limit = figures["bare SDK"]
    for kind, each in figures.items():
        first, count = statistics.median(each.first), len(each.first)
        print(
            f"  {callers:>3} at once  {kind:<9} first text p50 {first:7.2f} ms"
            f" ({first - statistics.median(limit.first):+6.2f})   {count * deltas / each.whole:8.0f} deltas/s"
            f" ({limit.whole / each.whole:4.2f} x)   processor {1000 * each.processor / count:6.1f} ms an answer"
            f" ({each.processor / limit.processor:4.2f} x)",
            flush=True,
        )


async def bench(claude: str, server: tuple[int, str], options: argparse.Namespace) -> None:
    """Measure for each number of callers."""
    async with (
        anthropic.AsyncAnthropic(api_key="sk-ant-bench", base_url=claude, max_retries=0) as client,
        grpc.aio.insecure_channel(server[1]) as channel,
    ):
        stub = coaching_service_pb2_grpc.CoachingServiceStub(channel)
        kinds = {"bare SDK": (bare(client), os.getpid()), "Chat": (chat(stub), server[0])}
        for callers in options.callers:
            await measure(kinds, options.answers, callers, options.deltas)


def main() -> None:
    """Run once for each number of callers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--answers", type=int, default=120)
    parser.add_argument("--deltas", type=int, default=150)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--claude", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.claude:
        asyncio.run(serve_claude(options.deltas))
    with tempfile.TemporaryDirectory() as name, EmbeddedEngines(Path(name) / "engines") as engines:
        engines.wait()
        asyncio.run(migrate(engines.postgres_dsn, read_migrations(), baseline=True))
        folder, own = Path(name), (__file__, "--claude", "--deltas", str(options.deltas))
        with running(*own, log=folder / "claude.log", says=r"(http\S+)") as (_, claude):
            environment = {
                "ANTHROPIC_API_KEY": "sk-ant-bench",
                "ANTHROPIC_BASE_URL": claude,
                "COACHING_DAILY_TOKENS": str(BUDGET),
                "DATABASE_URL": engines.postgres_dsn,
                "REDIS_URL": engines.redis_url,
                "DATA_DIR": str(folder / "server"),
                "GRPC_LISTEN": "127.0.0.1:0",
                "HTTP_LISTEN": "127.0.0.1:0",
                "ADMIN_LISTEN": "127.0.0.1:0",
            }
            serve = ("-m", "wingmanmatch_server", "serve")
            with (
                running(*serve, log=folder / "server.log", says=r"gRPC +(\S+)", **environment) as server,
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            ):
                runner.run(bench(claude, server, options))


if __name__ == "__main__":
    main()
