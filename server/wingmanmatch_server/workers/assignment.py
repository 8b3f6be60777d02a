"""What a supervisor and its worker tell each other: one line of JSON each way, over the worker's pipes.

Not the command line, which anybody on the machine may read: the addresses of engines hold passwords.
"""

import asyncio
import signal
import sys
from dataclasses import asdict, dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where a worker listens, and where its engines are; `database_url` is None where REST leads to it."""

    grpc_listen: str
    http_listen: str
    admin_listen: str
    database_url: str | None
    redis_url: str

    @property
    def listens(self) -> dict[str, str]:
        """The settings that say where the worker listens."""
        return {name: getattr(self, name) for name in ("grpc_listen", "http_listen", "admin_listen")}

    def to_line(self) -> bytes:
        """Return the line that `read_assignment` reads."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)


def read_assignment() -> Assignment:
    """Return what the supervisor wrote to this process's standard input."""
    return Assignment(**orjson.loads(sys.stdin.buffer.readline()))


def tell_ready(grpc_address: str) -> None:
    """Tell the supervisor that this worker answers, and where."""
    sys.stdout.buffer.write(ready_line(grpc_address))
    sys.stdout.buffer.flush()


def ready_line(grpc_address: str) -> bytes:
    """Return the line that `parse_ready` understands."""
    return orjson.dumps({"grpc": grpc_address}, option=orjson.OPT_APPEND_NEWLINE)


def parse_ready(line: bytes) -> str:
    """Return the address that a worker told."""
    address: str = orjson.loads(line)["grpc"]
    return address


def stop_with_supervisor() -> None:
    """Stop as by SIGTERM once the supervisor is gone: then standard input ends. Call it on the event loop."""
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(sys.stdin.fileno())
        signal.raise_signal(signal.SIGTERM)

    loop.add_reader(sys.stdin.fileno(), ended)
