"""Tokens that are rightly signed, and that are not a user's, or are valid for longer than any should be."""

import asyncio
import time
from typing import Any

import grpc
import pytest

from support.credentials import bearer
from support.edge import failure_of
from support.requests import TIMEOUT
from wingmanmatch.matching.v1 import matching_service_pb2

YEARS = 365 * 86_400
FORGED: dict[str, dict[str, Any]] = {
    "anonymous role": {"role": "anon"},
    "service role": {"role": "service_role"},
    "administrator of Supabase": {"role": "supabase_admin"},
    "no role": {"role": None},
    "anonymous user": {"is_anonymous": True},
    "valid for a hundred years": {"exp": int(time.time()) + 100 * YEARS},
    "valid for two days": {"exp": int(time.time()) + 2 * 86_400},
    "no expiry": {"exp": None},
    "issued a year ago, valid until tomorrow": {"iat": int(time.time()) - YEARS, "exp": int(time.time()) + 86_000},
}


def get_profile(target: Any, credential: str) -> Any:
    """Ask for the profile of the person whom the credential names."""
    request = matching_service_pb2.GetProfileRequest(user_id=target.user_id)
    return target.client.matching.GetProfile(request, timeout=TIMEOUT, metadata=bearer(credential))


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED)
async def test_token_that_is_no_users(target: Any, changes: dict[str, Any]) -> None:
    """It opens nothing, and its refusal does not say what is wrong with it."""
    failure = await failure_of(get_profile(target, target.project.token(target.user_id, **changes)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")
    assert failure.message == "the call carries no valid credential"


async def test_token_used_until_its_last_second(target: Any) -> None:
    """A token that was accepted is refused from the second on in which it expires, though its user is remembered."""
    expiry = int(time.time()) + 2
    token = target.project.token(target.user_id, exp=expiry)
    accepted = []
    while time.time() < expiry + 0.5:
        begun = time.time()
        try:
            await get_profile(target, token)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED  # noqa: PT017 - which it is depends on the time
        else:
            accepted.append(begun)
        await asyncio.sleep(0.01)
    assert accepted
    assert max(accepted) < expiry
