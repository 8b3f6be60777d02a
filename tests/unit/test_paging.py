"""Page tokens."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wingmanmatch_server import errors
from wingmanmatch_server.paging import last_id_of, page_token


@given(st.uuids(), st.lists(st.one_of(st.text(), st.floats(allow_nan=False), st.none())))
def test_token_leads_back_to_its_id(last_id: uuid.UUID, arguments: list[object]) -> None:
    """With the same arguments a token gives the id it was made of."""
    assert last_id_of(page_token(str(last_id), *arguments), *arguments) == str(last_id)


def test_no_token_is_the_beginning_and_the_end() -> None:
    """An empty token asks for the first page, and stands where none follows."""
    assert page_token(None, "user") == ""
    assert last_id_of("", "user") is None


@given(st.text(max_size=80))
def test_garbage_is_refused(token: str) -> None:
    """Whatever was not issued for these arguments is refused by name of the field."""
    if not token:
        return
    with pytest.raises(errors.InvalidArgument) as raised:
        last_id_of(token, "user", 25.0)
    assert raised.value.reason == "PAGE_TOKEN_INVALID"
    assert raised.value.violations[0].field == "page_token"


def test_token_of_other_arguments_is_refused() -> None:
    """A token belongs to the list it came with."""
    token = page_token(str(uuid.uuid4()), "user", 25.0)
    with pytest.raises(errors.InvalidArgument):
        last_id_of(token, "user", 10.0)
