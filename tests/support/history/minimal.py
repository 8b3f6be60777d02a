"""Reduces a history that is not linearizable to the operations that make it so, for a person to read.

Only steps that cannot make a good history bad are taken: the history is cut after the operation that no order explains,
operations that change nothing are left out, and outcomes are forgotten, for a history stays linearizable if less is
known of it. So what is left is impossible by itself, whatever became of the operations that are left out.
"""

from collections.abc import Callable, Sequence

from support.history.linearizability import Impossible, check
from support.history.operations import Model, Operation, forgotten

MOST_CONFIGURATIONS = 1_000  # more are not worth the wait: an outcome that is not forgotten is only shown


def minimal(model: Model, history: Sequence[Operation]) -> list[Operation]:
    """Return the operations of a history that is not linearizable whose outcomes no order explains, by their starts."""

    def fails(candidate: Sequence[Operation]) -> bool:
        return isinstance(check(model, candidate, most_configurations=MOST_CONFIGURATIONS), Impossible)

    verdict = check(model, history)
    if not isinstance(verdict, Impossible):
        raise TypeError(f"the history is not known to be impossible: {type(verdict).__name__}")
    kept = _cut(history, verdict.blocked.end)
    if not fails(kept):  # too dear to search again and again
        return kept
    kept = _weakened(model, kept, fails)
    return sorted((each for each in kept if not each.unknown), key=lambda each: each.start)


def _cut(history: Sequence[Operation], end: float) -> list[Operation]:
    """Return what had begun by then; what ended later is not known to have ended."""
    begun = [each for each in history if each.start <= end]
    return [each if each.end <= end else forgotten(each) for each in begun]


def _weakened(
    model: Model, history: Sequence[Operation], fails: Callable[[Sequence[Operation]], bool]
) -> list[Operation]:
    """Leave out reads and forget outcomes, the latest first, as long as the history stays impossible."""
    kept = list(history)
    for operation in sorted(history, key=lambda each: -each.start):
        if operation.unknown:
            continue
        others = [each for each in kept if each is not operation]
        candidate = others if model.reads(operation) else [*others, forgotten(operation)]
        if fails(candidate):
            kept = candidate
    return kept
