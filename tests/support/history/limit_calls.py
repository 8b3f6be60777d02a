"""What callers do to rate limits."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from support.history.callers import PING_PATIENCE, Caller
from support.history.limit_bounds import Answer, Policy
from support.stubs import Stubs
from wingmanmatch.ratelimit.v1 import rate_limit_pb2
from wingmanmatch.ratelimit.v1 import rate_limit_service_pb2 as pb

AT_ONCE = 3  # buckets that are used at the same time
CALLS_PER_BUCKET = 80
POLICIES = ("match_request", "challenge_submit", "public_api")


@dataclass
class Bucket:
    """One subject's bucket of a policy."""

    policy: str
    subject: str
    calls: int = 0

    @property
    def key(self) -> str:
        """The key of its history."""
        return f"limit {self.policy} of {self.subject}"


class LimitScene:
    """Buckets that are used one after another."""

    def __init__(self, policies: dict[str, Policy]) -> None:
        self.policies = policies
        self.buckets: dict[str, Bucket] = {}

    def ping(self, caller: Caller) -> Awaitable[Any]:
        """Peek into a bucket that nobody uses."""
        request = pb.PeekRateLimitRequest(descriptors=[_descriptor(Bucket("public_api", "ping"), 0)])
        return caller.stubs.rate_limit.PeekRateLimit(request, timeout=PING_PATIENCE)

    async def act(self, caller: Caller) -> None:
        """Ask or charge one of the buckets in use."""
        used = [bucket for bucket in self.buckets.values() if bucket.calls < CALLS_PER_BUCKET]
        while len(used) < AT_ONCE:
            used.append(Bucket(caller.source.choice(POLICIES), f"subject-{len(self.buckets) + 1}"))
            self.buckets[used[-1].key] = used[-1]
        bucket = caller.source.choice(used)
        bucket.calls += 1
        if caller.source.random() < 0.2:
            await self._peek(caller, bucket)
        else:
            await self._check(caller, bucket)

    async def look(self, caller: Caller) -> None:
        """Peek into every bucket."""
        for bucket in self.buckets.values():
            await self._peek(caller, bucket)

    async def _check(self, caller: Caller, bucket: Bucket) -> None:
        cost = caller.source.choice((1, 1, 2, 3))
        request = pb.CheckRateLimitRequest(descriptors=[_descriptor(bucket, cost)], request_id=caller.new_id())
        await caller.call(bucket.key, "check", caller.stubs.rate_limit.CheckRateLimit, request, _answer, cost=cost)

    async def _peek(self, caller: Caller, bucket: Bucket) -> None:
        request = pb.PeekRateLimitRequest(descriptors=[_descriptor(bucket, 1)])
        await caller.call(bucket.key, "peek", caller.stubs.rate_limit.PeekRateLimit, request, _answer, cost=1)


async def policies_of(stubs: Stubs) -> dict[str, Policy]:
    """Return the policies in force."""
    listed = await stubs.rate_limit.ListPolicies(pb.ListPoliciesRequest(), timeout=5)
    return {each.name: Policy(each.capacity, each.refill_per_second) for each in listed.policies}


def _descriptor(bucket: Bucket, cost: int) -> rate_limit_pb2.RateLimitDescriptor:
    return rate_limit_pb2.RateLimitDescriptor(policy=bucket.policy, subject=bucket.subject, cost=cost)


def _answer(response: pb.CheckRateLimitResponse | pb.PeekRateLimitResponse) -> Answer:
    (result,) = response.results
    return Answer(result.allowed, result.remaining, response.degraded)
