"""The measure of how late the event loop is."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from wingmanmatch_server.telemetry.loop import INTERVAL, loop_lag, watch_loop


async def test_delay_is_measured_and_a_long_one_is_told() -> None:
    """What a sleep took beyond its time is recorded, and logged from a second on."""
    now, lags = 0.0, iter((0.0, 0.2, 1.5))
    registry = CollectorRegistry()

    async def sleep(seconds: float) -> None:
        nonlocal now
        try:
            now += seconds + next(lags)
        except StopIteration:
            raise asyncio.CancelledError from None

    with capture_logs() as logged, pytest.raises(asyncio.CancelledError):
        await watch_loop(loop_lag(registry), lambda: now, sleep=sleep)
    name = "wingmanmatch_event_loop_lag_seconds"
    assert INTERVAL > 0
    assert registry.get_sample_value(f"{name}_count") == 3
    assert registry.get_sample_value(f"{name}_sum") == pytest.approx(1.7)
    assert registry.get_sample_value(f"{name}_bucket", {"le": "0.1"}) == 1
    assert [(line["event"], line["seconds"]) for line in logged] == [("event_loop_blocked", 1.5)]
