"""What the edge costs: the whole of it around an echo, beside the bare echo, in one run.

    python benchmarks/edge.py [--rounds 40]

Two servers on one processor, h2load (Debian: nghttp2-client) on another, 100 and 8 calls in flight. Machines are noisy,
so short bursts alternate between the two servers and the figure is the median of the rounds' ratios. Metadata and
deadline are as a real client's; `no deadline` shows what the default deadline adds.
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
from pathlib import Path
from typing import Any

import grpc
import uvloop
from prometheus_client import CollectorRegistry

from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch_server.bootstrap import make_interceptors
from wingmanmatch_server.interceptors.chain import service_handler
from wingmanmatch_server.interceptors.identity import Identity
from wingmanmatch_server.interceptors.peer import peer_address_behind
from wingmanmatch_server.telemetry.logs import AccessLog
from wingmanmatch_server.telemetry.metrics import RpcMetrics

SERVICE = matching_service_pb2.DESCRIPTOR.services_by_name["MatchingService"]
PATH = f"{SERVICE.full_name}/GetMatch"
ID = "7b2f0c5e-52a8-4d0b-9a53-8d6d9ef0a001"
BURST = 300  # calls, about 90 ms
SHAPES = {"100 in flight": (4, 25), "8 in flight": (4, 2)}


class Echo:
    """Answers with what was asked for."""

    async def get_match(self, request: Any, _call: Any) -> Any:
        return matching_service_pb2.GetMatchResponse(match=matching_pb2.Match(id=request.match_id))


def open_to_all() -> Identity:
    return Identity(None, None, peer_address_behind(()))


async def serve(kind: str) -> None:
    """Serve the echo until standard input ends; print the port."""
    server = grpc.aio.server()
    if kind == "bare":
        echo = grpc.unary_unary_rpc_method_handler(
            Echo().get_match,
            matching_service_pb2.GetMatchRequest.FromString,
            matching_service_pb2.GetMatchResponse.SerializeToString,
        )
        handler = grpc.method_handlers_generic_handler(SERVICE.full_name, {"GetMatch": echo})
    else:
        access_log = AccessLog("json", Path(os.devnull).open("wb"))
        edge = make_interceptors(RpcMetrics(CollectorRegistry()), access_log, open_to_all())
        handler = service_handler(SERVICE, Echo(), edge)
    server.add_generic_rpc_handlers((handler,))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


def start(kind: str) -> tuple[subprocess.Popen[str], int]:
    """Start a server of a kind on processor 0."""
    command = ["taskset", "-c", "0", sys.executable, __file__, "--serve", kind]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline())


def burst(port: int, body: Path, shape: tuple[int, int], headers: list[str]) -> float:
    """Return the calls a second of one burst; fail if one call did."""
    connections, streams = shape
    command = ["taskset", "-c", "1", "h2load", f"-n{BURST}", f"-c{connections}", f"-m{streams}", f"-d{body}"]
    for header in ("content-type: application/grpc", "te: trailers", *headers):
        command += ["-H", header]
    output = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/{PATH}"], capture_output=True, text=True, check=True
    ).stdout
    if f"{BURST} succeeded" not in output:
        raise SystemExit(output)
    return float(re.search(r"([\d.]+) req/s", output)[1])


def compare(ports: dict[str, int], body: Path, rounds: int, shape: tuple[int, int], headers: list[str]) -> str:
    """Return the median ratio of the edge's rate to the bare echo's, with its quartiles."""
    rates: dict[str, list[float]] = {kind: [] for kind in ports}
    for turn in range(rounds + 3):
        for kind in sorted(ports, reverse=turn % 2 == 0):
            rate = burst(ports[kind], body, shape, headers)
            if turn >= 3:  # the first rounds warm up
                rates[kind].append(rate)
    ratios = [edge / bare for edge, bare in zip(rates["edge"], rates["bare"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:5.2f}  ({low:.2f}-{high:.2f})  bare echo {statistics.median(rates['bare']):6.0f}/s"


def main() -> None:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--serve", choices=("bare", "edge"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options.serve))
        return
    if not shutil.which("h2load"):
        raise SystemExit("h2load is missing; on Debian: apt-get install nghttp2-client")
    servers = {kind: start(kind) for kind in ("bare", "edge")}
    ports = {kind: port for kind, (_, port) in servers.items()}
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "body"
        message = matching_service_pb2.GetMatchRequest(match_id=ID, user_id=ID).SerializeToString()
        body.write_bytes(struct.pack(">BI", 0, len(message)) + message)
        print("the edge, without Redis, against the bare echo: median ratio of rates (quartiles)")
        for name, shape in SHAPES.items():
            print(f"  {name:<28}{compare(ports, body, options.rounds, shape, ['grpc-timeout: 5S'])}")
        print(
            f"  {'100 in flight, no deadline':<28}{compare(ports, body, options.rounds, SHAPES['100 in flight'], [])}"
        )
    for process, _ in servers.values():
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    main()
