"""The model of matches: what it explains, and what it must not."""

import pytest

from support.history.linearizability import Impossible, Linearizable, check
from support.history.match_model import Match, MatchModel
from support.history.operations import Operation
from support.history.writing import Script


def match(state: str, requester: str = "ann", invitee: str = "ben") -> Match:
    """Return a match as callers see it."""
    return Match(requester, invitee, state, f"{requester}-{invitee}")


def asked(requester: str = "ann", invitee: str = "ben", script: Script | None = None) -> Script:
    """Add an invitation."""
    return (script or Script()).add("request", match("PENDING", requester, invitee), user=requester, other=invitee)


PAIR = {"requester": "ann", "invitee": "ben"}

GOOD = {
    "accepted and ended": asked()
    .add("accept", match("ACCEPTED"), **PAIR)
    .add("end", match("ENDED"), **PAIR)
    .refuse("end", "MATCH_NOT_ACCEPTED", {"state": "ENDED"}, **PAIR)
    .add("list", (match("ENDED"),), user="ben"),
    "declined, and kept apart": asked()
    .add("decline", match("DECLINED"), **PAIR)
    .refuse("request", "CANDIDATE_UNAVAILABLE", user="ben", other="ann"),
    "withdrawn": asked()
    .add("cancel", match("CANCELLED"), **PAIR)
    .refuse("accept", "MATCH_NOT_PENDING", {"state": "CANCELLED"}, **PAIR)
    .add("list", (), user="cid"),
    "mutual": asked().add("request", match("ACCEPTED"), user="ben", other="ann"),
    "busy requester": asked().refuse(
        "request", "PENDING_MATCH_EXISTS", {"match_id": "ann-ben"}, user="ben", other="cid"
    ),
    "busy invitee": asked().refuse("request", "CANDIDATE_UNAVAILABLE", user="cid", other="ben"),
    "free again": asked("ben", "cid", asked().add("accept", match("ACCEPTED"), **PAIR)),
    "unknown request that others notice": Script()
    .lose("request", user="ann", other="ben")
    .refuse("request", "PENDING_MATCH_EXISTS", {"match_id": "ann-ben"}, user="ben", other="cid")
    .add("list", (match("PENDING"),), user="ben"),
    "unknown request that never came": asked("ben", "cid", Script().lose("request", user="ann", other="ben")),
    "unknown answer": asked()
    .lose("accept", **PAIR)
    .add("get", match("PENDING"), **PAIR)
    .add("get", match("ACCEPTED"), **PAIR),
}
BAD = {
    "lost invitation": asked().add("list", (), user="ann"),
    "lost acceptance": asked().add("accept", match("ACCEPTED"), **PAIR).add("get", match("PENDING"), **PAIR),
    "lost end": asked()
    .add("accept", match("ACCEPTED"), **PAIR)
    .add("end", match("ENDED"), **PAIR)
    .add("list", (match("ACCEPTED"),), user="ann"),
    "two pending matches of one person": asked("cid", "ben", asked()),
    "one pair twice": asked(script=asked().add("cancel", match("CANCELLED"), **PAIR)),
    "mutual, but two matches": asked("ben", "ann", asked()),
    "accepted after it was withdrawn": asked()
    .add("cancel", match("CANCELLED"), **PAIR)
    .add("accept", match("ACCEPTED"), **PAIR),
    "ended twice": asked()
    .add("accept", match("ACCEPTED"), **PAIR)
    .add("end", match("ENDED"), **PAIR)
    .add("end", match("ENDED"), **PAIR),
    "refused for no reason": asked().refuse("accept", "MATCH_NOT_PENDING", {"state": "EXPIRED"}, **PAIR),
    "unavailable for no reason": Script().refuse("request", "CANDIDATE_UNAVAILABLE", user="ann", other="ben"),
    "another id": asked().add("get", Match("ann", "ben", "PENDING", "other"), **PAIR),
}


@pytest.mark.parametrize("script", GOOD.values(), ids=GOOD)
def test_good(script: Script) -> None:
    """What matches may do is explained."""
    assert isinstance(check(MatchModel(), script.operations), Linearizable)


@pytest.mark.parametrize("script", BAD.values(), ids=BAD)
def test_bad(script: Script) -> None:
    """What matches must not do is not explained, and only by its last answer."""
    operations: list[Operation] = script.operations
    assert isinstance(check(MatchModel(), operations[:-1]), Linearizable)
    assert isinstance(check(MatchModel(), operations), Impossible)
