"""What a server reports of itself while faults happen: health, circuit breakers, memory and open files."""

import asyncio
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import psutil
from grpc_health.v1 import health_pb2
from prometheus_client.parser import text_string_to_metric_families

from support.stubs import Stubs

SERVICES = ("wingmanmatch.matching.v1.MatchingService", "wingmanmatch.session.v1.SessionService")
SERVING = health_pb2.HealthCheckResponse.SERVING
CHANGES, DROPPED_LINES = "wingmanmatch_circuit_changes_total", "wingmanmatch_log_lines_dropped_total"
MB = 1 << 20


@dataclass
class Health:
    """The statuses that each service had, one after the other, as the stream of the health service reports them."""

    seen: dict[str, list[int]] = field(default_factory=lambda: {service: [] for service in SERVICES})

    @property
    def good(self) -> bool:
        """Whether every service serves."""
        return all(statuses and statuses[-1] == SERVING for statuses in self.seen.values())

    @property
    def flips(self) -> Counter[str]:
        """How often each service changed."""
        return Counter({service: max(len(statuses) - 1, 0) for service, statuses in self.seen.items()})


async def _follow(client: Stubs, service: str, statuses: list[int]) -> None:
    while True:
        try:
            async for answer in client.health.Watch(health_pb2.HealthCheckRequest(service=service)):
                if not statuses or statuses[-1] != answer.status:
                    statuses.append(answer.status)
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.2)


@asynccontextmanager
async def watching_health(client: Stubs) -> AsyncIterator[Health]:
    """Yield the health of a server, kept up to date for the length of the context."""
    health = Health()
    tasks = [asyncio.create_task(_follow(client, service, statuses)) for service, statuses in health.seen.items()]
    try:
        yield health
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def samples(metrics: str, name: str, label: str = "") -> Counter[str]:
    """Return the values of a metric, summed by one of its labels. Raises OSError if the server does not answer."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(await asyncio.to_thread(_read, metrics)):
        for sample in family.samples:
            if sample.name == name:
                found[sample.labels.get(label, "")] += int(sample.value)
    return found


def _read(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return str(answer.read().decode())


def held(pid: int) -> tuple[float, int]:
    """Return the memory of a process in MB and how many files it has open."""
    process = psutil.Process(pid)
    return process.memory_info().rss / MB, process.num_fds()
