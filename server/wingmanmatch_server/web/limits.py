"""What one HTTP connection may cost, and all of a listener's together."""

from dataclasses import dataclass

KIB = 1024


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The limits of one listener; times in seconds, sizes in bytes.

    A request's header must be complete `header_timeout` after the connection was made, or after the first byte of a
    later request; its body `body_timeout` after that. Its handler then has `handler_timeout`, and the client
    `response_timeout` to read what it answers. Without a request a connection is closed after `idle_timeout`.

    Of more than `max_connections` the one that has waited longest for a request is closed, or if all are being
    answered, the newest.
    """

    max_connections: int = 256
    header_timeout: float = 5.0
    body_timeout: float = 5.0
    handler_timeout: float = 15.0
    response_timeout: float = 10.0
    idle_timeout: float = 10.0
    max_line: int = 8 * KIB  # of the request line, and of each header
    max_headers: int = 64
    max_body: int = 256 * KIB


ADMIN_CONNECTIONS = 32
# Between a supervisor and its workers: the client closes idle connections after 15 s, and must be the first to do so,
# or it would send requests into connections that are just being closed.
BETWEEN_PROCESSES = HttpLimits(idle_timeout=60.0)
