"""Clients that have many streams open."""

import asyncio
from contextlib import AsyncExitStack, aclosing

from support.requests import join
from support.stubs import Stubs
from wingmanmatch_client import connect

WATCHES = 150  # more than the hundred streams that a server takes on one connection


async def test_calls_do_not_wait_for_streams(client: Stubs) -> None:
    """While one client watches 150 times, each watch is served, and so are its calls."""
    person = (await join(client)).user_id
    async with connect(client.target) as wingman, AsyncExitStack() as stack:
        watches = [wingman.matching.watch_matches(user_id=person, heartbeats=True) for _ in range(WATCHES)]
        for watch in watches:
            await stack.enter_async_context(aclosing(watch))
        async with asyncio.timeout(60):
            await asyncio.gather(*(anext(watch) for watch in watches))
        assert (await wingman.matching.get_profile(user_id=person, timeout=10)).profile.user_id == person
