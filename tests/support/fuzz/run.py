"""A campaign from its start, or from where it stopped, to its end, and what did not hold."""

from collections.abc import Callable, Iterator
from pathlib import Path

from grpc_health.v1 import health_pb2

from support.credentials import KEY, bearer
from support.fuzz.campaign import DEFECTS, Campaign, Result
from support.fuzz.site import FuzzSite, fuzz_site
from support.requests import TIMEOUT, profile
from support.soak.watching import SERVICES, SERVING, samples
from support.stubs import open_stubs
from wingmanmatch.matching.v1 import matching_service_pb2

WARM = 5_000  # requests, or half of fewer, after which pools and caches are filled
PART = 5_000  # requests after which the state is saved
GROWTH = 40.0  # MB by which the server may have grown since it was warm
UNAVAILABLE = 0.005  # the largest part of requests that a busy machine may have kept from Redis


async def fuzz(
    folder: Path, result: Result, count: int, after_part: Callable[[float], object] = lambda _: None
) -> list[str]:
    """Send `count` requests in all, the first `result.count` of which are known to be sent; return what did not hold.

    `after_part` is called every PART requests with the server's memory, in MB.
    """
    async with fuzz_site(folder) as site:
        campaign = Campaign(site.address, result)
        await campaign.settle()
        await campaign.run(result.count + min(WARM, (count - result.count) // 2))
        warm = site.memory()
        for end in _ends(result.count, count):
            await campaign.run(end)
            after_part(site.memory())
        problems = [*result.problems, *_grown(warm, site.memory()), *await _unwell(site), *_frequent(result)]
    # The log is whole once the server has stopped.
    return [*problems, *(f"logged: {line}" for line in site.log.bad)]


def _ends(start: int, end: int) -> Iterator[int]:
    yield from range(start + PART, end, PART)
    yield end


def _grown(before: float, after: float) -> list[str]:
    return [f"memory went from {before:.0f} to {after:.0f} MB"] if after - before > GROWTH else []


def _frequent(result: Result) -> list[str]:
    unavailable = result.total()["UNAVAILABLE"]
    return [f"{unavailable} requests were UNAVAILABLE"] if unavailable > UNAVAILABLE * result.count else []


async def _unwell(site: FuzzSite) -> list[str]:
    """Return what says that the server is not as it was, by its own count of errors, its health, and a good request."""
    codes = await samples(site.served.metrics, "grpc_server_handled_total", "grpc_code")
    found = [f"the server counted {codes[code]} {code}" for code in DEFECTS if codes[code]]
    async with open_stubs(site.address) as client:
        for service in SERVICES:
            answer = await client.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            found += [] if answer.status == SERVING else [f"{service} is {answer.status}"]
        good = matching_service_pb2.UpsertProfileRequest(profile=profile())
        await client.matching.UpsertProfile(good, timeout=TIMEOUT, metadata=bearer(KEY))
    return found
