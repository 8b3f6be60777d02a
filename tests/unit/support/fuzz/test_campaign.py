"""The fuzzer itself: that it is the same twice, goes on where it stopped, and sees what goes wrong."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor

from support.edge import MATCHING, Edge
from support.fuzz.campaign import Campaign, Result, Shot
from support.fuzz.likely import likely
from support.fuzz.mutations import WEIGHTS
from support.fuzz.pools import Pools
from support.fuzz.run import PART, WARM, _ends, _frequent, _grown
from support.fuzz.site import Log
from support.protos import methods
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.bootstrap import Application
from wingmanmatch_server.interceptors.chain import Call, service_handler
from wingmanmatch_server.serving import listening
from wingmanmatch_server.system.health import Health

NOWHERE = "127.0.0.1:1"
FAILED = '{"method": "/x/Y", "event": "rpc_failed", "level": "error", "exception": [{"exc_type": "KeyError"}]}'
ACCESS = '{"method": "/x/Y", "code": "INVALID_ARGUMENT", "reason": "FIELD_INVALID", "event": "rpc", "level": "info"}'


def shots(seed: int, numbers: range) -> list[tuple[str, str, str]]:
    """Return the requests of a seed as far as they depend on no clock."""
    campaign = Campaign(NOWHERE, Result(seed))
    made = [campaign._shot(number) for number in numbers]
    return [(each.method.full_name, each.mutation, each.caller) for each in made]


def test_seed_decides_requests() -> None:
    """The same seed makes the same requests wherever it begins, and another makes others."""
    first = shots(1, range(300))
    assert shots(1, range(300)) == first
    assert shots(1, range(100, 300)) == first[100:]
    assert shots(2, range(300)) != first


def test_every_method_mutation_and_caller_is_chosen() -> None:
    """A few thousand requests have each at least once."""
    chosen = list(zip(*shots(3, range(5_000)), strict=True))
    assert set(chosen[0]) == {method.full_name for method in methods()}
    assert set(chosen[1]) == {mutation.__name__ for mutation in WEIGHTS}
    assert set(chosen[2]) == {"user", "back end", "admin", "nobody"}


@pytest.mark.parametrize("mutation", WEIGHTS, ids=lambda each: each.__name__)
def test_every_mutation_suits_every_request(mutation: Any) -> None:
    """No mutation fails on a request, whatever its fields."""
    pools = Pools(1)
    for number, method in enumerate(methods() * 3):
        random_ = random.Random(number)
        request, other = (likely(each.input_type, pools, random_) for each in (method, methods()[0]))
        assert isinstance(mutation(request, random_, other), bytes)


def test_result_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    """A saved result has all that was counted, and what is counted later adds to it."""
    result = Result(7, count=2, codes={"a.B": Counter(OK=2)}, problems=["one"])
    result.save(tmp_path / "state.json")
    loaded = Result.load(tmp_path / "state.json")
    assert loaded == result
    loaded.add("a.B", "NOT_FOUND")
    assert loaded.total() == Counter(OK=2, NOT_FOUND=1)


@pytest.mark.parametrize("start", [0, 300, WARM, PART - 1, PART, 12_345])
def test_parts_end_with_the_last_request(start: int) -> None:
    """Whatever was sent before, parts follow one another to the very end."""
    ends = list(_ends(start, 20_000))
    assert ends[-1] == 20_000
    assert ends == sorted(set(ends))


def test_pools_take_in_answers() -> None:
    """What an answer names, later requests name, by one who has a part in it."""
    pools = Pools(1)
    match = matching_pb2.Match(id="m", requester_id="a", invitee_id="b")
    pools.harvest(matching_service_pb2.ListMatchesResponse(matches=[match], next_page_token="p"))
    assert pools.choose("match_id", random.Random(1)) == "m"
    assert pools.choose("page_token", random.Random(1)) == "p"
    assert pools.owners("m") == ["a", "b"]


@pytest.mark.parametrize("line", [FAILED, "Traceback (most recent call last):", "Exception ignored in: <x>"])
def test_bad_lines_of_the_log_are_seen(line: str) -> None:
    """A logged error, a traceback, and what no logger wrote."""
    log = Log()
    log.take(ACCESS)
    log.take(line)
    assert (log.lines, log.bad_count, log.bad) == (2, 1, [line])


def test_growth_and_unavailability_are_seen() -> None:
    """Memory beyond the bound is a problem, and so is a server that often says UNAVAILABLE."""
    assert _grown(100, 200)
    assert not _grown(100, 101)
    assert _frequent(Result(1, count=100, codes={"a.B": Counter(OK=50, UNAVAILABLE=50)}))
    assert not _frequent(Result(1, count=100, codes={"a.B": Counter(OK=100)}))


class Fails:
    """Fails at every call in a way that nobody foresaw."""

    async def get_match(self, _request: Any, _call: Call) -> Any:
        """Raise."""
        raise KeyError("nobody foresaw this")


def get_match() -> MethodDescriptor:
    """Return the method that fails."""
    return next(method for method in methods() if method.name == "GetMatch")


class Refuses:
    """Knows nobody's credential."""

    async def get_match(self, _request: Any, _call: Call) -> Any:
        """Raise."""
        raise errors.Unauthenticated("CREDENTIAL_INVALID", "no valid credential")


async def sent(implementation: object, caller: str) -> Result:
    """Send a good request to an implementation, and return what became of it."""
    edge, result = Edge(), Result(1)
    application = Application(
        [service_handler(MATCHING, implementation, edge.interceptors())], Health(()), edge.registry
    )
    some = "00000000-0000-4000-8000-000000000001"
    request = matching_service_pb2.GetMatchRequest(match_id=some, user_id=some)
    shot = Shot(41, get_match(), "untouched", request.SerializeToString(), caller, ())
    async with listening(application, "127.0.0.1:0") as (_, port):
        campaign = Campaign(f"127.0.0.1:{port}", result)
        async with campaign._channels() as channels:
            await campaign._fire_all(channels, [shot])
    return result


async def test_good_caller_who_is_refused_is_a_problem() -> None:
    """Requests whose credentials are refused would try nothing; only nobody's are meant to be."""
    assert len((await sent(Refuses(), "user")).problems) == 1
    assert not (await sent(Refuses(), "nobody")).problems


async def test_unforeseen_failure_is_a_problem() -> None:
    """A call that ends with INTERNAL is reported, with the number by which it can be sent again."""
    result = await sent(Fails(), "user")
    (problem,) = result.problems
    assert problem.startswith("INTERNAL internal error ")
    assert "request 41, wingmanmatch.matching.v1.MatchingService.GetMatch" in problem
    assert result.total() == Counter(INTERNAL=1)
