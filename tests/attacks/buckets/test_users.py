"""A user's token, used to take other users' calls away from them."""

import pytest

from support.credentials import user_token
from support.protos import policy
from support.target import METHODS, Target
from wingmanmatch.options.v1 import options_pb2

OPEN_TO_USERS = (options_pb2.ACCESS_USER, options_pb2.ACCESS_PUBLIC)
LIMITED = [
    name for name, method in METHODS.items() if policy(method).rate_limit and policy(method).access in OPEN_TO_USERS
]
CHARGED_BESIDE = {"matching.v1.MatchingService.ListCandidates": {"candidate_pages"}}
WITHOUT_USER = [name for name in LIMITED if not policy(METHODS[name]).user_field]


def test_there_is_something_to_try() -> None:
    """Most RPCs are limited and open to users, and some of them name no user."""
    assert len(LIMITED) > 30
    assert len(WITHOUT_USER) >= 5


@pytest.mark.parametrize("method", LIMITED)
async def test_a_users_token_is_charged_to_that_user(target: Target, method: str, attacker: str) -> None:
    """Whatever the RPC, the buckets that are charged are the user's own."""
    await target.call(method, attacker, user_token(attacker))
    policies = {policy(METHODS[method]).rate_limit} | CHARGED_BESIDE.get(method, set())
    assert await target.buckets() == {f"rl:{{{attacker}}}:{name}" for name in policies}


@pytest.mark.parametrize("method", WITHOUT_USER)
async def test_no_user_locks_out_another(target: Target, method: str, attacker: str, victim: str) -> None:
    """Whoever has used up the own bucket is refused, and everybody else is served."""
    reasons = await target.calls(120, method, "", user_token(attacker))
    assert reasons.count("RATE_LIMITED") >= 10
    assert await target.call(method, "", user_token(victim)) != "RATE_LIMITED"


@pytest.mark.parametrize("method", LIMITED)
async def test_naming_somebody_else_charges_nobody(target: Target, method: str, attacker: str, victim: str) -> None:
    """A token whose user is not the one named is refused before anything is charged to the one named."""
    await target.call(method, victim, user_token(attacker))
    assert not [key for key in await target.buckets() if victim in key]
