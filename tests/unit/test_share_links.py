"""Tokens of share links: what they open, and that nothing else opens anything."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wingmanmatch_server import errors
from wingmanmatch_server.share_links import ShareLinks

SECRET = "a secret that is long enough for this"
LINKS = ShareLinks("challenge_sharing", [SECRET])
OTHERS = (
    ShareLinks("match_sharing", [SECRET]),
    ShareLinks("challenge_sharing", [SECRET + "!"]),
)


def refused(links: ShareLinks, token: str) -> bool:
    """Return whether a token is not found; fail on any other error."""
    try:
        links.link_id(token)
    except errors.NotFound as error:
        return (error.reason, error.metadata) == ("SHARE_LINK_NOT_FOUND", {})
    return False


@given(st.uuids())
def test_token_opens_its_link_and_no_other_kind(link_id: uuid.UUID) -> None:
    """The same id gives the same token, in letters of a URL, under one kind and one secret."""
    token = LINKS.token(str(link_id))
    assert LINKS.link_id(token) == str(link_id)
    assert LINKS.token(str(link_id).upper()) == token
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert all(refused(each, token) for each in OTHERS)


@given(st.one_of(st.text(max_size=64), st.from_regex(r"\A[A-Za-z0-9_-]{43}\Z")))
def test_whatever_was_not_made_here_is_not_found(token: str) -> None:
    """Any text at all."""
    assert refused(LINKS, token)


@given(st.uuids(), st.data())
def test_changed_token_is_not_found(link_id: uuid.UUID, data: st.DataObject) -> None:
    """One letter replaced, dropped or added anywhere."""
    token = LINKS.token(str(link_id))
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("Ab9-_=+/ \n"))
    for changed in (
        token[:place] + letter + token[place + 1 :],
        token[:place] + token[place + 1 :],
        token[:place] + letter + token[place:],
    ):
        assert changed == token or refused(LINKS, changed)


def test_off_without_a_secret() -> None:
    """Nothing is made and nothing read, not even what would be right."""
    off = ShareLinks("match_sharing", [])
    link_id = str(uuid.UUID(int=1))
    for attempt in (off.check_enabled, lambda: off.token(link_id), lambda: off.link_id(LINKS.token(link_id))):
        with pytest.raises(errors.FailedPrecondition) as caught:
            attempt()
        assert (caught.value.reason, caught.value.metadata) == ("FEATURE_DISABLED", {"feature": "match_sharing"})
