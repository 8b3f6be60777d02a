"""Joins the edge: what is around every RPC."""

import secrets
import time

from wingmanmatch_server.interceptors.capacity import Capacity
from wingmanmatch_server.interceptors.chain import Interceptor
from wingmanmatch_server.interceptors.circuit import Circuit
from wingmanmatch_server.interceptors.deadline import Deadline
from wingmanmatch_server.interceptors.errors import Errors
from wingmanmatch_server.interceptors.identity import Identity
from wingmanmatch_server.interceptors.observe import Observe
from wingmanmatch_server.interceptors.peer import peer_address_behind
from wingmanmatch_server.interceptors.throttle import Throttle
from wingmanmatch_server.interceptors.validate import Validate
from wingmanmatch_server.telemetry.logs import AccessLog
from wingmanmatch_server.telemetry.metrics import RpcMetrics


def make_interceptors(
    metrics: RpcMetrics,
    access_log: AccessLog,
    identity: Identity,
    throttle: Throttle | None = None,
    circuit: Circuit | None = None,
    capacity: Capacity | None = None,
    deadline: Deadline | None = None,
) -> list[Interceptor]:
    """Return the edge, outermost first; `interceptors/__init__.py` says why in this order."""
    return [
        Observe(metrics, access_log, time.perf_counter),
        Errors(lambda: secrets.token_hex(8)),
        deadline or Deadline(),
        identity,
        capacity or Capacity(1000, 1000),
        throttle or Throttle(None, peer_address_behind(())),
        circuit or Circuit({}),
        Validate(),
    ]
