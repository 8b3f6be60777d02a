"""Failed attempts are charged to the address they come from."""

import grpc

from support.credentials import KEY, SETTINGS, bearer
from support.edge import MATCHING, Edge, channel_to, failure_of
from wingmanmatch_server import errors
from wingmanmatch_server.bootstrap import Application
from wingmanmatch_server.bootstrap.identity import open_identity
from wingmanmatch_server.interceptors.door import guarded_handler
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system.health import Health


class TwoGuesses:
    """Lets two attempts fail, and notes to whom they were charged."""

    def __init__(self) -> None:
        self.charged: list[tuple[str, str]] = []

    async def spend(self, policy: str, subject: str, _caller: str) -> None:
        """Charge one."""
        self.charged.append((policy, subject))
        if len(self.charged) > 2:
            raise errors.ResourceExhausted("RATE_LIMITED", "too many attempts", retry_after=10)


async def test_guessing_is_throttled_by_address() -> None:
    """A bad credential costs its peer a token of auth_endpoint, a good one nothing, and an empty bucket says so."""
    edge, guesses = Edge(), TwoGuesses()
    async with open_identity(Settings(_env_file=None, **SETTINGS), guesses) as identity:
        handler = guarded_handler(MATCHING, None, edge.replaced(identity), identity)
        async with channel_to(Application([handler], Health(()), edge.registry)) as channel:
            call = channel.unary_unary(f"/{MATCHING.full_name}/GetProfile")
            credentials = ("wmk_wrong", KEY, None, "garbage")
            codes = [(await failure_of(call(b"", timeout=5, metadata=bearer(each)))).code for each in credentials]
    assert codes == [
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    ]
    assert guesses.charged == [("auth_endpoint", "127.0.0.1")] * 3
