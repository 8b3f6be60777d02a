"""What can go wrong, in the domain's words. Knows no gRPC.

    DomainError
    ├── InvalidArgument     the request is wrong whatever the state
    ├── Unauthenticated     no valid credential
    ├── PermissionDenied    a valid credential, but not for this
    ├── NotFound            it does not exist, or not for this person
    ├── FailedPrecondition  the request is wrong now
    ├── Aborted             another change came first; repeat the whole step
    ├── ResourceExhausted   a quota is used up until `retry_after`
    │   └── RateLimited     the quota is a rate limit policy's
    ├── Unavailable         a dependency is unavailable; the same call may succeed later
    ├── DeadlineExceeded    it took longer than it may
    └── Unimplemented       this version does not do it

`interceptors/errors.py` alone knows which gRPC status each becomes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

MAX_DESCRIBED = 5  # violations that a message describes


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One rule that one field breaks."""

    field: str
    rule: str
    description: str


class DomainError(Exception):
    """A failure that the caller may be told about.

    `reason` is the name of a value of `wingmanmatch.error.v1.ErrorReason` without its prefix. `message` and `metadata`
    reach the caller: they carry ids, states and names of rules, and never a secret, an e-mail address or a place.
    """

    def __init__(self, reason: str, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})


class InvalidArgument(DomainError):
    """The request is wrong whatever the state; `violations` name each field and rule."""

    def __init__(
        self,
        violations: Sequence[FieldViolation],
        reason: str = "FIELD_INVALID",
        message: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason, message or _described(violations), metadata)
        self.violations = tuple(violations)


def _described(violations: Sequence[FieldViolation]) -> str:
    described = [f"{violation.field}: {violation.description}" for violation in violations[:MAX_DESCRIBED]]
    more = len(violations) - len(described)
    return "; ".join([*described, f"and {more} more"] if more else described)


class Unauthenticated(DomainError):
    """No valid credential came with the call."""


class PermissionDenied(DomainError):
    """The credential is valid, but not for this."""


class NotFound(DomainError):
    """It does not exist, or not for this person."""


class FailedPrecondition(DomainError):
    """The request is wrong in the present state; until `retry_after` seconds have passed, if that is known."""

    def __init__(
        self, reason: str, message: str, metadata: Mapping[str, str] | None = None, *, retry_after: float | None = None
    ) -> None:
        super().__init__(reason, message, metadata)
        self.retry_after = retry_after


class Aborted(DomainError):
    """Another change came first; the caller repeats the whole step."""


class _Temporary(DomainError):
    """A failure that ends by itself; `retry_after` is in seconds, None where nobody knows."""

    def __init__(
        self, reason: str, message: str, metadata: Mapping[str, str] | None = None, *, retry_after: float | None = None
    ) -> None:
        super().__init__(reason, message, metadata)
        self.retry_after = retry_after


class ResourceExhausted(_Temporary):
    """A quota is used up."""


class RateLimited(ResourceExhausted):
    """The bucket of a rate limit policy does not hold what the call costs; without `retry_after` it never will.

    A bucket of `capacity` tokens fills in `window` seconds and held `remaining` tokens. `subject` is whose it is.
    """

    def __init__(
        self, policy: str, subject: str, *, capacity: int, window: float, remaining: int, retry_after: float | None
    ) -> None:
        super().__init__("RATE_LIMITED", f"rate limit {policy} is used up", {"policy": policy}, retry_after=retry_after)
        self.policy = policy
        self.subject = subject
        self.capacity = capacity
        self.window = window
        self.remaining = remaining


class Evidence(Enum):
    """What the failure of one call says about the dependency, to its circuit breaker."""

    ABSENT = "absent"  # it does not serve
    REFUSES_WRITES = "refuses writes"  # it answers, and takes no change: reads prove nothing to the contrary
    NONE = "none"  # nothing: the call failed for a reason of its own, such as a pool without a free connection


class Unavailable(_Temporary):
    """A dependency is unavailable; the call changed nothing, or is safe to repeat with its request_id.

    `evidence` is what a circuit breaker makes of it.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        *,
        retry_after: float | None = None,
        evidence: Evidence = Evidence.ABSENT,
    ) -> None:
        super().__init__(reason, message, metadata, retry_after=retry_after)
        self.evidence = evidence


class DeadlineExceeded(DomainError):
    """The call took longer than it may."""


class Unimplemented(DomainError):
    """This version of the server does not do it."""


# What may succeed if the same call is made again a little later.
TRANSIENT = (Aborted, ResourceExhausted, Unavailable, DeadlineExceeded)
