"""The model of sessions: what it explains, and what it must not."""

import pytest

from support.history.linearizability import Impossible, Linearizable, check
from support.history.operations import Operation
from support.history.session_model import Session, SessionModel
from support.history.writing import Script

FIRST = Session("s1", 1, "a", 100)


def changed(version: int, value: str, expire: int = 100) -> Session:
    """Return the session after updates."""
    return Session("s1", version, value, expire)


def begun() -> Script:
    """Return a history in which a session was created."""
    return Script().add("create", FIRST, value="a")


def updated(script: Script, version: int, value: str) -> Script:
    """Add an update."""
    return script.add("update", changed(version, value), id="s1", value=value)


GOOD = {
    "life": updated(begun(), 2, "b")
    .add("get", changed(2, "b"), id="s1")
    .add("touch", changed(2, "b", 200), id="s1")
    .add("list", (changed(2, "b", 200),))
    .add("delete", id="s1")
    .refuse("get", "SESSION_NOT_FOUND", id="s1")
    .refuse("update", "SESSION_NOT_FOUND", id="s1", value="c")
    .refuse("touch", "SESSION_NOT_FOUND", id="s1")
    .add("list", ()),
    "all ended": begun().add("create", Session("s2", 1, "b", 100), value="b").add("delete_all", 2).add("delete_all", 0),
    "expected version": begun()
    .add("update", changed(2, "b"), id="s1", value="b", expected=1)
    .refuse("update", "SESSION_VERSION_MISMATCH", {"version": "2"}, id="s1", value="c", expected=1),
    "unknown update that came late": begun()
    .lose("update", id="s1", value="b")
    .add("get", FIRST, id="s1")
    .add("get", changed(2, "b"), id="s1"),
    "unknown update that never came": begun().lose("update", id="s1", value="b").add("get", FIRST, id="s1"),
    "unknown creation": begun().lose("create", value="b").add("list", (Session("s2", 1, "b", 100), FIRST)),
    "unknown creation that never came": begun().lose("create", value="b").add("list", (FIRST,)).add("delete_all", 1),
    "unknown touch": begun().lose("touch", id="s1").add("get", changed(1, "a", 300), id="s1"),
    "unknown deletion": begun()
    .lose("delete", id="s1")
    .add("get", FIRST, id="s1")
    .refuse("get", "SESSION_NOT_FOUND", id="s1"),
    "unknown deletion of all": begun().lose("delete_all").add("list", ()),
}
BAD = {
    "lost update": updated(begun(), 2, "b").add("get", FIRST, id="s1"),
    "update lost under another": updated(updated(begun(), 2, "b"), 2, "c"),
    "lost touch": begun().add("touch", changed(1, "a", 200), id="s1").add("get", FIRST, id="s1"),
    "lost deletion": begun().add("delete", id="s1").add("get", FIRST, id="s1"),
    "lost creation": begun().add("list", ()),
    "lost session": begun().refuse("get", "SESSION_NOT_FOUND", id="s1"),
    "ended session in the list": begun().add("delete_all", 1).add("list", (FIRST,)),
    "a session that nobody created": begun().lose("create", value="b").add("list", (FIRST, Session("s2", 1, "c", 100))),
    "wrong count of the ended": begun().add("delete_all", 2),
    "update that counted twice": begun().add("update", changed(3, "b"), id="s1", value="b"),
    "update by a version that is gone": updated(begun(), 2, "b").add(
        "update", changed(3, "c"), id="s1", value="c", expected=1
    ),
    "mismatch with the right version": begun().refuse(
        "update", "SESSION_VERSION_MISMATCH", {"version": "1"}, id="s1", value="b", expected=1
    ),
    "mismatch with a made-up version": begun().refuse(
        "update", "SESSION_VERSION_MISMATCH", {"version": "7"}, id="s1", value="b", expected=3
    ),
    "other data": begun().add("get", changed(1, "z"), id="s1"),
    "unknown update that came twice": begun()
    .lose("update", id="s1", value="b")
    .add("get", changed(2, "b"), id="s1")
    .add("get", changed(3, "b"), id="s1"),
}


@pytest.mark.parametrize("script", GOOD.values(), ids=GOOD)
def test_good(script: Script) -> None:
    """What sessions may do is explained."""
    assert isinstance(check(SessionModel(), script.operations), Linearizable)


@pytest.mark.parametrize("script", BAD.values(), ids=BAD)
def test_bad(script: Script) -> None:
    """What sessions must not do is not explained, and only by its last answer."""
    operations: list[Operation] = script.operations
    assert isinstance(check(SessionModel(), operations[:-1]), Linearizable)
    assert isinstance(check(SessionModel(), operations), Impossible)
