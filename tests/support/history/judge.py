"""Holds the histories of a run against the models, key by key, and says in words what is wrong."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from support.history.limit_bounds import Policy, broken_answers
from support.history.linearizability import Impossible, Linearizable, check
from support.history.losses import ForgetfulModel, count_lost
from support.history.match_model import MatchModel
from support.history.meetup_model import MeetupModel
from support.history.minimal import minimal
from support.history.operations import Model, Operation, Outcome, Refusal, forgotten
from support.history.session_model import SessionModel

MODELS: Mapping[str, Model] = {"session": SessionModel(), "match": MatchModel(), "meetups": MeetupModel()}
# Refused whatever the state, and before any effect.
STATELESS = {"RATE_LIMITED", "OVERLOADED"}
# Refused because another transaction was in the way, which may be this request's own, sent first and not heard of.
CONFLICTS = {"CONFLICT"}


class Finding(Enum):
    """What is found of one key's history."""

    HOLDS = "holds"
    LOST = "lost acknowledged changes in a crash"
    VIOLATED = "violated"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class KeyVerdict:
    """What is found of one key; `text` is what a person needs to see of it.

    `lost` counts acknowledged changes that a crash took back; of a bucket, the answers that only such a loss explains.
    """

    key: str
    finding: Finding
    lost: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Crashes:
    """When Redis was killed or failed over, and for how many seconds before that it may have forgotten."""

    operations: Sequence[Operation] = ()
    window: float = 0.0


@dataclass
class Report:
    """All that was found of a run."""

    operations: Sequence[Operation]
    verdicts: list[KeyVerdict] = field(default_factory=list)

    def count(self, outcome: Outcome) -> int:
        """Return how many operations had an outcome."""
        return sum(each.outcome is outcome for each in self.operations)

    def found(self, finding: Finding) -> list[KeyVerdict]:
        """Return the keys of which this is found."""
        return [each for each in self.verdicts if each.finding is finding]

    @property
    def holds(self) -> bool:
        """Whether nothing is violated or left undecided. What a crash may lose is counted, not forbidden."""
        return not self.found(Finding.VIOLATED) and not self.found(Finding.UNDECIDED)

    def line(self) -> str:
        """Return the run in one line."""
        lost = sum(each.lost for each in self.verdicts)
        outcomes = "  ".join(f"{outcome.value} {self.count(outcome)}" for outcome in Outcome)
        verdict = "holds" if self.holds else "VIOLATED" if self.found(Finding.VIOLATED) else "UNDECIDED"
        return f"operations {len(self.operations)}  {outcomes}  keys {len(self.verdicts)}  lost {lost}  {verdict}"

    def text(self) -> str:
        """Return what a person needs to see of the keys that do not hold."""
        return "\n\n".join(each.text for each in self.verdicts if each.text)


def judge(operations: Sequence[Operation], policies: Mapping[str, Policy], crashes: Crashes | None = None) -> Report:
    """Return what the models say of each key's history; `crashes` are those of Redis."""
    histories: dict[str, list[Operation]] = {}
    for each in operations:
        reason = each.result.reason if isinstance(each.result, Refusal) else ""
        if reason not in STATELESS:
            histories.setdefault(each.key, []).append(forgotten(each) if reason in CONFLICTS else each)
    crashed = crashes or Crashes()
    verdicts = [_judge(key, history, policies, crashed) for key, history in sorted(histories.items())]
    return Report(operations, verdicts)


def _judge(key: str, history: list[Operation], policies: Mapping[str, Policy], crashes: Crashes) -> KeyVerdict:
    area = key.partition(" ")[0]
    if area == "limit":
        return _judge_limit(key, history, policies[key.split()[1]], crashes)
    if area == "session":
        return _judge_register(key, with_possible_effects(history), MODELS[area], crashes)
    return _judge_register(key, history, MODELS[area], Crashes())


def _judge_register(key: str, history: Sequence[Operation], model: Model, crashes: Crashes) -> KeyVerdict:
    verdict = check(model, history)
    if isinstance(verdict, Linearizable):
        return KeyVerdict(key, Finding.HOLDS)
    if not isinstance(verdict, Impossible):
        return KeyVerdict(
            key, Finding.UNDECIDED, text=f"{key}: undecided after {verdict.configurations} configurations"
        )
    if crashes.operations:
        forgetful = ForgetfulModel(model, crashes.operations, crashes.window)
        excused = check(forgetful, [*history, *(replace(each, key=key) for each in crashes.operations)])
        if isinstance(excused, Linearizable):
            return KeyVerdict(key, Finding.LOST, count_lost(excused))
    return KeyVerdict(key, Finding.VIOLATED, text=described(key, model, history, verdict))


def _judge_limit(key: str, history: Sequence[Operation], policy: Policy, crashes: Crashes) -> KeyVerdict:
    broken = broken_answers(policy, history)
    if not broken:
        return KeyVerdict(key, Finding.HOLDS)
    if crashes.operations and not broken_answers(policy, history, crashes=crashes.operations, window=crashes.window):
        return KeyVerdict(key, Finding.LOST, lost=len(broken))
    return KeyVerdict(key, Finding.VIOLATED, text="\n".join([f"{key}: impossible answers", *map(str, broken[:3])]))


def with_possible_effects(history: Iterable[Operation]) -> list[Operation]:
    """Return the history with each update that found no session doubled by one of unknown effect.

    The server sends an update with a request_id again if the answer is lost. Where the session is ended in between,
    the second sending finds none, though the first had its effect.
    """
    operations = []
    for each in history:
        operations.append(each)
        if each.name == "update" and each.refused_for("SESSION_NOT_FOUND"):
            operations.append(forgotten(each))
    return operations


def described(key: str, model: Model, history: Sequence[Operation], verdict: Impossible) -> str:
    """Return why a history is impossible: the operations that are so by themselves, and what no order explains."""
    few = minimal(model, history)
    states = "\n".join(f"         {state}" for state in verdict.states[:5])
    return "\n".join(
        [
            f"{key}: of {len(history)} operations these {len(few)} can have no order:",
            *(str(each) for each in few),
            f"none explains  {verdict.blocked}",
            f"in any of the states that all before it can lead to:\n{states}",
        ]
    )
