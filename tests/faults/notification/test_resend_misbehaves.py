"""The whole server while Resend refuses, fails, stalls and drops, under callers that go on: each mail goes out once."""

import asyncio
from pathlib import Path

import pytest

from support.databases import fresh_database
from support.limiters import Served, serving_limits
from support.mail_load import assert_each_once, mail_load
from support.resend_server import KEY, answer, drop, drop_after_accepting, page_after_accepting, resend_server, stall
from support.session_load import changes
from wingmanmatch_server.bootstrap.breakers import EMAIL_LIMITS
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

MISBEHAVIOURS = (
    answer(429, "rate_limit_exceeded", retry_after="0.05"),
    answer(500, "application_error"),
    answer(503, "unavailable"),
    drop,
    drop_after_accepting,
    page_after_accepting,
    stall,
)
AWAY = answer(503, "unavailable")
CALLERS = 2
CALM = 8  # requests that go well between two that do not, so that failures are not in a row
SLACK = 10.0  # seconds


async def state_becomes(served: Served, state: str, seconds: float) -> None:
    """Return once the breaker of mails has changed to a state."""
    async with asyncio.timeout(seconds):
        while state not in changes(served, "email"):
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_each_mail_once(admin_dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """Whatever becomes of a request, the mail is sent in the end, under one key.

    Resend has no probe, so its breaker opens for two minutes; then one mail tries, and closes it.
    """
    async with fresh_database(admin_dsn) as dsn, resend_server() as resend:
        settings = {"enable_rate_limiting": False, "resend_api_key": KEY, "resend_api_url": resend.url}
        async with serving_limits(dsn, engines.redis_url, tmp_path, **settings) as served:
            async with mail_load(served.client.notification, callers=CALLERS) as load:
                for misbehaviour in MISBEHAVIOURS:
                    resend.misbehave(misbehaviour)
                    await resend.asked(len(resend.requests) + CALM)
                assert changes(served, "email") == {}
                resend.misbehave(*[AWAY] * 100)
                await state_becomes(served, "open", SLACK)
                await load.more(5)
            resend.behave()
            await state_becomes(served, "closed", EMAIL_LIMITS.recovery + SLACK)
            assert changes(served, "email") == {"open": 1, "half_open": 1, "closed": 1}
            await assert_each_once(load, dsn, resend.ledger)
    assert load.refused.total() == 0
    assert resend.replays > 0
