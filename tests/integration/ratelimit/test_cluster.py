"""Buckets on a real cluster of three nodes."""

import dataclasses
import uuid
from collections.abc import AsyncIterator

import pytest

from support.limiters import OpenLimiter, open_limiter, until
from support.redis_cluster import redis_cluster
from wingmanmatch_server import errors
from wingmanmatch_server.ratelimit import budget
from wingmanmatch_server.ratelimit.batch import Ask
from wingmanmatch_server.ratelimit.token_bucket import RequestId


@pytest.fixture(scope="module")
async def limits(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenLimiter]:
    """A limiter on a cluster."""
    with pytest.MonkeyPatch.context() as patch:
        # What is shown here is which buckets are charged, not how fast three nodes and all tests share a processor.
        patch.setattr(budget, "BUDGET", 5.0)
        async with redis_cluster(tmp_path_factory.mktemp("cluster")) as url, open_limiter(url) as limits:
            yield limits


@pytest.fixture
def subjects(limits: OpenLimiter) -> list[str]:
    """Subjects whose buckets are in many slots."""
    names = [uuid.uuid4().hex for _ in range(30)]
    assert len({limits.redis.slot_of(f"rl:{{{name}}}:public_api") for name in names}) > 20
    return names


def asks_of(limits: OpenLimiter, subjects: list[str], policy: str = "email_send", cost: int = 1) -> list[Ask]:
    """Return what to ask of a policy's bucket of each subject."""
    return [limits.limiter.resolve(policy, subject, cost, "") for subject in subjects]


def connections(limits: OpenLimiter) -> list[int]:
    """Return how many connections there are to each node."""
    return [len(node._connections) for node in limits.redis.client.get_primaries()]


async def test_all_buckets_of_a_subject_share_a_slot(limits: OpenLimiter, subjects: list[str]) -> None:
    """So ALL over a subject's policies is one atomic script, also for subjects with odd names."""
    for subject in (*subjects, "}odd", "{odd", "100%"):
        asks = [limits.limiter.resolve(policy, subject, 1, "") for policy in limits.limiter.policies.by_name]
        assert len({limits.redis.slot_of(ask.key) for ask in asks}) == 1
        decision = await limits.limiter.decide(asks, all_or_nothing=True)
        assert (decision.allowed, decision.degraded) == (True, False)


async def test_a_batch_over_many_slots(limits: OpenLimiter, subjects: list[str]) -> None:
    """EACH over thirty slots answers in order and charges each once."""
    asks = asks_of(limits, subjects)
    assert [answer.remaining for answer in (await limits.limiter.decide(asks)).answers] == [2] * 30
    assert [answer.remaining for answer in (await limits.limiter.decide(asks)).answers] == [1] * 30


async def test_all_or_nothing_over_many_slots(limits: OpenLimiter, subjects: list[str]) -> None:
    """Where one of thirty denies, what was charged before it is given back."""
    await limits.check("email_send", subjects[20], 3)
    refused = await limits.limiter.decide(asks_of(limits, subjects), all_or_nothing=True)
    assert (refused.allowed, refused.degraded) == (False, False)
    assert [answer.remaining for answer in refused.answers] == [3] * 20 + [0] + [3] * 9
    left = await limits.limiter.decide(asks_of(limits, subjects, cost=0))
    assert [answer.remaining for answer in left.answers] == [3] * 20 + [0] + [3] * 9
    passed = await limits.limiter.decide(asks_of(limits, subjects[:20]), all_or_nothing=True)
    assert (passed.allowed, {answer.remaining for answer in passed.answers}) == (True, {2})


async def test_a_repeated_request_over_many_slots(limits: OpenLimiter, subjects: list[str]) -> None:
    """It spends once in every slot; with other buckets it is refused although they are in other slots."""
    request = RequestId(uuid.uuid4().hex, "a" * 32)
    first = await limits.limiter.decide(asks_of(limits, subjects), request=request)
    assert (await limits.limiter.decide(asks_of(limits, subjects), request=request)).answers == first.answers
    with pytest.raises(errors.InvalidArgument):
        await limits.check("email_send", "another", request=request._replace(fingerprint="b" * 32))


async def test_refund_reset_and_denials(limits: OpenLimiter, subjects: list[str]) -> None:
    """Putting back over many slots works, and ends remembered denials."""
    subject = subjects[0]
    assert await limits.allowed("email_send", subject, 5) == 3
    ask = limits.limiter.resolve("email_send", subject, 1, "")
    assert limits.limiter._denials.known(ask)
    await limits.redis.client.publish("rl:forget", ask.key)
    await until(lambda: limits.limiter._denials.known(ask) is None)
    await limits.limiter.refund(asks_of(limits, subjects))
    assert (await limits.check("email_send", subject)).allowed
    await limits.limiter.reset("email_send", subject, "")
    assert (await limits.check("email_send", subject, 0)).answers[0].remaining == 3


async def test_a_thousand_slots(limits: OpenLimiter) -> None:
    """A batch of the largest size over as many slots is decided exactly, in one round trip to each node."""
    names = [uuid.uuid4().hex for _ in range(1000)]
    await limits.limiter.decide(asks_of(limits, names[:30], cost=0))
    before = connections(limits)
    decision = await limits.limiter.decide(asks_of(limits, names))
    assert (decision.allowed, decision.degraded) == (True, False)
    assert {answer.remaining for answer in decision.answers} == {2}
    assert connections(limits) == before


async def test_what_is_only_tried_is_not_given_back(limits: OpenLimiter, subjects: list[str]) -> None:
    """Where ALL is undone, a bucket that a tried limit denied gets back nothing that it did not pay."""
    asks = asks_of(limits, subjects[:3])
    tried = asks[1]._replace(limit=dataclasses.replace(asks[1].limit, shadow=True))
    await limits.check("email_send", subjects[1], 3)
    await limits.check("email_send", subjects[2], 3)
    refused = await limits.limiter.decide([asks[0], tried, asks[2]], all_or_nothing=True)
    assert (refused.allowed, [answer.allowed for answer in refused.answers]) == (False, [1, 0, 0])
    assert [answer.remaining for answer in refused.answers] == [3, 0, 0]
    left = await limits.limiter.decide(asks_of(limits, subjects[:3], cost=0))
    assert [answer.remaining for answer in left.answers] == [3, 0, 0]


async def test_a_slot_that_moved_is_followed(limits: OpenLimiter, subjects: list[str]) -> None:
    """A batch that meets a slot on another node than known is charged once everywhere."""
    await limits.limiter.decide(asks_of(limits, subjects))
    client, moving = limits.redis.client, uuid.uuid4().hex
    source = client.get_node_from_key(f"rl:{{{moving}}}:email_send")
    target = next(node for node in client.get_primaries() if node != source)
    name = await client.execute_command("CLUSTER MYID", target_nodes=target)
    for node in (target, source):
        command = ("CLUSTER SETSLOT", limits.redis.slot_of(f"rl:{{{moving}}}:email_send"), "NODE", name)
        await client.execute_command(*command, target_nodes=node)
    decision = await limits.limiter.decide(asks_of(limits, [*subjects, moving]))
    assert (decision.degraded, [answer.remaining for answer in decision.answers]) == (False, [1] * 30 + [2])


async def test_scripts_survive_a_flush(limits: OpenLimiter, subjects: list[str]) -> None:
    """Every node loads the script again when it is asked."""
    await limits.redis.client.script_flush()
    decision = await limits.limiter.decide(asks_of(limits, subjects))
    assert (decision.allowed, decision.degraded) == (True, False)
