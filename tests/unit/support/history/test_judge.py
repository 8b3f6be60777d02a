"""The judge: which model holds which key, what is left out, and what a person reads of a violation."""

from dataclasses import replace

from support.history.judge import Crashes, Finding, judge
from support.history.limit_bounds import Answer, Policy
from support.history.losses import crash
from support.history.operations import Operation, Outcome, Refusal
from support.history.session_model import Session
from support.history.writing import operation

KEY = "session user 1"
LOST = [
    operation("create", 0, 1, Session("s1", 1, "a", 9), value="a"),
    operation("update", 2, 3, Session("s1", 2, "b", 9), id="s1", value="b"),
    operation("get", 6, 7, Session("s1", 1, "a", 9), id="s1"),
]
POLICIES = {"tiny": Policy(1, 0)}


def of(key: str, *operations: Operation) -> list[Operation]:
    """Return operations as those of a key."""
    return [replace(each, key=key) for each in operations]


def test_violation() -> None:
    """A lost update is a violation, and its text names the update, the read that missed it and the state."""
    report = judge(of(KEY, *LOST), POLICIES)
    (verdict,) = report.verdicts
    assert (verdict.key, verdict.finding, report.holds) == (KEY, Finding.VIOLATED, False)
    assert "of 3 operations these 2 can have no order" in verdict.text
    assert "update(id=s1, value=b)" in verdict.text
    assert "version=2, value='b'" in verdict.text
    assert "VIOLATED" in report.line()


def test_other_keys_hold() -> None:
    """Keys are judged by themselves: the violation of one is not another's."""
    report = judge([*of(KEY, *LOST), *of("session user 2", *LOST[:2])], POLICIES)
    assert [each.key for each in report.found(Finding.HOLDS)] == ["session user 2"]


def test_loss_in_a_crash() -> None:
    """What a crash of Redis excuses is counted as lost, and not taken for what holds."""
    report = judge(of(KEY, *LOST), POLICIES, Crashes([crash("", 4, 5)], 3.0))
    assert (report.verdicts[0].finding, report.verdicts[0].lost, report.holds) == (Finding.LOST, 1, True)
    assert "lost 1  holds" in report.line()


def test_crash_of_redis_excuses_no_match() -> None:
    """Matches lie in PostgreSQL: a crash of Redis excuses nothing there."""
    invited = operation("request", 0, 1, Refusal("CANDIDATE_UNAVAILABLE"), user="ann", other="ben")
    report = judge(of("match group 1", invited), POLICIES, Crashes([crash("", 4, 5)], 9.0))
    assert report.verdicts[0].finding is Finding.VIOLATED


def test_refused_whatever_the_state() -> None:
    """A call that its rate limit refuses says nothing of the state."""
    refused = operation("get", 4, 5, Refusal("RATE_LIMITED"), id="s1")
    assert judge(of(KEY, *LOST[:2], refused), POLICIES).holds


def test_conflict_may_be_with_itself() -> None:
    """A conflict says nothing of the effect: the transaction in the way may be that of the same request."""
    history = [LOST[0], operation("update", 2, 3, Refusal("CONFLICT"), id="s1", value="b")]
    for version, value in ((1, "a"), (2, "b")):
        assert judge(
            of(KEY, *history, operation("get", 4, 5, Session("s1", version, value, 9), id="s1")), POLICIES
        ).holds


def test_limits() -> None:
    """Buckets are held to the policy that their key names."""
    answer = Answer(allowed=True, remaining=0, degraded=False)
    grants = [operation("check", n, n + 0.5, answer, cost=1) for n in range(2)]
    report = judge(of("limit tiny of somebody", *grants), POLICIES)
    assert report.verdicts[0].finding is Finding.VIOLATED
    assert "impossible answers" in report.text()
    assert judge(of("limit tiny of somebody", grants[0]), POLICIES).holds


def test_update_sent_again_after_the_session_ended() -> None:
    """An update that found no session may have had its effect before: the server may have sent it twice."""
    history = [
        LOST[0],
        operation("update", 2, 9, Refusal("SESSION_NOT_FOUND"), id="s1", value="b"),
        operation("get", 3, 4, Session("s1", 2, "b", 9), id="s1"),
        operation("delete", 5, 6, None, id="s1"),
    ]
    assert judge(of(KEY, *history), POLICIES).holds
    late = operation("get", 10, 11, Session("s1", 2, "b", 9), id="s1")
    assert not judge(of(KEY, *history, late), POLICIES).holds


def test_counts() -> None:
    """The line counts the operations by their outcomes."""
    report = judge(of(KEY, *LOST[:2], operation("update", 8, None, id="s1", value="c")), POLICIES)
    assert (report.count(Outcome.OK), report.count(Outcome.REFUSED), report.count(Outcome.UNKNOWN)) == (2, 0, 1)
    assert report.line().startswith("operations 3  ok 2  refused 0  unknown 1  keys 1  lost 0  holds")
