"""Bounds the streams that need no credential, by the address they come from."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.peer import PeerAddress

RETRY_AFTER = 5.0  # seconds


class PeerStreams:
    """Admits so many streams of each address at a time, and so many of all."""

    def __init__(self, peer_of: PeerAddress, each: int, in_all: int) -> None:
        self._peer_of = peer_of
        self._each = each
        self._in_all = in_all
        self._open: Counter[str] = Counter()
        self._total = 0

    @contextmanager
    def place(self, context: "grpc.aio.ServicerContext[Any, Any]") -> Iterator[None]:
        """Hold a place for a stream. Raises errors.ResourceExhausted if there is none."""
        peer = self._peer_of(context)
        if self._total >= self._in_all or self._open[peer] >= self._each:
            message = "as many streams of this kind are open as the server takes from one address"
            raise errors.ResourceExhausted("OVERLOADED", message, retry_after=RETRY_AFTER)
        self._open[peer] += 1
        self._total += 1
        try:
            yield
        finally:
            self._total -= 1
            self._open[peer] -= 1
            if not self._open[peer]:
                del self._open[peer]
