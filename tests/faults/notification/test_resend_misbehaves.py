"""The whole server while Resend refuses, fails, stalls and drops, under callers that go on: each mail goes out once."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from support.databases import fresh_database
from support.mail_load import assert_each_once, mail_load
from support.resend_server import KEY, answer, drop, drop_after_accepting, page_after_accepting, resend_server, stall
from support.server import serving_application
from wingmanmatch_server.bootstrap import breakers, mail
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.notification import resend_mailer
from wingmanmatch_server.notification.dispatcher import Dispatcher, Pace
from wingmanmatch_server.resilience.breaker import Limits

PACE = Pace(first_retry=0.05, longest_retry=0.2, longest_sleep=0.3, in_flight_retry=0.05)
MISBEHAVIOURS = (
    answer(429, "rate_limit_exceeded", retry_after="0.05"),
    answer(500, "application_error"),
    answer(503, "unavailable"),
    drop,
    drop_after_accepting,
    page_after_accepting,
    stall,
)


async def test_each_mail_once(
    admin_dsn: str, engines: EmbeddedEngines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes of a request, the mail is sent in the end, under one key, and the breaker opens and closes."""
    changes: list[str] = []
    make = breakers.Breaker

    def noting(tell: Callable[[str, str], None]) -> Callable[[str, str], None]:
        def note(name: str, state: str) -> None:
            changes.append(f"{name} {state}")
            tell(name, state)

        return note

    monkeypatch.setattr(breakers, "EMAIL_LIMITS", Limits(failure_threshold=3, recovery=0.3))
    monkeypatch.setattr(breakers, "Breaker", lambda name, limits, clock, tell: make(name, limits, clock, noting(tell)))
    monkeypatch.setattr(resend_mailer, "TIMEOUT", resend_mailer.httpx.Timeout(0.3))
    monkeypatch.setattr(mail, "Dispatcher", partial(Dispatcher, pace=PACE))

    async with fresh_database(admin_dsn) as dsn, resend_server() as resend:
        settings = {"enable_rate_limiting": False, "resend_api_key": KEY, "resend_api_url": resend.url}
        async with serving_application(dsn, engines.redis_url, tmp_path, **settings) as client:
            async with mail_load(client.notification, callers=4) as load:
                for misbehaviour in MISBEHAVIOURS:
                    resend.misbehave(*[misbehaviour] * 3)
                    await load.more(5)
                    await resend.asked(len(resend.requests) + 4)
            await assert_each_once(load, dsn, resend.ledger)
    assert load.refused.total() == 0
    assert resend.replays > 0
    assert {"email open", "email half_open", "email closed"} <= set(changes)
