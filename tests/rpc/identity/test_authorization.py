"""Who may call what: every RPC of the API times every kind of caller, so that no new RPC can be forgotten."""

import random
import string
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor

from support.any_method import begin, request_of
from support.credentials import (
    ADMIN_KEY,
    KEY,
    OTHER,
    OWN,
    SCOPELESS_KEY,
    SECRET,
    SETTINGS,
    bearer,
    user_token,
)
from support.edge import MATCHING, Edge, Failure, channel_to, failure_of
from support.protos import methods, policy
from wingmanmatch.options.v1 import options_pb2
from wingmanmatch_server.bootstrap import SERVICES, Application
from wingmanmatch_server.bootstrap.identity import open_identity
from wingmanmatch_server.interceptors.door import guarded_handler
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system.health import Health

CALLERS = {
    "nobody": None,
    "wrong key": KEY[:-1] + "x",
    "key without scope": SCOPELESS_KEY,
    "key": KEY,
    "administrator's key": ADMIN_KEY,
    "own token": user_token(OWN),
    "other user's token": user_token(OTHER),
    "expired token": user_token(OWN, exp=1),
    "tampered token": user_token(OWN)[:-6] + "AAAAAA",
    "garbage": "garbage",
}
UNAUTHENTICATED, DENIED, PASSED = "CREDENTIAL_INVALID", "ACCESS_DENIED", "passed"
INVALID = ("wrong key", "expired token", "tampered token", "garbage")


def expected(method: MethodDescriptor, caller: str) -> str:
    """Restate the rules: what a caller meets at an RPC whose request names the user OWN, if it names one."""
    rules = policy(method)
    if caller in INVALID:
        return UNAUTHENTICATED
    if rules.access == options_pb2.ACCESS_PUBLIC:
        return PASSED
    if caller == "nobody":
        return UNAUTHENTICATED
    if caller.endswith("token"):
        is_free = caller == "own token" or not rules.user_field
        return PASSED if rules.access == options_pb2.ACCESS_USER and is_free else DENIED
    if rules.access == options_pb2.ACCESS_ADMIN:
        return PASSED if caller == "administrator's key" else DENIED
    return DENIED if caller == "key without scope" else PASSED


@pytest.fixture(scope="module")
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """A channel to every service behind the edge with credentials; nothing is implemented, so what passes says so."""
    edge = Edge()
    async with open_identity(Settings(_env_file=None, **SETTINGS)) as identity:
        interceptors = edge.replaced(identity)
        handlers = [guarded_handler(service, None, interceptors, identity) for service in SERVICES]
        async with channel_to(Application(handlers, Health(()), edge.registry)) as channel:
            yield channel


async def call(channel: grpc.aio.Channel, method: MethodDescriptor, credential: str | None) -> Failure:
    """Call an RPC with a request about OWN and return how it failed, as all do here."""
    return await failure_of(begin(channel, method, OWN, credential))


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("method", methods(), ids=lambda method: method.full_name.removeprefix("wingmanmatch."))
async def test_matrix(channel: grpc.aio.Channel, method: MethodDescriptor, caller: str) -> None:
    """Each caller meets what the policy says; who passes meets the request's faults or the missing implementation."""
    failure = await call(channel, method, CALLERS[caller])
    passed = failure.reason in ("NOT_IMPLEMENTED", "FIELD_INVALID")
    assert (PASSED if passed else failure.reason) == expected(method, caller)


async def test_all_bad_credentials_get_one_answer(channel: grpc.aio.Channel) -> None:
    """An unknown key, a forged token and garbage can't be told apart by what is answered."""
    method = MATCHING.methods_by_name["GetProfile"]
    answers = {(await call(channel, method, CALLERS[caller])).message for caller in (*INVALID, "nobody")}
    assert len(answers) == 1


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {KEY}")),
        (("authorization", KEY),),
        (("authorization", f"Basic {KEY}"),),
        (("authorization", "Bearer"),),
        (("authorization", ""),),
        (("authorization", f"Bearer {'x' * 7000}"),),
    ],
    ids=["twice", "without scheme", "another scheme", "nothing", "empty", "very long"],
)
async def test_malformed_authorization(channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
    """Metadata that is not exactly one bearer is refused as any bad credential."""
    method = channel.unary_unary(f"/{MATCHING.full_name}/GetProfile")
    failure = await failure_of(method(b"", timeout=10, metadata=metadata))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, UNAUTHENTICATED)


async def test_fuzzed_authorization(channel: grpc.aio.Channel) -> None:
    """No credential, made up or a good one with a mistake in it, leads to anything but the one refusal."""
    chance = random.Random(5)
    method = channel.unary_unary(f"/{MATCHING.full_name}/GetProfile")

    def spoilt(credential: str) -> str:
        characters = list(credential)
        for _ in range(chance.randint(1, 4)):
            characters[chance.randrange(len(characters) - 2)] = chance.choice(string.printable[:94])
        return "".join(characters)

    made_up = ["".join(chance.choices(string.printable[:94] + " ", k=chance.randint(1, 300))) for _ in range(100)]
    wrong = [spoilt(good) for good in (KEY, user_token(OWN)) * 50]
    values = [*made_up, *(f"Bearer {each}" for each in (*made_up, *wrong) if each not in (KEY, user_token(OWN)))]
    calls = [method(b"", timeout=20, metadata=(("authorization", value),)) for value in values]
    assert {(await failure_of(call)).reason for call in calls} == {UNAUTHENTICATED}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_scheme_in_any_case(channel: grpc.aio.Channel, scheme: str) -> None:
    """The scheme's name is not case-sensitive."""
    method = channel.unary_unary(f"/{MATCHING.full_name}/GetProfile")
    failure = await failure_of(method(b"", timeout=10, metadata=(("authorization", f"{scheme} {KEY}"),)))
    assert failure.reason == "FIELD_INVALID"


async def test_user_named_in_upper_case_is_the_same_user(channel: grpc.aio.Channel) -> None:
    """UUIDs are compared as UUIDs are: without regard to case."""
    request = request_of(MATCHING.methods_by_name["GetProfile"], OWN.upper())
    method = channel.unary_unary(f"/{MATCHING.full_name}/GetProfile")
    metadata = bearer(user_token(OWN))
    failure = await failure_of(method(request.SerializeToString(), timeout=10, metadata=metadata))
    assert failure.reason == "NOT_IMPLEMENTED"


async def test_forged_none_algorithm_is_no_credential(channel: grpc.aio.Channel) -> None:
    """A token that names no algorithm, or the secret's with another signature, opens nothing."""
    head, body, _ = user_token(OWN).split(".")
    for forged in (f"{head}.{body}.", f"eyJhbGciOiJub25lIn0.{body}.", f"{head}.{body}.{SECRET[:43]}"):
        failure = await call(channel, MATCHING.methods_by_name["GetProfile"], forged)
        assert failure.reason == UNAUTHENTICATED


async def test_logs_name_callers_and_hold_no_credential() -> None:
    """The access log knows back ends by name and users as users; keys, tokens, ids and addresses are not in it."""
    edge = Edge()
    token = user_token(OWN, email="ann@example.org")
    async with open_identity(Settings(_env_file=None, **SETTINGS)) as identity:
        handler = guarded_handler(MATCHING, None, edge.replaced(identity), identity)
        async with channel_to(Application([handler], Health(()), edge.registry)) as channel:
            for credential in (KEY, token, None, "garbage"):
                await call(channel, MATCHING.methods_by_name["GetProfile"], credential)
    log = b"".join(edge.log_lines()).decode()
    assert [name in log for name in ('"booking"', '"user"', '"local"')] == [True, True, True]
    assert not any(secret in log for secret in (KEY, token[:20], "garbage", OWN, "ann@example.org"))
