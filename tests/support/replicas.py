"""Two servers behind the real Envoy with the sample configuration, and callers that never try again by themselves."""

import asyncio
import signal
import urllib.request
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from prometheus_client.parser import text_string_to_metric_families

from support.envoy import free_ports, running_envoy
from support.served import INSTALLED, Served, start
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2, matching_service_pb2_grpc

CALLERS = 4
PACE = 0.02  # seconds between two calls of one caller


@dataclass
class Load:
    """What callers have seen."""

    done: int = 0
    failed: list[str] = field(default_factory=list)

    async def call_for_ever(self, stub: matching_service_pb2_grpc.MatchingServiceStub) -> None:
        """Write a profile and read it, again and again."""
        user_id = str(uuid.uuid4())
        profile = matching_pb2.Profile(
            user_id=user_id,
            email=f"{user_id}@example.org",
            first_name="Ada",
            experience_level=matching_pb2.EXPERIENCE_LEVEL_BEGINNER,
            confidence_archetype=matching_pb2.CONFIDENCE_ARCHETYPE_SCHOLAR,
            location={"latitude": 48.2, "longitude": 16.37},
        )
        while True:
            request_id = str(uuid.uuid4())
            write = matching_service_pb2.UpsertProfileRequest(profile=profile, request_id=request_id)
            read = matching_service_pb2.GetProfileRequest(user_id=user_id)
            for call, request in ((stub.UpsertProfile, write), (stub.GetProfile, read)):
                try:
                    await call(request, timeout=10)
                except grpc.aio.AioRpcError as error:
                    self.failed.append(f"{error.code().name}: {error.details()}")
                self.done += 1
                await asyncio.sleep(PACE)


@asynccontextmanager
async def loaded(port: int) -> AsyncIterator[Load]:
    """Yield the record of callers that call for the length of the context, and never try again by themselves."""
    load = Load()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_retries", 0)]) as channel:
        stub = matching_service_pb2_grpc.MatchingServiceStub(channel)
        callers = [asyncio.create_task(load.call_for_ever(stub)) for _ in range(CALLERS)]
        try:
            yield load
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)


class Replica:
    """A server on a port and a data folder of its own; `program` is another version's command."""

    def __init__(
        self, port: int, folder: Path, environment: Mapping[str, str], program: Sequence[str] = INSTALLED
    ) -> None:
        self._folder = folder
        self._program = program
        self._environment = {**environment, "GRPC_LISTEN": f"127.0.0.1:{port}"}
        self.served: Served | None = None

    async def start(self) -> None:
        """Start it and return once it answers."""
        with (self._folder / "said").open("a") as log:
            self.served = await asyncio.to_thread(
                start, self._folder, log=log, program=self._program, **self._environment
            )

    async def terminate(self) -> int:
        """Send SIGTERM and return the status with which it ends."""
        assert self.served
        self.served.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.served.process.communicate, timeout=60)
        return self.served.process.returncode

    async def gets_calls(self) -> None:
        """Wait until the load balancer sends it calls."""
        assert self.served
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(handled, self.served.metrics):
                await asyncio.sleep(0.1)

    def kill(self) -> None:
        """End it if it runs."""
        if self.served:
            self.served.process.kill()
            self.served.process.communicate()
            self.served = None


def handled(metrics: str, **labels: str) -> float:
    """Return how many calls a server has handled, of those with all of `labels`."""
    with urllib.request.urlopen(metrics, timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = (sample for family in families for sample in family.samples)
    handled = [sample for sample in samples if sample.name == "grpc_server_handled_total"]
    return sum(sample.value for sample in handled if labels.items() <= sample.labels.items())


@asynccontextmanager
async def two_replicas(dsn: str, redis_url: str, folder: Path, **more: str) -> AsyncIterator[tuple[list[Replica], int]]:
    """Yield two running replicas and the port of Envoy before them."""
    envoy, *ports = free_ports(3)
    settings = {"DATABASE_URL": dsn, "REDIS_URL": redis_url, "ENABLE_RATE_LIMITING": "false"}
    settings |= more
    replicas = []
    for port in ports:
        (folder / str(port)).mkdir()
        replicas.append(Replica(port, folder / str(port), settings))
    try:
        await asyncio.gather(*(replica.start() for replica in replicas))
        shipped = {10001: envoy, 50051: ports[0], 50052: ports[1]}
        async with running_envoy("load_balancer.yaml", shipped, envoy, folder):
            yield replicas, envoy
    finally:
        for replica in replicas:
            replica.kill()
