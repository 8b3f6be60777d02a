"""What a test attacks: a server that asks for credentials, at the shipped limits, and its Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from redis.asyncio import Redis

from support.any_method import begin
from support.credentials import ADMIN_ENTRY, ADMIN_KEY, ENTRY, SETTINGS, bearer
from support.edge import Failure
from support.limiters import Served, serving_limits
from support.protos import methods
from wingmanmatch.ratelimit.v1 import rate_limit_pb2, rate_limit_service_pb2
from wingmanmatch_server.identity.api_keys import create_key

METHODS = {method.full_name.removeprefix("wingmanmatch."): method for method in methods()}
SLOW_KEY, SLOW_ENTRY = create_key("slow", ["*"], "s" * 43)
PROXY = "127.0.0.1"  # as which the tests call
TIMEOUT = 10
LIMITS = """
[policies.search]
capacity = 5
refill_per_second = 0.01
"""


class Target:
    """The server under attack, and its Redis."""

    def __init__(self, served: Served, redis: Redis) -> None:
        self.served = served
        self.redis = redis
        self.channel = served.channel
        self.limits = served.client.rate_limit
        self.addresses = 0

    async def buckets(self) -> set[str]:
        """Return the keys of all buckets that are not full."""
        return {key.decode() async for key in self.redis.scan_iter("rl:*")}

    async def call(self, method: str, user_id: str, credential: str | None, *headers: tuple[str, str]) -> str:
        """Call an RPC about a user; return the reason it failed with, empty if it did not."""
        try:
            await begin(self.channel, METHODS[method], user_id, credential, headers)
        except grpc.aio.AioRpcError as error:
            return Failure(error).reason
        return ""

    async def calls(self, count: int, method: str, user_id: str, credential: str | None) -> list[str]:
        """Call an RPC so many times at once; return the reasons."""
        return await asyncio.gather(*(self.call(method, user_id, credential) for _ in range(count)))

    async def guess(self, *headers: tuple[str, str]) -> str:
        """Try a wrong key; return the reason."""
        return await self.call("system.v1.SystemService.GetStatus", "", "wmk_wrong", *headers)

    async def left(self, policy: str, subject: str, credential: str = ADMIN_KEY) -> int:
        """Return the tokens left in a bucket, as the holder of a credential sees it."""
        asked = rate_limit_pb2.RateLimitDescriptor(policy=policy, subject=subject)
        request: Any = rate_limit_service_pb2.PeekRateLimitRequest(descriptors=[asked])
        answer = await self.limits.PeekRateLimit(request, metadata=bearer(credential), timeout=TIMEOUT)
        return int(answer.results[0].remaining)


@asynccontextmanager
async def serving_target(dsn: str, redis_url: str, folder: Path) -> AsyncIterator[Target]:
    """Serve behind a trusted proxy on this machine, with keys, users' tokens, and one policy of a caller's own."""
    file = folder / "limits.toml"
    file.write_text(LIMITS)
    keys = ",".join((ENTRY.line(), ADMIN_ENTRY.line(), f"{SLOW_ENTRY.line()}:5"))
    settings = SETTINGS | {"api_keys": keys, "rate_limits_file": file, "trusted_proxies": f"{PROXY}/32"}
    async with serving_limits(dsn, redis_url, folder, **settings) as served, Redis.from_url(redis_url) as redis:
        yield Target(served, redis)
