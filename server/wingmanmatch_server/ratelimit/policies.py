"""What each rate limit policy allows. Policies are data; nothing here changes once it is made."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from wingmanmatch_server import errors
from wingmanmatch_server.ip_addresses import address_subject

BACKEND_API = "backend_api"  # what a backend's own calls are charged to
BACKEND_CALLS_PER_SECOND = 1000
BACKEND_BURST = 2  # seconds of calls that a backend may make at once
# The subjects of these are addresses, beside users.
ABOUT_ADDRESSES = frozenset({"auth_endpoint", "public_api"})
OUTSIDE = "+outside"  # in the names of buckets that are not those of the server itself
UNLIMITED = 2**31 - 1  # what is told as the capacity of a bucket that is none
MICROSECONDS = 1_000_000
SECONDS_A_DAY = 86_400
# Instants are some 2^51 microseconds, and the script's numbers are whole up to 2^53.
LONGEST_FILL = 2**52
LARGEST_ROUNDING = 0.001


class Outage(StrEnum):
    """What decides while Redis is away: a bucket of this process, or one answer for all."""

    LOCAL = "local"
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """One kind of bucket. `interval` is the microseconds in which a token flows in.

    A capacity of 0 lets nothing pass and an interval of 0 everything; neither is `counted` in a bucket. `bucket` tells
    the limit apart from the policy's others, and has no colon; a bucket takes `full` microseconds to fill; `argument`,
    a cost and a count are what the script is told, `single` for one bucket at a cost of 1; a bucket with `near` tokens
    or less is nearly empty. Where subjects are `addresses`, one is one subject however it is written.
    """

    policy: str
    capacity: int
    interval: int
    shadow: bool = False
    outage: Outage = Outage.LOCAL
    bucket: str = ""
    addresses: bool = False
    argument: str = field(init=False)
    single: str = field(init=False)
    suffix: str = field(init=False)  # of its keys
    counted: bool = field(init=False)
    near: int = field(init=False)
    full: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bucket", self.bucket or self.policy)
        object.__setattr__(self, "counted", self.capacity > 0 and self.interval > 0)
        object.__setattr__(self, "near", self.capacity // 5)
        object.__setattr__(self, "full", self.capacity * self.interval)
        object.__setattr__(self, "argument", f"{self.interval}:{self.capacity}:{int(not self.shadow)}:")
        object.__setattr__(self, "suffix", "}:" + self.bucket)
        object.__setattr__(self, "single", f"{self.argument}1:1")

    @property
    def unlimited(self) -> bool:
        """Whether everything passes."""
        return self.interval == 0

    def key_of(self, subject: str) -> str:
        """Return the key of a subject's bucket. On a cluster all buckets of a subject share a slot."""
        if self.addresses:
            subject = address_subject(subject)
        if "}" in subject or "%" in subject:
            subject = subject.replace("%", "%25").replace("}", "%7D")
        return "rl:{" + subject + self.suffix

    def keys_of(self, subjects: Sequence[str]) -> list[str]:
        """Return the key of each subject's bucket."""
        all_of_them, suffix = "".join(subjects), self.suffix
        if "}" in all_of_them or "%" in all_of_them or (self.addresses and ":" in all_of_them):
            return [self.key_of(subject) for subject in subjects]
        return ["rl:{" + subject + suffix for subject in subjects]


@dataclass(frozen=True, slots=True)
class Policy:
    """A limit, and those that hold in its place for some subjects or calling back ends.

    A subject's override comes before a caller's. What a caller's override covers has buckets of its own. An `internal`
    policy is one by which the server itself limits calls.
    """

    limit: Limit
    refill_per_second: float
    by_subject: Mapping[str, Limit] = field(default_factory=dict)
    by_caller: Mapping[str, Limit] = field(default_factory=dict)
    internal: bool = False

    @property
    def name(self) -> str:
        """The policy's name."""
        return self.limit.policy

    def limit_for(self, subject: str, caller: str) -> Limit:
        """Return the limit of a subject's bucket when `caller` asks."""
        if self.limit.addresses:
            subject = address_subject(subject)
        return self.by_subject.get(subject) or self.by_caller.get(caller) or self.limit

    def keys_of(self, subject: str) -> list[str]:
        """Return the keys of every bucket that the subject may have."""
        return [limit.key_of(subject) for limit in (self.limit, *self.by_caller.values())]


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies in force. `version` differs where one of them does; `replicas` share what is local in an outage."""

    by_name: Mapping[str, Policy]
    version: str
    replicas: int = 1
    without_overrides: Mapping[str, Limit] = field(init=False)  # of each policy that has one limit for all

    def __post_init__(self) -> None:
        plain = (each for each in self.by_name.values() if not each.by_subject and not each.by_caller)
        object.__setattr__(self, "without_overrides", {each.name: each.limit for each in plain})

    def policy(self, name: str) -> Policy:
        """Return a policy. Raises errors.NotFound."""
        try:
            return self.by_name[name]
        except KeyError:
            message = "no rate limit policy has this name"
            raise errors.NotFound("RATE_LIMIT_POLICY_NOT_FOUND", message, {"policy": name}) from None


def outside(policies: Policies) -> Policies:
    """Return the policies as a caller without the scope of administration meets them.

    Under internal policies such callers have buckets of their own, so that they can neither spend nor fill those by
    which the server limits calls.
    """
    by_name = {name: _outside(each) if each.internal else each for name, each in policies.by_name.items()}
    return replace(policies, by_name=by_name)


def _outside(policy: Policy) -> Policy:
    def moved(limits: Mapping[str, Limit]) -> Mapping[str, Limit]:
        return {name: _moved(limit) for name, limit in limits.items()}

    return replace(
        policy,
        limit=_moved(policy.limit),
        by_subject=moved(policy.by_subject),
        by_caller=moved(policy.by_caller),
    )


def _moved(limit: Limit) -> Limit:
    return replace(limit, bucket=limit.bucket + OUTSIDE)


def interval_of(refill_per_second: float) -> int:
    """Return the whole microseconds a token takes.

    Raises ValueError where rounding changes the rate by more than one part in a thousand.
    """
    if refill_per_second <= 0:
        raise ValueError("must be more than 0")
    interval = round(MICROSECONDS / refill_per_second)
    if not interval or abs(interval * refill_per_second / MICROSECONDS - 1) > LARGEST_ROUNDING:
        raise ValueError("is too fast to be kept exactly: buckets count in microseconds")
    return interval


def make_limit(
    name: str, capacity: int, refill_per_second: float, *, bucket: str = "", addresses: bool = False
) -> Limit:
    """Return a limit that is enforced. Raises ValueError for numbers that the buckets cannot hold."""
    interval = interval_of(refill_per_second)
    if capacity * interval > LONGEST_FILL:
        raise ValueError("takes more than 140 years to fill the bucket")
    return Limit(name, capacity, interval, bucket=bucket, addresses=addresses)


def resized(limit: Limit, calls_per_second: int) -> Limit:
    """Return the limit for so many calls a second, and for a burst of twice as many.

    A token takes whole microseconds, at least one: 3000 calls a second are 3003.
    """
    interval = max(round(MICROSECONDS / calls_per_second), 1)
    return replace(limit, capacity=BACKEND_BURST * calls_per_second, interval=interval)


def built_in() -> Iterable[Policy]:
    """Return the policies that the protos name, and those of what people do themselves in matching."""
    rates = {
        "public_api": (100, 1.0),
        "auth_endpoint": (10, 0.1),
        "match_request": (5, 0.05),
        "email_send": (3, 0.01),
        "challenge_submit": (20, 0.2),
        "profile_relocation": (3, 3 / SECONDS_A_DAY),
        "candidate_pages": (200, 200 / SECONDS_A_DAY),
    }
    return [
        Policy(make_limit(name, capacity, refill, addresses=name in ABOUT_ADDRESSES), refill)
        for name, (capacity, refill) in rates.items()
    ]


def backend_policy() -> Policy:
    """Return the policy of backends' own calls, whose subjects are their names."""
    rate = BACKEND_CALLS_PER_SECOND
    return Policy(make_limit(BACKEND_API, BACKEND_BURST * rate, rate), float(rate))
