"""How open files are shared among connections."""

import subprocess
import sys

import pytest

from wingmanmatch_server.open_files import ConnectionShares, shared

WANTED = ConnectionShares(grpc=10_000, http=256, admin=32)


@pytest.mark.parametrize(("hard", "expected"), [(4000, 1512), (1000, 1000)])
def test_limit_is_raised_as_far_as_it_may_be(hard: int, expected: int) -> None:
    """A thousand connections need more files than a process may often open."""
    code = (
        "import resource; from wingmanmatch_server.open_files import ConnectionShares, reserve_files;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard})); reserve_files(ConnectionShares(900, 80, 20));"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    *warnings, limits = completed.stdout.splitlines()
    assert limits.split() == [str(expected), str(hard)], completed.stderr
    assert ["connections_limited_by_open_files" in line for line in warnings] == [True] * (expected == hard)


@pytest.mark.parametrize("files", [256, 1000, 1024, 4096, 10_000])
def test_shares_leave_room_for_the_process_itself(files: int) -> None:
    """With too few files all listeners together leave half of them, or 512, to databases, Redis and log files."""
    room = shared(WANTED, files, own=512)
    assert room.total <= files - min(512, files // 2)
    assert room.grpc > room.http >= room.admin > 0
    assert room.http <= files // 8


def test_wanted_shares_are_the_most() -> None:
    """A listener never gets more than it wants, however many files there are."""
    room = shared(WANTED, 10_700, own=512)
    assert (room.http, room.admin) == (256, 32)
    assert room.grpc == 10_700 - 512 - 256 - 32
