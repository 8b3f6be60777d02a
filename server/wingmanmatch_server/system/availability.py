"""The health of each service: whether what its methods need is there.

It follows from circuit breakers and background checks, never from a health probe's own call. The names that speak of
the process are left alone: all replicas share their dependencies, and a balancer that drops every replica helps nobody.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from google.protobuf.descriptor import ServiceDescriptor

from wingmanmatch.options.v1 import options_pb2
from wingmanmatch_server.interceptors.policy import methods_of
from wingmanmatch_server.system.dependencies import Dependencies
from wingmanmatch_server.system.health import Health

NAMES = {
    options_pb2.DEPENDENCY_DATABASE: "database",
    options_pb2.DEPENDENCY_REDIS: "redis",
    options_pb2.DEPENDENCY_EMAIL: "email",
    options_pb2.DEPENDENCY_EXTERNAL_API: "external_api",
    options_pb2.DEPENDENCY_RATE_LIMITER: "rate_limiter",
}
# A database that takes no changes serves reads still, and yet not what its services are for.
PARTS = {"database": ("database", "database_writes")}


class Breaker(Protocol):
    """As much of a circuit breaker as health follows."""

    def open_for(self) -> float:
        """Return the seconds until a call may pass."""


class Availability:
    """Keeps the health of each service true to its dependencies."""

    def __init__(
        self,
        health: Health,
        services: Sequence[ServiceDescriptor],
        dependencies: Dependencies,
        breakers: Mapping[str, Breaker],
    ) -> None:
        """`breakers` by name of the dependency."""
        self._health = health
        self._needs = {service.full_name: needs_of(service) for service in services}
        self._dependencies = dependencies
        self._breakers = breakers

    def refresh(self) -> None:
        """Set every service's health to what is known now."""
        for service, needs in self._needs.items():
            self._health.set(service, serving=all(self._is_there(name) for name in needs))

    async def check(self) -> None:
        """Ask every dependency, then refresh."""
        await self._dependencies.check()
        self.refresh()

    def _is_there(self, name: str) -> bool:
        return all(self._serves(part) for part in PARTS.get(name, (name,)))

    def _serves(self, name: str) -> bool:
        breaker = self._breakers.get(name)
        return self._dependencies.is_healthy(name) and (breaker is None or breaker.open_for() == 0)


def needs_of(service: ServiceDescriptor) -> frozenset[str]:
    """Return the names of what any method of the service requires or uses."""
    policies = [method.policy for method in methods_of(service)]
    return frozenset(NAMES[needed] for policy in policies for needed in (*policy.requires, *policy.uses))
