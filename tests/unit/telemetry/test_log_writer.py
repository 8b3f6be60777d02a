"""The queue before a log, and the thread that writes it."""

import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from wingmanmatch_server.telemetry.log_writer import LogWriter, blocks


class Gate:
    """An output that takes nothing until it is opened, and then no more than `most` bytes at once."""

    def __init__(self, most: int = 1000) -> None:
        self.said = b""
        self.opened, self.reached = threading.Event(), threading.Event()
        self._changed = threading.Condition()
        self._most = most

    def write(self, data: memoryview) -> int:
        """Wait for the gate to open and take some bytes."""
        self.reached.set()
        self.opened.wait()
        with self._changed:
            self.said += bytes(data[: self._most])
            self._changed.notify_all()
        return min(len(data), self._most)

    def has_said(self, what: bytes) -> bool:
        """Wait until all that was taken is `what`, for 10 seconds at most; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.said == what, timeout=10)


class Broken:
    """An output that fails until it is mended."""

    def __init__(self) -> None:
        self.said = b""
        self.tries = 0
        self.works = False
        self.tried = threading.Semaphore(0)

    def write(self, data: memoryview) -> int:
        """Fail, or take everything."""
        self.tries += 1
        self.tried.release()
        if not self.works:
            raise BrokenPipeError
        self.said += bytes(data)
        return len(data)


def loss(lines: int) -> bytes:
    """Return the line about dropped lines."""
    return b"lost %d\n" % lines


@contextmanager
def stuck(capacity: int) -> Iterator[tuple[LogWriter, Gate]]:
    """Yield a writer whose thread is stuck with its first line `first`, and what it is stuck with."""
    gate = Gate()
    writer = LogWriter(gate, loss, capacity)
    writer.write(b"first\n")
    assert gate.reached.wait(10)
    yield writer, gate
    gate.opened.set()
    writer.close(10)


def test_lines_come_whole_and_in_order() -> None:
    """Whatever the output takes at once, lines of several writes come in order and none is missing."""
    gate = Gate(most=7)
    gate.opened.set()
    writer = LogWriter(gate, loss)
    expected = [b"line %d\n" % number * (number % 3 + 1) for number in range(500)]
    for lines in expected:
        writer.write(lines)
    writer.close(10)
    assert gate.said == b"".join(expected)
    assert writer.dropped == 0


def test_lines_beyond_the_capacity_are_dropped_and_counted() -> None:
    """A stuck output holds up nobody; what does not fit is counted, and told in the place where it is missing."""
    with stuck(capacity=30) as (writer, gate):
        writer.write(b"second\n")
        writer.write(b"too\nlong\nfor the room left\n")
        assert writer.dropped == 3
    assert gate.said == b"first\nsecond\nlost 3\n"


def test_full_queue_takes_lines_once_half_is_written() -> None:
    """After an overflow small lines do not slip into the last room: there is one gap, and one line about it."""
    with stuck(capacity=30) as (writer, gate):
        writer.write(b"0123456789" * 2 + b"\n")
        for _ in range(5):
            writer.write(b"0123456789\n")
            writer.write(b"a\n")
        assert writer.dropped == 10
    assert gate.said.splitlines()[2:] == [b"lost 10"]


def test_lines_are_taken_after_a_gap() -> None:
    """Once the output takes lines again they are written after the line about those that are missing."""
    with stuck(capacity=12) as (writer, gate):
        writer.write(b"dropped\n" * 2)
        gate.opened.set()
        assert gate.has_said(b"first\nlost 2\n")
        writer.write(b"last\n")
    assert gate.said == b"first\nlost 2\nlast\n"
    assert writer.dropped == 2


def test_output_that_fails() -> None:
    """Lines that fail are counted, not tried again, and told once a line is written; meanwhile nothing spins."""
    broken = Broken()
    writer = LogWriter(broken, loss)
    writer.write(b"one\n")
    assert broken.tried.acquire(timeout=10)
    assert not broken.tried.acquire(timeout=0.2)
    broken.works = True
    writer.write(b"two\n")
    writer.close(10)
    assert broken.said == b"lost 1\ntwo\n"
    assert writer.dropped == 1


def test_nothing_to_write_ends_nothing() -> None:
    """An empty write is no sign to stop: the lines after it are written."""
    gate = Gate()
    gate.opened.set()
    writer = LogWriter(gate, loss)
    writer.write(b"")
    writer.write(b"one\n")
    assert gate.has_said(b"one\n")
    writer.write(b"")
    writer.write(b"two\n")
    assert gate.has_said(b"one\ntwo\n")
    writer.close(10)


def test_end_is_bounded() -> None:
    """Closing waits no longer than it is told, and what comes later is dropped."""
    with stuck(capacity=100) as (writer, gate):
        writer.close(0.05)
        writer.write(b"late\n")
        assert (gate.said, writer.dropped) == (b"", 1)


def test_pipe_that_does_not_block() -> None:
    """A non-blocking pipe that is full is tried again, and every line arrives once it is read."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb", buffering=0) as output:
        writer = LogWriter(output, loss)
        lines = b"0123456789\n" * 20_000
        writer.write(lines)
        assert pipe.read(len(lines)) == lines
        writer.close(10)
    assert writer.dropped == 0


@pytest.mark.parametrize("length", [1, 100, select.PIPE_BUF - 1, select.PIPE_BUF, 3 * select.PIPE_BUF])
def test_blocks_of_whole_lines(length: int) -> None:
    """Blocks end with a line, hold all of them, and exceed what a pipe takes at once only for a single line."""
    lines = (b"x" * length + b"\n") * 50 + b"short\n" * 2000
    found = list(blocks(lines))
    assert b"".join(found) == lines
    for block in found:
        assert block.endswith(b"\n")
        assert len(block) <= select.PIPE_BUF or block.count(b"\n") == 1


def test_forked_process_writes_too() -> None:
    """After fork the child's lines are written by a thread of the child's own, and the parent's once."""
    code = (
        "import os, sys\n"
        "from wingmanmatch_server.telemetry.log_writer import LogWriter\n"
        "writer = LogWriter(open(2, 'wb', buffering=0, closefd=False), lambda lines: b'')\n"
        "writer.write(b'parent\\n')\n"
        "child = os.fork()\n"
        "if child: os.waitpid(child, 0)\n"
        "else: writer.write(b'child\\n')\n"
        "writer.close()\n"
        "os._exit(0)\n"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert sorted(completed.stderr.splitlines()) == ["child", "parent"]
