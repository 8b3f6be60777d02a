"""Page tokens and resume tokens."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wingmanmatch_server import errors
from wingmanmatch_server.paging import LIFETIME, PageTokens, resume_token, sequence_of

OLD, NEW = "the old secret, of more than thirty-two", "the new secret, of more than thirty-two"
NOW = 1_800_000_000.0
VALUES = st.one_of(st.text(), st.integers(), st.floats(allow_nan=False), st.none(), st.lists(st.integers()))


def tokens(*secrets: str, now: float = NOW) -> PageTokens:
    """Return the tokens of a server with these secrets at that time."""
    return PageTokens(secrets or [NEW], lambda: now)


def refusal(pages: PageTokens, token: str, *question: object) -> tuple[str, str]:
    """Return the reason and the text with which a token is refused."""
    with pytest.raises(errors.InvalidArgument) as raised:
        pages.open(token, *question)
    assert raised.value.violations[0].field == "page_token"
    return raised.value.reason, str(raised.value)


@given(st.dictionaries(st.text(), VALUES), st.lists(VALUES))
def test_token_leads_back_to_its_position(position: dict[str, object], question: list[object]) -> None:
    """With the same question a token gives the position it was made of."""
    assert tokens().open(tokens().seal(position, *question), *question) == position


def test_no_token_is_the_beginning_and_the_end() -> None:
    """An empty token asks for the first page, and stands where none follows."""
    assert tokens().seal(None, "List") == ""
    assert tokens().open("", "List") is None


def test_no_position_is_the_beginning() -> None:
    """Even an empty position is one."""
    assert tokens().seal({}, "List") != ""


@given(st.text(min_size=1, max_size=80))
def test_garbage_is_refused(token: str) -> None:
    """Whatever was not issued is refused by name of the field."""
    assert refusal(tokens(), token, "List")[0] == "PAGE_TOKEN_INVALID"


def test_every_refusal_is_the_same() -> None:
    """Foreign, altered, forged and old tokens get one refusal; a good token has one spelling."""
    good = tokens().seal({"id": 1}, "List", "ann")
    middle = len(good) // 2
    altered = good[:middle] + ("A" if good[middle] != "A" else "B") + good[middle + 1 :]
    refusals = {
        refusal(tokens(), good, "List", "ben"),
        refusal(tokens(), good, "Other", "ann"),
        refusal(tokens(), altered, "List", "ann"),
        refusal(tokens(), good + "=", "List", "ann"),
        refusal(tokens(), good[:9] + "\n" + good[9:], "List", "ann"),
        refusal(tokens(), tokens(OLD).seal({"id": 1}, "List", "ann"), "List", "ann"),
        refusal(tokens(now=NOW + LIFETIME + 1), good, "List", "ann"),
        refusal(tokens(), "x", "List", "ann"),
    }
    assert len(refusals) == 1


def test_token_is_good_for_its_lifetime() -> None:
    """To the second, and on replicas whose clock is somewhat behind."""
    good = tokens().seal({"id": 1}, "List")
    assert tokens(now=NOW + LIFETIME).open(good, "List") == {"id": 1}
    assert tokens(now=NOW - 30).open(good, "List") == {"id": 1}


def test_secrets_replace_one_another() -> None:
    """A token of either secret is taken while both are there, and none of a secret that is gone."""
    both, old = tokens(NEW, OLD), tokens(OLD).seal({"id": 1}, "List")
    assert both.open(old, "List") == {"id": 1}
    assert tokens(NEW).open(both.seal({"id": 2}, "List"), "List") == {"id": 2}
    assert refusal(tokens(NEW), old, "List")[0] == "PAGE_TOKEN_INVALID"


def test_same_position_gives_other_tokens() -> None:
    """Tokens of one position say not even that they are of one."""
    assert tokens().seal({"id": 1}, "List") != tokens().seal({"id": 1}, "List")


@pytest.mark.parametrize("sequence", [2**63, 2**64 - 1])
def test_forged_number_beyond_the_last_is_refused(sequence: int) -> None:
    """A resume token has no secret; a number that the database cannot hold would fail those who ask beside."""
    with pytest.raises(errors.InvalidArgument) as raised:
        sequence_of(resume_token(sequence, "ann"), "ann")
    assert raised.value.reason == "RESUME_TOKEN_INVALID"


@given(st.integers(0, 2**63 - 1), st.uuids())
def test_resume_token_leads_back_to_its_number(sequence: int, user_id: uuid.UUID) -> None:
    """A resume token gives the number it was made of, to the person it was made for."""
    token = resume_token(sequence, str(user_id))
    assert sequence_of(token, str(user_id)) == sequence
    with pytest.raises(errors.InvalidArgument):
        sequence_of(token, "another")
