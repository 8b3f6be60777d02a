"""Each interceptor's own concern, seen through a real call."""

import json
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from support.edge import MATCHING, Edge, failure_of, serving
from support.limiters import until
from wingmanmatch.matching.v1 import matching_service_pb2, matching_service_pb2_grpc
from wingmanmatch.options.v1 import options_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import Call, Caller
from wingmanmatch_server.interceptors.circuit import Circuit
from wingmanmatch_server.interceptors.identity import Identity
from wingmanmatch_server.interceptors.peer import peer_address_behind
from wingmanmatch_server.interceptors.throttle import Throttle
from wingmanmatch_server.resilience.breaker import Breaker, Limits

USER = "7b2f0c5e-52a8-4d0b-9a53-8d6d9ef0a001"
OTHER = "7b2f0c5e-52a8-4d0b-9a53-8d6d9ef0a002"
REQUEST = matching_service_pb2.GetMatchRequest(match_id=USER, user_id=USER)


class Answers:
    """Answers every call, and remembers who made it."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []

    async def get_match(self, _request: Any, call: Call) -> Any:
        """Answer."""
        self.callers.append(call.caller)
        return matching_service_pb2.GetMatchResponse()

    async def request_match(self, _request: Any, call: Call) -> Any:
        """Answer."""
        self.callers.append(call.caller)
        return matching_service_pb2.RequestMatchResponse()


def stub_of(edge: Edge) -> Any:
    """Return a stub of the served service."""
    return matching_service_pb2_grpc.MatchingServiceStub(edge.channel)


async def test_order_of_the_edge() -> None:
    """The interceptors stand in the order that the design fixes."""
    names = [type(each).__name__ for each in Edge().interceptors()]
    assert names == ["Observe", "Errors", "Deadline", "Identity", "Capacity", "Throttle", "Circuit", "Validate"]


async def test_validation_names_fields_and_rules() -> None:
    """Every field at fault is named with the rule it breaks, and the method is not reached."""
    request = matching_service_pb2.RequestMatchRequest(user_id="nobody", radius_miles=0, venue_suggestion="a\nb")
    async with serving(answers := Answers()) as edge:
        failure = await failure_of(stub_of(edge).RequestMatch(request, timeout=5))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert failure.violations == {
        "user_id": "string.uuid",
        "radius_miles": "double.gt_lte",
        "venue_suggestion": "string.pattern",
    }
    assert answers.callers == []


async def test_rule_over_a_message_names_its_field() -> None:
    """A rule that compares two fields names the one at fault."""
    request = matching_service_pb2.RequestMatchRequest(user_id=USER, candidate_user_id=USER.upper())
    async with serving(Answers()) as edge:
        failure = await failure_of(stub_of(edge).RequestMatch(request, timeout=5))
    assert failure.violations == {"candidate_user_id": "candidate_user_id.self"}


async def test_access_log_has_one_line_a_call() -> None:
    """A line tells method, code, reason, caller and time, and nothing of the request."""
    async with serving(Answers()) as edge:
        await stub_of(edge).GetMatch(REQUEST, timeout=5)
        await failure_of(stub_of(edge).GetMatch(matching_service_pb2.GetMatchRequest(), timeout=5))
    first, second = (json.loads(line) for line in edge.log_lines())
    assert first.keys() == {"event", "method", "code", "reason", "caller", "milliseconds", "timestamp"}
    assert (first["method"], first["code"]) == ("/wingmanmatch.matching.v1.MatchingService/GetMatch", "OK")
    assert (second["code"], second["reason"], second["caller"]) == ("INVALID_ARGUMENT", "FIELD_INVALID", "local")
    assert USER.encode() not in b"".join(edge.log_lines())


async def test_metrics_count_by_method_and_code() -> None:
    """Calls are counted by method and code, and timed."""
    async with serving(Answers()) as edge:
        await stub_of(edge).GetMatch(REQUEST, timeout=5)
        await failure_of(stub_of(edge).GetMatch(matching_service_pb2.GetMatchRequest(), timeout=5))
        # A client has its answer a moment before the call has ended at the server.
        await until(lambda: edge.handled("GetMatch", "INVALID_ARGUMENT"))
    labels = {"grpc_service": MATCHING.full_name, "grpc_method": "GetMatch"}
    assert (edge.handled("GetMatch", "OK"), edge.handled("GetMatch", "INVALID_ARGUMENT")) == (1, 1)
    assert edge.registry.get_sample_value("grpc_server_handling_seconds_count", labels) == 2


class OneToken:
    """A limiter whose every bucket holds one token."""

    def __init__(self) -> None:
        self.spent: list[tuple[str, str]] = []

    async def spend(self, policy: str, subject: str, _caller: str) -> None:
        """Take the token."""
        if (policy, subject) in self.spent:
            raise errors.ResourceExhausted("RATE_LIMITED", "slow down", {"policy": policy}, retry_after=20)
        self.spent.append((policy, subject))


async def test_throttle_charges_the_user_by_the_methods_policy() -> None:
    """The policy comes from the proto and the subject from the request; another user is not affected."""
    edge, limiter = Edge(), OneToken()
    async with serving(Answers(), edge=edge, interceptors=edge.replaced(Throttle(limiter, peer_address_behind(())))):
        await stub_of(edge).RequestMatch(matching_service_pb2.RequestMatchRequest(user_id=USER), timeout=5)
        await stub_of(edge).RequestMatch(matching_service_pb2.RequestMatchRequest(user_id=OTHER), timeout=5)
        again = matching_service_pb2.RequestMatchRequest(user_id=USER)
        failure = await failure_of(stub_of(edge).RequestMatch(again, timeout=5))
    assert limiter.spent == [("match_request", USER), ("match_request", OTHER)]
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert failure.detail(error_details_pb2.RetryInfo).retry_delay.seconds == 20


def open_breaker() -> Breaker:
    """Return the breaker of something that has just failed."""
    breaker = Breaker("supabase", Limits(failure_threshold=1, recovery=30.0), lambda: 0.0)
    with suppress(errors.Unavailable), breaker.guard():
        raise errors.Unavailable("DATABASE_UNAVAILABLE", "the database does not answer")
    return breaker


async def test_open_circuit_refuses_before_the_work() -> None:
    """While a required dependency's breaker is open the method is not reached; another's breaker does not matter."""
    edge, answers = Edge(), Answers()
    circuit = Circuit({options_pb2.DEPENDENCY_DATABASE: open_breaker(), options_pb2.DEPENDENCY_REDIS: open_breaker()})
    async with serving(answers, edge=edge, interceptors=edge.replaced(circuit)):
        failure = await failure_of(stub_of(edge).GetMatch(REQUEST, timeout=5))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "CIRCUIT_OPEN")
    assert failure.metadata == {"dependency": "supabase"}
    assert failure.detail(error_details_pb2.RetryInfo).retry_delay.seconds == 30
    assert answers.callers == []


@pytest.mark.parametrize(("patience", "pushback"), [(5, "-1"), (60, "30000")])
async def test_open_circuit_tells_clients_own_retries_when(patience: float, pushback: str) -> None:
    """Retries of gRPC itself wait until the breaker lets a call pass, and stop where the deadline comes before that."""
    edge = Edge()
    circuit = Circuit({options_pb2.DEPENDENCY_DATABASE: open_breaker()})
    async with serving(Answers(), edge=edge, interceptors=edge.replaced(circuit)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub_of(edge).GetMatch(REQUEST, timeout=patience)
    assert dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"] == pushback


async def test_circuit_of_another_dependency_is_ignored() -> None:
    """A method is not refused for a dependency that it does not require."""
    edge = Edge()
    circuit = Circuit({options_pb2.DEPENDENCY_REDIS: open_breaker()})
    async with serving(Answers(), edge=edge, interceptors=edge.replaced(circuit)):
        await stub_of(edge).GetMatch(REQUEST, timeout=5)
    assert edge.handled("GetMatch", "OK") == 1


class OneKey:
    """Knows one back end by its key."""

    async def identify(self, context: Any) -> Caller | None:
        """Return the back end, or nobody."""
        credentials = [value for key, value in context.invocation_metadata() if key == "authorization"]
        return Caller("booking", scopes=frozenset({"matching"})) if credentials == ["Bearer key"] else None

    def trusts(self, _caller: Caller) -> bool:
        """Revoke nothing."""
        return True


@pytest.mark.parametrize(("metadata", "code"), [((), "UNAUTHENTICATED"), ((("authorization", "Bearer key"),), "OK")])
async def test_identity_comes_before_validation(metadata: tuple[tuple[str, str], ...], code: str) -> None:
    """A caller without credential learns nothing of the request's faults; one with it is named in the log."""
    edge, answers = Edge(), Answers()
    async with serving(
        answers, edge=edge, interceptors=edge.replaced(Identity(OneKey(), None, peer_address_behind(())))
    ):
        call = stub_of(edge).GetMatch(REQUEST, timeout=5, metadata=metadata)
        if code == "OK":
            await call
        else:
            failure = await failure_of(
                stub_of(edge).GetMatch(matching_service_pb2.GetMatchRequest(), timeout=5, metadata=metadata)
            )
            assert (failure.code.name, failure.reason) == (code, "CREDENTIAL_INVALID")
            await failure_of(call)
    assert [caller.name for caller in answers.callers] == (["booking"] if code == "OK" else [])
    assert json.loads(edge.log_lines()[-1])["caller"] == ("booking" if code == "OK" else "local")
