"""Clients of an HTTP address that are slow on purpose, by the thousand and on bare sockets."""

import contextlib
import math
import select
import socket
import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

SILENT = b""
HALF_A_HEADER = b"POST /webhooks/resend HTTP/1.1\r\nHost: localhost\r\nContent-Le"
HALF_A_BODY = b"POST /webhooks/resend HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc"


def connect(url: str, data: bytes = b"", *, receive_buffer: int = 0) -> socket.socket:
    """Return a connection to a URL's host on which `data` was sent."""
    place = urlsplit(url)
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(10)
    connection.connect((place.hostname, place.port))
    with contextlib.suppress(ConnectionError):
        connection.sendall(data)
    return connection


@contextlib.contextmanager
def connections(url: str, data: Sequence[bytes]) -> Iterator[list[socket.socket]]:
    """Yield a connection for each of `data`, which was sent on it."""
    opened: list[socket.socket] = []
    try:
        opened += [connect(url, each) for each in data]
        yield opened
    finally:
        for each in opened:
            each.close()


def seconds_until_closed(opened: Sequence[socket.socket], patience: float) -> list[float]:
    """Return after how many seconds the server closed each connection, fewer of them if some are open after all.

    What it sends before is read and thrown away.
    """
    started, closed = time.monotonic(), []
    poll, left = select.poll(), {each.fileno(): each for each in opened}
    for number in left:
        poll.register(number, select.POLLIN)
    while left and (remaining := started + patience - time.monotonic()) > 0:
        for number, _ in poll.poll(remaining * 1000):
            if is_closed(left[number]):
                closed.append(time.monotonic() - started)
                poll.unregister(number)
                del left[number]
    return closed


def seconds_until_cut(connection: socket.socket, patience: float) -> float:
    """Return after how many seconds the server cut a connection from which nothing is read; infinity if it did not."""
    started, poll = time.monotonic(), select.poll()
    poll.register(connection, select.POLLRDHUP)
    return time.monotonic() - started if poll.poll(patience * 1000) else math.inf


def is_closed(connection: socket.socket) -> bool:
    """Return whether a connection that has something to read has its end to read."""
    try:
        return connection.recv(65536) == b""
    except ConnectionError:
        return True


def exchange(url: str, data: bytes, *, patience: float = 5.0) -> bytes:
    """Send bytes and return all that is answered until the server ends the connection."""
    with connect(url, data) as connection:
        connection.settimeout(patience)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while got := connection.recv(65536):
                answer += got
        return answer
