"""The bulkheads before the database: who gets a place, who waits, and who is told that there is none."""

import asyncio
import math

import pytest
from prometheus_client import CollectorRegistry

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.database_shares import Place, Share, ShareLimits, Shares
from wingmanmatch_server.telemetry.database_metrics import DatabaseMetrics

LIMITS = ShareLimits(connections=6, function=3, user=2, background=1)
PATIENCE = 0.2  # seconds, of which a quarter may be waited


@pytest.fixture
def shares() -> Shares:
    """Few places."""
    return Shares(LIMITS)


async def take(shares: Shares, function: str, left: float = PATIENCE, *, reads: bool = False, **about: object) -> Place:
    """Take a place for a call."""
    return await shares.take(function, about, reads=reads, left=left)


async def refused(shares: Shares, function: str, **about: object) -> tuple[type[Exception], str]:
    """Return how a call is refused."""
    with pytest.raises(errors.DomainError) as caught:
        await take(shares, function, **about)
    return type(caught.value), caught.value.reason


async def test_one_function_leaves_room_for_others(shares: Shares) -> None:
    """The calls of one function beyond its share are told that the database is busy; another function has room."""
    for _ in range(3):
        await take(shares, "list_matches")
    assert await refused(shares, "list_matches") == (errors.ResourceExhausted, "OVERLOADED")
    await take(shares, "get_profile")
    assert (shares.in_use(Share.FUNCTION), shares.in_use(Share.CONNECTIONS)) == (3, 4)


@pytest.mark.parametrize(
    "about",
    [
        {"p_user_id": "ada"},
        {"p_user_id": "ben", "p_candidate_user_id": "ada"},
        {"p_user_id": "ben", "p_blocked_user_id": "ada"},
        {"p_profile": {"user_id": "ada"}},
    ],
)
async def test_one_person_leaves_room_for_others(shares: Shares, about: dict[str, object]) -> None:
    """Whatever names a person counts for that person; a change too many is a conflict, and others have room."""
    await take(shares, "upsert_profile", p_profile={"user_id": "ada"})
    await take(shares, "delete_profile", p_user_id="ada")
    assert await refused(shares, "block_user", **about) == (errors.Aborted, "CONFLICT")
    await take(shares, "block_user", p_user_id="cleo")


async def test_reads_about_a_person_have_places_of_their_own(shares: Shares) -> None:
    """Changes that wait for a locked row keep nobody from reading."""
    for _ in range(2):
        await take(shares, "upsert_profile", p_user_id="ada")
    await take(shares, "get_profile", reads=True, p_user_id="ada")


async def test_background_work_waits_for_its_turn(shares: Shares) -> None:
    """Work that nobody waits for waits as long as it takes, while calls with a deadline have room."""
    first = await take(shares, "purge", math.inf)
    second = asyncio.create_task(take(shares, "expire", math.inf))
    await asyncio.sleep(PATIENCE)
    assert (second.done(), shares.waiting(Share.BACKGROUND)) == (False, 1)
    await take(shares, "get_profile")
    shares.leave(first)
    await second
    assert shares.waiting(Share.BACKGROUND) == 0


async def test_waiting_calls_are_served_in_turn(shares: Shares) -> None:
    """A place that is given back goes to whoever has waited longest and may have it."""
    places = [await take(shares, f"function_{number}") for number in range(6)]
    served: list[int] = []

    async def wait(number: int) -> None:
        await take(shares, "another", 60)
        served.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert shares.waiting(Share.CONNECTIONS) == 3
    for place in places[:3]:
        shares.leave(place)
    await asyncio.gather(*waiting)
    assert served == [0, 1, 2]


async def test_who_may_not_have_a_place_holds_up_nobody(shares: Shares) -> None:
    """Behind a call that waits for its function a call of another function is served."""
    places = [await take(shares, "slow") for _ in range(3)] + [await take(shares, f"f{number}") for number in range(3)]
    blocked = asyncio.create_task(take(shares, "slow", 60))
    other = asyncio.create_task(take(shares, "quick", 60))
    await asyncio.sleep(0)
    shares.leave(places[-1])
    await other
    assert not blocked.done()
    shares.leave(places[0])
    await blocked


async def test_waiters_that_go_leave_nothing_behind(shares: Shares) -> None:
    """A call cancelled while it waits, or at the very moment it was let in, gives back what it had."""
    place = await take(shares, "one", math.inf)
    for let_in in (False, True):
        waiting = asyncio.create_task(take(shares, "other", math.inf))
        await asyncio.sleep(0)
        if let_in:
            shares.leave(place)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert [shares.in_use(share) for share in Share] == [0] * len(Share)
    assert [shares.waiting(share) for share in Share] == [0] * len(Share)


async def test_refusals_are_counted_by_share() -> None:
    """The share that stayed full is told."""
    told: list[Share] = []
    shares = Shares(LIMITS, on_refusal=told.append)
    for _ in range(3):
        await take(shares, "list_matches")
    await refused(shares, "list_matches")
    for _ in range(2):
        await take(shares, "upsert_profile", p_user_id="ada")
    await refused(shares, "delete_profile", p_user_id="ada")
    assert told == [Share.FUNCTION, Share.USER]


async def test_metrics_show_every_share() -> None:
    """What is in use, waits and was refused is in the metrics, for each share."""
    registry = CollectorRegistry()
    metrics = DatabaseMetrics(registry)
    shares = Shares(LIMITS, on_refusal=metrics.refused)
    for share in Share:
        metrics.watch(share, in_use=shares.in_use, waiting=shares.waiting)
    for _ in range(3):
        await take(shares, "list_matches")
    waiting = asyncio.create_task(take(shares, "list_matches"))
    await asyncio.sleep(0)

    def value(name: str, share: str) -> float | None:
        return registry.get_sample_value(f"wingmanmatch_database_calls_{name}", {"share": share})

    assert [value("in_use", share) for share in Share] == [0, 0, 3, 3]
    assert [value("waiting", share) for share in Share] == [0, 0, 1, 0]
    with pytest.raises(errors.ResourceExhausted):
        await waiting
    assert [value("refused_total", share) for share in Share] == [0, 0, 1, 0]


def test_limits_of_a_pool() -> None:
    """Shares are parts of the pool, and at least one call."""
    assert ShareLimits.of(20, function_share=0.5, background_share=0.25, user=4) == ShareLimits(20, 10, 4, 5)
    assert ShareLimits.of(2, function_share=0.1, background_share=0.1, user=4) == ShareLimits(2, 1, 4, 1)
