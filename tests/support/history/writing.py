"""Short ways to write histories down."""

from collections.abc import Hashable
from typing import Any

from support.history.operations import NEVER, Operation, Outcome, Refusal


def operation(name: str, start: float, end: float | None, result: Any = None, **arguments: Hashable) -> Operation:
    """Return an operation of the key "x": refused if the result is a Refusal, unknown if it has no end."""
    outcome = Outcome.UNKNOWN if end is None else Outcome.REFUSED if isinstance(result, Refusal) else Outcome.OK
    return Operation(0, "x", name, start, NEVER if end is None else end, outcome, arguments, result)


class Script:
    """Writes operations one after the other, each a second long."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def add(self, name: str, result: Any = None, **arguments: Hashable) -> "Script":
        """Add an operation with its answer."""
        start = float(2 * len(self.operations))
        self.operations.append(operation(name, start, start + 1, result, **arguments))
        return self

    def refuse(self, name: str, reason: str, details: dict[str, str] | None = None, **arguments: Hashable) -> "Script":
        """Add an operation that is refused."""
        return self.add(name, Refusal(reason, tuple(sorted((details or {}).items()))), **arguments)

    def lose(self, name: str, **arguments: Hashable) -> "Script":
        """Add an operation of unknown outcome."""
        self.operations.append(operation(name, float(2 * len(self.operations)), None, **arguments))
        return self
