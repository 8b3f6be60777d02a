"""Rate limits: what they cost, and whether they hold, beside other ways of doing it, in one run.

    python benchmarks/rate_limit.py [--rounds 20]

Servers on one processor, h2load (Debian: nghttp2-client) and Valkey on another. Machines are noisy, so short bursts
alternate between the servers and a figure is the median of the rounds' ratios. The package `limits` takes part if it is
installed. Ways compared for one RPC that is limited once:

    echo       the bare echo, no edge and no limit
    open       the whole edge, without a limit
    ours       the whole edge, with the limit
    naive      the bare echo with a limiter of three calls to Redis: read, count, write
    limits     the bare echo with the package `limits`, moving window
"""

import argparse
import asyncio
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import redis.asyncio as redis
import uvloop
from prometheus_client import CollectorRegistry

from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch.ratelimit.v1 import rate_limit_pb2, rate_limit_service_pb2
from wingmanmatch_server.bootstrap import make_interceptors
from wingmanmatch_server.bootstrap.breakers import REDIS_LIMITS
from wingmanmatch_server.bootstrap.rate_limits import open_rate_limits
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.redis import open_redis
from wingmanmatch_server.interceptors.chain import service_handler
from wingmanmatch_server.interceptors.identity import Identity
from wingmanmatch_server.interceptors.peer import peer_address_behind
from wingmanmatch_server.interceptors.throttle import Throttle
from wingmanmatch_server.ratelimit.limiter import Limiter
from wingmanmatch_server.ratelimit.service import RateLimitService
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.telemetry.logs import AccessLog
from wingmanmatch_server.telemetry.metrics import RpcMetrics

try:
    import limits as limits_package
except ImportError:
    limits_package = None

MATCHING = matching_service_pb2.DESCRIPTOR.services_by_name["MatchingService"]
RATE_LIMIT = rate_limit_service_pb2.DESCRIPTOR.services_by_name["RateLimitService"]
ID = "7b2f0c5e-52a8-4d0b-9a53-8d6d9ef0a001"
ROOMY = "[policies.public_api]\ncapacity = 1_000_000_000\nrefill_per_second = 1000\n"
PATHS = {"match": f"{MATCHING.full_name}/GetMatch", "check": f"{RATE_LIMIT.full_name}/CheckRateLimit"}
PATHS["stream"] = f"{RATE_LIMIT.full_name}/StreamCheckRateLimit"
KINDS = ("echo", "open", "ours", "naive", *(("limits",) if limits_package else ()))
BURST_SECONDS = 0.4
WARM_UP = 3
Spend = Callable[[str], Awaitable[bool]]


def naive(client: "redis.Redis", capacity: int) -> Spend:
    """Return a limiter as they are often written: it reads, decides, and writes what it decided."""

    async def spend(subject: str) -> bool:
        now = time.time()
        stored = await client.hgetall(f"naive:{subject}")
        tokens = min(capacity, float(stored.get(b"tokens", capacity)) + now - float(stored.get(b"at", now)))
        await client.hset(f"naive:{subject}", mapping={"tokens": max(tokens - 1, tokens % 1), "at": now})
        await client.expire(f"naive:{subject}", 3600)
        return tokens >= 1

    return spend


def pooled(url: str) -> "redis.Redis":
    """Return redis-py's client with as many connections as ours."""
    return redis.Redis.from_pool(redis.BlockingConnectionPool.from_url(url, max_connections=20, timeout=10))


def by_package(url: str, capacity: int) -> Spend:
    """Return the moving window of the package `limits`."""
    from limits.aio.storage import RedisStorage  # noqa: PLC0415 - an optional package
    from limits.aio.strategies import MovingWindowRateLimiter  # noqa: PLC0415

    storage = RedisStorage(f"async+redis+{url}", implementation="redispy", max_connections=300)
    limiter = MovingWindowRateLimiter(storage)
    item = limits_package.RateLimitItemPerMinute(capacity, 100)

    async def spend(subject: str) -> bool:
        return await limiter.hit(item, subject)

    return spend


async def open_ours(stack: AsyncExitStack, url: str, policies: str) -> Limiter:
    """Return our limiter as the server composes it."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    (folder / "limits.toml").write_text(policies)
    settings = Settings(_env_file=None, rate_limits_file=folder / "limits.toml")
    server = await stack.enter_async_context(open_redis(url))
    breaker = Breaker("redis", REDIS_LIMITS, time.monotonic)
    limiter = await stack.enter_async_context(open_rate_limits(settings, server, breaker, CollectorRegistry()))
    await server.ping()
    return limiter


class Echo:
    """Answers with what was asked for."""

    def __init__(self, spend: Spend | None = None) -> None:
        self._spend = spend

    async def get_match(self, request: Any, _call: Any) -> Any:
        if self._spend:
            await self._spend(request.user_id)
        return matching_service_pb2.GetMatchResponse(match=matching_pb2.Match(id=request.match_id))


def bare_handler(echo: Echo) -> grpc.GenericRpcHandler:
    """Return the echo without an edge."""
    request, response = matching_service_pb2.GetMatchRequest, matching_service_pb2.GetMatchResponse
    method = grpc.unary_unary_rpc_method_handler(echo.get_match, request.FromString, response.SerializeToString)
    return grpc.method_handlers_generic_handler(MATCHING.full_name, {"GetMatch": method})


async def handlers(kind: str, url: str, stack: AsyncExitStack) -> list[grpc.GenericRpcHandler]:
    """Return what a kind of server serves."""
    if kind == "naive":
        return [bare_handler(Echo(naive(pooled(url), 10**9)))]
    if kind == "limits":
        return [bare_handler(Echo(by_package(url, 100_000)))]
    if kind == "echo":
        return [bare_handler(Echo())]
    limiter = await open_ours(stack, url, ROOMY)
    throttle = Throttle(limiter if kind == "ours" else None, peer_address_behind(()))
    identity = Identity(None, None, peer_address_behind(()))
    access_log = AccessLog("json", Path(os.devnull).open("wb"))
    edge = make_interceptors(RpcMetrics(CollectorRegistry()), access_log, identity, throttle)
    return [service_handler(MATCHING, Echo(), edge), service_handler(RATE_LIMIT, RateLimitService(limiter), edge)]


async def serve(kind: str, url: str) -> None:
    """Serve until standard input ends; print the port."""
    async with AsyncExitStack() as stack:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(tuple(await handlers(kind, url, stack)))
        print(server.add_insecure_port("127.0.0.1:0"), flush=True)
        await server.start()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await server.stop(0)


def start(kind: str, url: str) -> tuple["subprocess.Popen[str]", int]:
    """Start a server of a kind on processor 0."""
    command = ["taskset", "-c", "0", sys.executable, __file__, "--serve", kind, "--redis", url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline())


class Load:
    """One kind of request to one server; `weight` decisions a request."""

    def __init__(self, port: int, path: str, messages: list[Any], folder: Path, weight: int = 1) -> None:
        self.weight = weight
        self._url = f"http://127.0.0.1:{port}/{PATHS[path]}"
        self._body = folder / uuid.uuid4().hex
        frames = [message.SerializeToString() for message in messages]
        self._body.write_bytes(b"".join(struct.pack(">BI", 0, len(frame)) + frame for frame in frames))
        self._requests = 100

    def burst(self, in_flight: int) -> float:
        """Return the decisions a second of one burst of about BURST_SECONDS; fail if one call did."""
        command = ["taskset", "-c", "1", "h2load", f"-n{self._requests}", "-c4", f"-m{in_flight // 4}"]
        for header in ("content-type: application/grpc", "te: trailers", "grpc-timeout: 5S"):
            command += ["-H", header]
        command += [f"-d{self._body}", self._url]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if f" {self._requests} succeeded" not in output:
            raise SystemExit(output)
        rate = float(re.search(r"([\d.]+) req/s", output)[1])
        self._requests = max(int(rate * BURST_SECONDS), in_flight)
        return rate * self.weight


def compare(loads: dict[str, Load], in_flight: int, rounds: int) -> dict[str, list[float]]:
    """Return the decisions a second of each load in each round, the loads taking turns."""
    rates: dict[str, list[float]] = {name: [] for name in loads}
    for turn in range(rounds + WARM_UP):
        for name in sorted(loads, reverse=turn % 2 == 0):
            rate = loads[name].burst(in_flight)
            if turn >= WARM_UP:
                rates[name].append(rate)
    return rates


def show(title: str, rates: dict[str, list[float]], base: str) -> None:
    """Print each load's rate and its ratio to the base's."""
    print(title)
    for name, found in rates.items():
        ratios = [rate / other for rate, other in zip(found, rates[base], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"  {name:<12}{statistics.median(found):>10.0f}/s  {middle:6.2f} x {base}  ({low:.2f}-{high:.2f})",
            flush=True,
        )


def checks(count: int) -> Any:
    """Return a check of so many buckets."""
    descriptors = [rate_limit_pb2.RateLimitDescriptor(policy="public_api", subject=f"u{n}") for n in range(count)]
    return rate_limit_service_pb2.CheckRateLimitRequest(descriptors=descriptors)


def speed(url: str, rounds: int, folder: Path) -> None:
    """Print the tables of speed."""
    servers = {kind: start(kind, url) for kind in KINDS}
    ports = {kind: port for kind, (_, port) in servers.items()}
    match = [matching_service_pb2.GetMatchRequest(match_id=ID, user_id=ID)]
    for in_flight in (100, 8):
        loads = {kind: Load(ports[kind], "match", match, folder) for kind in KINDS}
        show(f"one limited RPC, {in_flight} in flight", compare(loads, in_flight, rounds), "open")
    stream = [rate_limit_service_pb2.StreamCheckRateLimitRequest(check=checks(1))] * 50
    loads = {"echo": Load(ports["echo"], "match", match, folder)}
    for count in (1, 50, 200, 500):
        loads[f"batch {count}"] = Load(ports["ours"], "check", [checks(count)], folder, count)
    loads["stream of 50"] = Load(ports["ours"], "stream", stream, folder, 50)
    show("decisions by RateLimitService, 40 in flight", compare(loads, 40, rounds), "echo")
    for process, _ in servers.values():
        process.stdin.close()
        process.wait()


async def exactness(url: str) -> None:
    """Print how many of 200 concurrent callers a bucket of 100 lets through, at worst of twenty times."""
    async with AsyncExitStack() as stack:
        ours = await open_ours(stack, url, "[policies.public_api]\nrefill_per_second = 0.000001\n")

        async def spend(subject: str) -> bool:
            return (await ours.decide([ours.resolve("public_api", subject, 1, "")])).allowed

        ways: dict[str, Spend] = {"ours": spend, "naive": naive(pooled(url), 100)}
        if limits_package:
            ways["limits"] = by_package(url, 100)
        print("admitted of 200 callers at once by a bucket of 100, worst of 20")
        for name, way in ways.items():
            worst = 100
            for _ in range(20):
                subject = uuid.uuid4().hex
                admitted = sum(await asyncio.gather(*(way(subject) for _ in range(200))))
                worst = max(worst, admitted, key=lambda count: abs(count - 100))
            print(f"  {name:<12}{worst:>6}")
        client = redis.Redis.from_url(url)
        key = ours.resolve("public_api", "memory", 1, "").key
        await spend("memory")
        print(f"memory of a bucket: {await client.memory_usage(key)} bytes")
        await client.aclose()


def main() -> None:
    """Run everything and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--serve", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--redis", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options.serve, options.redis))
        return
    if not shutil.which("h2load"):
        raise SystemExit("h2load is missing; on Debian: apt-get install nghttp2-client")
    with tempfile.TemporaryDirectory() as folder, EmbeddedEngines(Path(folder) / "data", postgres=False) as engines:
        engines.wait()
        os.sched_setaffinity(engines.pids["Valkey"], {1})
        asyncio.run(exactness(engines.redis_url))
        speed(engines.redis_url, options.rounds, Path(folder))


if __name__ == "__main__":
    main()
