"""Resend fails."""

import asyncio
import time

from support.resend_server import answer, drop, drop_after_accepting, stall
from support.soak.fault import Episode, Fault
from support.soak.main_site import MainSite

FAILS_FOR = 8.0  # seconds
BREAKER = 120.0


async def failing(site: MainSite) -> Episode:
    """Resend refuses, fails, drops and stalls, as often as it is asked."""
    resend, until = site.needs.resend, time.monotonic() + FAILS_FOR
    while time.monotonic() < until:
        resend.misbehave(answer(429, "rate_limit_exceeded", retry_after="0.2"), answer(500, "error"))
        resend.misbehave(drop, drop_after_accepting, stall)
        await asyncio.sleep(0.5)
    resend.behave()
    back = time.monotonic()
    return Episode(back, [await site.emails_flow(back, BREAKER + 5)])


# Open, half-open and closed: no request to Resend is without effect, so nothing closes the breaker early.
FAULTS = (Fault("resend-failing", "no call fails; emails within the breaker's 120 s, each once", failing, changes=3),)
