"""Counts, times and logs every call, whatever becomes of it."""

from collections.abc import Callable
from typing import Any

import grpc

from wingmanmatch_server.interceptors.chain import Call, Proceed
from wingmanmatch_server.interceptors.policy import Method
from wingmanmatch_server.telemetry.logs import AccessLog
from wingmanmatch_server.telemetry.metrics import RpcMetrics


class Observe:
    """Writes one line to the access log and one sample to each metric per call."""

    def __init__(self, metrics: RpcMetrics, access_log: AccessLog, clock: Callable[[], float]) -> None:
        """`clock` returns monotonic seconds."""
        self._metrics = metrics
        self._access_log = access_log
        self._clock = clock

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """See `Interceptor.bind`."""
        clock, record, path = self._clock, self._access_log.record, method.path
        observe_seconds = self._metrics.seconds(method.service, method.name)
        # Looking a child up by its labels on each call would cost more than counting.
        count = {code: self._metrics.counter(method.service, method.name, code.name) for code in grpc.StatusCode}

        async def observe(request: Any, call: Call) -> Any:
            started = clock()
            try:
                return await proceed(request, call)
            finally:
                seconds = clock() - started
                observe_seconds(seconds)
                count[call.code]()
                record(path, call.code.name, call.reason, call.caller.name, seconds)

        return observe
