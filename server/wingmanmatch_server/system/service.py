"""SystemService: the report on the process that answers, and its circuit breakers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from wingmanmatch.system.v1 import system_pb2, system_service_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import Call
from wingmanmatch_server.resilience.breaker import Breaker, State
from wingmanmatch_server.system.dependencies import Check, Dependencies
from wingmanmatch_server.wire import duration, timestamp

ESSENTIAL = ("database", "database_writes", "database_anonymous")
STATES = {
    State.CLOSED: system_pb2.CIRCUIT_BREAKER_STATE_CLOSED,
    State.OPEN: system_pb2.CIRCUIT_BREAKER_STATE_OPEN,
    State.HALF_OPEN: system_pb2.CIRCUIT_BREAKER_STATE_HALF_OPEN,
}


class RateLimits(Protocol):
    """Where the rate limit policies in force came from."""

    @property
    def version(self) -> str:
        """Identifies the policies in force."""

    @property
    def load_time(self) -> datetime:
        """When they came into force."""

    @property
    def load_error(self) -> str:
        """Why a newer file was not taken; empty if there is none."""

    @property
    def policy_count(self) -> int:
        """How many are in force."""


@dataclass(frozen=True, slots=True)
class Process:
    """What does not change while the process runs. `features` are (name, enabled, why not)."""

    environment: str
    version: str
    start_time: datetime
    features: Sequence[tuple[str, bool, str]]
    identity_modes: Sequence[system_pb2.IdentityMode.ValueType]
    worker: int = 0


class SystemService:
    """Each method is the RPC of its name; `system_service.proto` has the contract."""

    def __init__(
        self,
        process: Process,
        dependencies: Dependencies,
        breakers: Mapping[str, Breaker],
        rate_limits: Callable[[], RateLimits | None],
        now: Callable[[], datetime],
    ) -> None:
        self._process = process
        self._dependencies = dependencies
        self._breakers = breakers
        self._rate_limits = rate_limits
        self._now = now

    async def get_status(
        self, _request: system_service_pb2.GetStatusRequest, _call: Call
    ) -> system_service_pb2.GetStatusResponse:
        """Report what is known, without asking anybody now."""
        process, checks = self._process, self._dependencies.latest
        rate_limits = self._rate_limits()
        return system_service_pb2.GetStatusResponse(
            status=self._in_a_word(checks),
            environment=process.environment,
            version=process.version,
            start_time=timestamp(process.start_time),
            dependencies=[_dependency(check) for check in checks],
            circuit_breakers=self._listed(),
            features=[
                system_pb2.Feature(name=name, enabled=enabled, detail=detail)
                for name, enabled, detail in process.features
            ],
            report_time=timestamp(self._now()),
            identity_modes=process.identity_modes,
            rate_limits=_rate_limits(rate_limits) if rate_limits else None,
            worker=process.worker,
        )

    async def list_circuit_breakers(
        self, _request: system_service_pb2.ListCircuitBreakersRequest, _call: Call
    ) -> system_service_pb2.ListCircuitBreakersResponse:
        """List them by name."""
        return system_service_pb2.ListCircuitBreakersResponse(circuit_breakers=self._listed())

    async def reset_circuit_breaker(
        self, request: system_service_pb2.ResetCircuitBreakerRequest, _call: Call
    ) -> system_service_pb2.ResetCircuitBreakerResponse:
        """Close one."""
        breaker = self._breakers.get(request.name)
        if breaker is None:
            message = "no circuit breaker has this name"
            raise errors.NotFound("CIRCUIT_BREAKER_NOT_FOUND", message, {"name": request.name})
        breaker.reset()
        return system_service_pb2.ResetCircuitBreakerResponse(circuit_breaker=self._described(breaker))

    def _in_a_word(self, checks: Sequence[Check]) -> system_pb2.SystemStatus.ValueType:
        missing = [check.name for check in checks if not check.healthy]
        missing += [name for name, breaker in self._breakers.items() if breaker.state is not State.CLOSED]
        if not missing:
            return system_pb2.SYSTEM_STATUS_HEALTHY
        if any(name in ESSENTIAL for name in missing):
            return system_pb2.SYSTEM_STATUS_UNHEALTHY
        return system_pb2.SYSTEM_STATUS_DEGRADED

    def _listed(self) -> list[system_pb2.CircuitBreaker]:
        return [self._described(self._breakers[name]) for name in sorted(self._breakers)]

    def _described(self, breaker: Breaker) -> system_pb2.CircuitBreaker:
        closed = breaker.state is State.CLOSED
        return system_pb2.CircuitBreaker(
            name=breaker.name,
            state=STATES[breaker.state],
            failure_count=breaker.failure_count,
            failure_threshold=breaker.limits.failure_threshold,
            open_until=None if closed else timestamp(self._now() + timedelta(seconds=breaker.open_for())),
        )


def _dependency(check: Check) -> system_pb2.DependencyStatus:
    return system_pb2.DependencyStatus(
        name=check.name,
        healthy=check.healthy,
        detail=check.detail,
        latency=duration(check.latency),
        check_time=timestamp(check.time),
    )


def _rate_limits(limits: RateLimits) -> system_pb2.RateLimitStatus:
    return system_pb2.RateLimitStatus(
        version=limits.version,
        load_time=timestamp(limits.load_time),
        load_error=limits.load_error,
        policy_count=limits.policy_count,
    )
