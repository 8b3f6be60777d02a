"""The client's faces are what the protos say, and the two are alike."""

import inspect
import subprocess
import sys
from typing import Any

import pytest

from support.protos import REPOSITORY
from wingmanmatch_client import rpcs
from wingmanmatch_client.aio import services as aio
from wingmanmatch_client.sync import services as sync

FACES = {"aio": aio.Services, "sync": sync.Services}


def methods(services: Any) -> dict[str, inspect.Signature]:
    """Return the methods of each service of a face, by their names."""
    made = services(calls=None)
    return {
        f"{name}.{method}": inspect.signature(function)
        for name, service in vars(made).items()
        for method, function in inspect.getmembers(service, inspect.ismethod)
        if not method.startswith("_")
    }


def test_what_is_written_from_the_protos_is_fresh() -> None:
    """Whoever changes a proto or `aio/` runs `make gen`."""
    command = [sys.executable, "protos/generate_client.py", "--check"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("face", FACES)
def test_every_rpc_has_its_method(face: str) -> None:
    """Nothing of the API is out of reach."""
    constants = {name for name, value in vars(rpcs).items() if isinstance(value, rpcs.Rpc)}
    found = {
        name.replace(".", "_").upper()
        for name in methods(FACES[face])
        if not name.partition(".")[2].startswith("iter_")
    }
    assert found == constants
    assert len(constants) == len(rpcs.RPCS)


def test_both_faces_take_the_same() -> None:
    """Who changes from one to the other changes no argument."""
    left, right = methods(aio.Services), methods(sync.Services)
    streams = "rate_limit.stream_check_rate_limit"
    assert left.keys() == right.keys()
    assert {name: each.parameters for name, each in left.items() if name != streams} == {
        name: each.parameters for name, each in right.items() if name != streams
    }


def test_the_synchronous_face_needs_no_event_loop() -> None:
    """Nothing of asyncio is left in it."""
    for name in ("calls", "client", "services"):
        text = (REPOSITORY / "clients/python/wingmanmatch_client/sync" / f"{name}.py").read_text("utf-8")
        words = {"async ", "await ", "asyncio", "aio."}
        assert {word for word in words if word in text.partition('"""\n')[2]} == set()


def test_required_arguments_are_those_that_the_rules_demand() -> None:
    """A field without which the server refuses the request has no default."""
    needed = {
        name: {each.name for each in signature.parameters.values() if each.default is each.empty}
        for name, signature in methods(sync.Services).items()
    }
    assert needed["matching.request_match"] == {"user_id"}
    assert needed["matching.respond_to_match"] == {"match_id", "user_id", "response"}
    assert needed["rate_limit.check_rate_limit"] == {"descriptors"}
    assert needed["session.get_session"] == {"token"}
    assert needed["meetup.schedule_meetup"] == {"match_id", "user_id", "venue_name", "scheduled_time"}
    assert needed["rate_limit.list_policies"] == set()
