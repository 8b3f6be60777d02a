"""Spoiled requests to every RPC, as somebody with a token, a key, or nothing sends them."""

from pathlib import Path

from support.fuzz.campaign import Result
from support.fuzz.run import fuzz
from support.protos import methods

REQUESTS = 5_000


async def test_spoiled_requests_break_nothing(tmp_path: Path) -> None:
    """None ends with INTERNAL or UNKNOWN, none is logged as an error, and the server is as it was before."""
    result = Result(seed=0)
    assert await fuzz(tmp_path, result, REQUESTS) == []
    assert result.codes.keys() == {method.full_name for method in methods()}
    assert sum(result.total().values()) > REQUESTS
    assert {"OK", "INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND"} <= result.total().keys()
