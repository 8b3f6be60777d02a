"""The bound on calls that are answered before they are charged."""

import pytest

from wingmanmatch_server import errors
from wingmanmatch_server.ratelimit.flood_bound import CALLS_AT_ONCE, FloodBound


def test_bound_is_for_each_subject_and_refills() -> None:
    """Thirty at once and one a second pass; another subject is not affected."""
    now = 100.0
    bound = FloodBound(lambda: now)
    for _ in range(CALLS_AT_ONCE):
        bound.spend("one")
    with pytest.raises(errors.RateLimited) as caught:
        bound.spend("one")
    assert caught.value.policy == "unadmitted_calls"
    assert caught.value.retry_after == pytest.approx(1.0)
    bound.spend("other")
    now += 1.0
    bound.spend("one")
    with pytest.raises(errors.RateLimited):
        bound.spend("one")
