"""How a client reaches its servers."""

import json
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import MethodOptions

from support.protos import methods, policy
from wingmanmatch_client import rpcs
from wingmanmatch_client.connection import Tls, channel_options, credentials_for, is_local

OURS = {method.full_name: method for method in methods() if method.full_name.startswith("wingmanmatch.")}


@pytest.mark.parametrize(
    ("target", "local"),
    [
        ("localhost:50051", True),
        ("127.0.0.1:50051", True),
        ("127.8.9.10:1", True),
        ("[::1]:50051", True),
        ("dns:///localhost:50051", True),
        ("dns://8.8.8.8/localhost:50051", True),
        ("ipv4:127.0.0.1:1,127.0.0.1:2", True),
        ("ipv6:[::1]:1", True),
        ("unix:/run/wingmanmatch", True),
        ("unix-abstract:wingmanmatch", True),
        ("ipv4:127.0.0.1:1,10.0.0.2:2", False),
        ("wingmanmatch.internal:443", False),
        ("localhost.example.org:443", False),
        ("127.0.0.1.example.org:443", False),
        ("10.0.0.1:50051", False),
        ("[fd00::1]:50051", False),
        ("xds:///wingmanmatch", False),
    ],
)
def test_only_this_machine_is_trusted_without_tls(target: str, *, local: bool) -> None:
    """A key never leaves the machine in the clear unless someone said so."""
    assert is_local(target) is local
    assert (credentials_for(target, tls=None) is None) is local


def test_tls_as_said() -> None:
    """What is said comes before what the target looks like."""
    assert credentials_for("wingmanmatch.internal:50051", tls=False) is None
    assert credentials_for("localhost:50051", tls=True) is not None
    assert credentials_for("localhost:50051", tls=Tls()) is not None


def test_missing_file(tmp_path: Path) -> None:
    """An authority that is not there is no reason to trust everybody."""
    with pytest.raises(FileNotFoundError):
        credentials_for("wingmanmatch.internal:443", tls=Tls(ca_file=tmp_path / "ca.pem"))


def test_every_rpc_is_known_as_its_proto_says() -> None:
    """Deadlines, keys and whether an RPC can be repeated come from the descriptors."""
    known = {f"{rpc.service}.{rpc.name}": rpc for rpc in rpcs.RPCS}
    assert known.keys() == OURS.keys()
    for name, method in OURS.items():
        seconds = policy(method).default_deadline.ToTimedelta().total_seconds()
        assert known[name].deadline == (seconds or None)
        assert known[name].keyed == ("request_id" in method.input_type.fields_by_name)
        assert known[name].request.DESCRIPTOR is method.input_type
        assert known[name].response.DESCRIPTOR is method.output_type


def test_what_is_retried() -> None:
    """Every RPC that has the effect of once however often it is sent, and UNAVAILABLE alone."""
    (_, text), *_ = (option for option in channel_options() if option[0] == "grpc.service_config")
    (group,) = json.loads(str(text))["methodConfig"]
    retried = {f"{name['service']}.{name['method']}" for name in group["name"]}
    unknown = MethodOptions.IDEMPOTENCY_UNKNOWN
    repeatable = {name for name, each in OURS.items() if each.GetOptions().idempotency_level != unknown}
    assert group["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert OURS.keys() - retried == {
        "wingmanmatch.coaching.v1.CoachingService.Chat",
        "wingmanmatch.ratelimit.v1.RateLimitService.StreamCheckRateLimit",
    }
    assert repeatable - retried == {"wingmanmatch.ratelimit.v1.RateLimitService.StreamCheckRateLimit"}
