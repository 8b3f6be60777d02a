"""Writes log lines in a thread of its own, so that no call waits for whoever reads the log.

The standard library's QueueHandler carries its own records alone, and its queue is bounded by their number. Access
lines come as bytes, in batches, and what has to be bounded is memory.
"""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

CAPACITY = 1024 * 1024  # bytes, about 5,000 lines of the access log
CLOSE_SECONDS = 2.0
RETRY_SECONDS = 0.05


class RawOutput(Protocol):
    """An unbuffered file. A buffered one is flushed when the process ends, and a full pipe would hold that up."""

    def write(self, data: memoryview, /) -> int | None:
        """Write some of `data`; return how many bytes, None if a non-blocking file takes none now. Raises OSError."""


class LogWriter:
    """Takes whole lines, in order, and never waits; lines beyond `capacity` bytes that wait are dropped.

    Lines are taken again once half of that is written, and in the place of those dropped a line says how many. They
    reach a pipe whole, also beside those of other processes, unless a single one is longer than the system writes at
    once (4 KiB on Linux). May be used by any thread, and goes on in a forked process with an empty queue.
    """

    def __init__(self, output: RawOutput, describe_loss: Callable[[int], bytes], capacity: int = CAPACITY) -> None:
        """`describe_loss` returns the line that tells of so many dropped lines."""
        self.dropped = 0  # lines, since the start
        self._output = output
        self._describe_loss = describe_loss
        self._capacity = capacity
        self._closed = False
        self._thread: threading.Thread | None = None
        self._begin()

    def write(self, lines: bytes) -> None:
        """Take lines, each with its end. After `close` they are dropped."""
        if self._process != os.getpid():
            self._begin()
        with self._changed:
            if not self._has_room(len(lines)):
                self._lose(lines)
                return
            self._put_loss()
            self._put(lines)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._changed.notify()

    def flush(self) -> None:
        """Do nothing: what was taken is on its way."""

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Write what waits, for up to so many seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread:
            self._thread.join(seconds)

    def _begin(self) -> None:
        self._process = os.getpid()
        # Its lock is reentrant: a finalizer that runs in the middle of `write` may log as well.
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._full = False
        self._lost = 0  # lines, since the last line that told of it
        self._failing = False
        self._thread = None

    def _has_room(self, size: int) -> bool:
        # Once full, not until half is written: else a gap, and a line about it, would come with every few lines.
        self._full = self._size + size > self._capacity or (self._full and self._size > self._capacity // 2)
        return not (self._full or self._closed)

    def _put(self, lines: bytes) -> None:
        self._waiting.append(lines)
        self._size += len(lines)

    def _put_loss(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            self._put(self._describe_loss(lost))

    def _lose(self, lines: bytes) -> None:
        count = lines.count(b"\n")
        self.dropped += count
        self._lost += count

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            for block in blocks(taken):
                failed = not self._write_out(block)
                with self._changed:
                    self._size -= len(block)
                    self._failing = failed
                    if failed:
                        self._lose(block)

    def _take(self) -> bytes | None:
        """Wait for lines and return all there are; None once the writer is closed and has written everything."""
        with self._changed:
            # To a file that takes nothing there is no use in telling, until there is a line to try it with.
            if not self._waiting and not self._failing:
                self._put_loss()
            while not self._waiting and not self._closed:
                self._changed.wait()
            taken = b"".join(self._waiting) if self._waiting else None
            self._waiting.clear()
            return taken

    def _write_out(self, block: bytes) -> bool:
        rest = memoryview(block)
        try:
            while rest:
                written = self._output.write(rest)
                if written is None:
                    time.sleep(RETRY_SECONDS)
                else:
                    rest = rest[written:]
        except (OSError, ValueError):  # the latter: it was closed
            return False
        return True


def blocks(lines: bytes) -> Iterable[bytes]:
    """Yield all lines in blocks that a pipe takes whole or not at all, or of a single line where that is longer."""
    start = 0
    while start < len(lines):
        end = lines.rfind(b"\n", start, start + select.PIPE_BUF) + 1 or lines.find(b"\n", start) + 1 or len(lines)
        yield lines[start:end]
        start = end
