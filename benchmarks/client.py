"""What a call by the client costs beside one by a bare stub, in one run: by asyncio and without, one and many at once.

    python benchmarks/client.py [--calls 2000] [--callers 16]

The server, a process of its own, answers at once. The kinds take turns, round by round, so that whatever else the
machine does meets them all. "options" is a bare stub on a channel with the client's service config and keepalive.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from wingmanmatch.matching.v1 import matching_service_pb2, matching_service_pb2_grpc
from wingmanmatch_client import connect, connect_sync
from wingmanmatch_client.connection import channel_options
from wingmanmatch_server.system.health import Health

ADA = str(uuid.uuid4())
Round = Callable[[], Awaitable[object]]


async def serve() -> None:
    """Answer RequestMatch at once, on a port that is printed, until killed."""

    class Handlers(grpc.GenericRpcHandler):
        def service(self, _details: grpc.HandlerCallDetails) -> Any:
            async def answer(_request: bytes, _context: Any) -> bytes:
                return b""

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Health(["readiness"]).handler(), Handlers()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


def request() -> matching_service_pb2.RequestMatchRequest:
    """Return what every kind sends."""
    return matching_service_pb2.RequestMatchRequest(user_id=ADA, radius_miles=10, request_id=str(uuid.uuid4()))


async def measure(kinds: dict[str, Round], rounds: int, callers: int) -> dict[str, list[float]]:
    """Return the microseconds a call of each round, by kind; the first tenth warms up."""
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(rounds + rounds // 10):
        for kind, call in kinds.items():
            started = time.perf_counter()
            await call()
            if turn >= rounds // 10:
                times[kind].append((time.perf_counter() - started) * 1e6 / callers)
    return times


def report(times: dict[str, list[float]], callers: int) -> None:
    """Print one row a kind, beside the bare stub of the same turns."""
    bare = next(iter(times.values()))
    for kind, found in times.items():
        ratio = statistics.median(one / other for one, other in zip(found, bare, strict=True))
        print(
            f"  {callers:>3} at once  {kind:<24} p50 {statistics.median(found):7.1f} us   {ratio:5.2f} x bare",
            flush=True,
        )


async def by_asyncio(target: str, calls: int, callers: int) -> None:
    """Measure the asynchronous face."""
    async with (
        grpc.aio.insecure_channel(target) as bare,
        grpc.aio.insecure_channel(target, options=channel_options()) as tuned,
        connect(target) as client,
    ):

        def stub(channel: grpc.aio.Channel) -> Round:
            call = matching_service_pb2_grpc.MatchingServiceStub(channel).RequestMatch
            return lambda: asyncio.gather(*(call(request(), timeout=10) for _ in range(callers)))

        kinds: dict[str, Round] = {
            "async stub": stub(bare),
            "async stub, options": stub(tuned),
            "async client": lambda: asyncio.gather(
                *(client.matching.request_match(user_id=ADA, radius_miles=10) for _ in range(callers))
            ),
        }
        report(await measure(kinds, calls // callers, callers), callers)


async def without(target: str, calls: int, callers: int) -> None:
    """Measure the synchronous face, each caller a thread."""
    with (
        grpc.insecure_channel(target) as bare,
        grpc.insecure_channel(target, options=channel_options()) as tuned,
        connect_sync(target) as client,
        ThreadPoolExecutor(callers) as pool,
    ):

        def threads(call: Callable[[], object]) -> Round:
            async def run() -> None:
                for done in [pool.submit(call) for _ in range(callers)]:
                    done.result()

            return run

        plain = matching_service_pb2_grpc.MatchingServiceStub(bare).RequestMatch
        optioned = matching_service_pb2_grpc.MatchingServiceStub(tuned).RequestMatch
        kinds = {
            "sync stub": threads(lambda: plain(request(), timeout=10)),
            "sync stub, options": threads(lambda: optioned(request(), timeout=10)),
            "sync client": threads(lambda: client.matching.request_match(user_id=ADA, radius_miles=10)),
        }
        report(await measure(kinds, calls // callers, callers), callers)


def main() -> None:
    """Run one caller, then many, against a server of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        target = f"127.0.0.1:{server.stdout.readline().strip()}"
        for callers in (1, options.callers):
            asyncio.run(by_asyncio(target, options.calls, callers))
            asyncio.run(without(target, options.calls, callers))
        server.kill()


if __name__ == "__main__":
    main()
