"""Entries of a proxy's descriptor that a client chooses, made to look like another client's."""

from typing import Any

import pytest

from support.credentials import KEY, bearer
from support.target import TIMEOUT, Target
from wingmanmatch.envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from wingmanmatch.envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc

Entries = list[tuple[str, str]]


async def left(target: Target, entries: Entries, domain: str = "site") -> int:
    """Take a token of the bucket that the entries name and return how many are left."""
    pairs = [ratelimit_pb2.RateLimitDescriptor.Entry(key=key, value=value) for key, value in entries]
    asked = ratelimit_pb2.RateLimitDescriptor(entries=[{"key": "policy", "value": "search"}, *pairs])
    request: Any = rls_pb2.RateLimitRequest(domain=domain, descriptors=[asked])
    stub = rls_pb2_grpc.RateLimitServiceStub(target.channel)
    return int((await stub.ShouldRateLimit(request, metadata=bearer(KEY), timeout=TIMEOUT)).statuses[0].limit_remaining)


@pytest.mark.parametrize(
    ("forged", "real"),
    [
        ([("x-user", "route=a&ip=1")], [("route", "a"), ("ip", "1")]),
        ([("x-user", "5")], [("ip", "5")]),
        ([("x-user", "1&ip=2")], [("x-user", "1"), ("ip", "2")]),
        ([("x-user", "1%26ip%3D2")], [("x-user", "1&ip=2")]),
        ([("x-user", "a b")], [("x-user", "a+b")]),
        ([("x-user", "1:search")], [("x-user", "1")]),
        ([("x-user", "1}:search")], [("x-user", "1")]),
        ([("a", "b"), ("c", "d")], [("c", "d"), ("a", "b")]),
        ([("=site", "")], []),
        ([("%3Dsite", "")], []),
        ([("x-user", "")], [("x-user=", "")]),
        ([("x-user", "é")], [("x-user", "e\u0301")]),
    ],
)
async def test_other_entries_are_another_bucket(target: Target, forged: Entries, real: Entries) -> None:
    """Three requests of the forger leave the other's bucket whole."""
    assert [await left(target, forged) for _ in range(3)] == [4, 3, 2]
    assert await left(target, real) == 4
