"""API keys and their entries."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wingmanmatch_server.bootstrap import SERVICES
from wingmanmatch_server.identity.api_keys import SCOPES, ApiKeyError, ApiKeys, create_key, parse_keys
from wingmanmatch_server.interceptors.policy import methods_of

SECRET = "s" * 43


def test_a_key_is_found_by_its_entry() -> None:
    """What `keys create` prints is what the server needs to know the caller, and holds no part of the key."""
    key, entry = create_key("booking", ["matching", "session"], SECRET)
    found = ApiKeys(entry.line(), None).find(key)
    assert found is not None
    assert (found.name, found.scopes) == ("booking", {"matching", "session"})
    assert SECRET not in entry.line()


def test_only_the_whole_key_opens() -> None:
    """Neither a part, nor another key, nor the hash itself is a key."""
    key, entry = create_key("booking", ["*"], SECRET)
    keys = ApiKeys(entry.line(), None)
    assert entry.digest
    assert all(keys.find(wrong) is None for wrong in (key[:-1], key + "s", SECRET, "", entry.digest.hex(), "wmk_é"))


@pytest.mark.parametrize(("written", "calls"), [("", None), (":1", 1), (":50", 50), (":100000", 100_000)])
def test_an_entry_may_say_how_often_its_caller_calls(written: str, calls: int | None) -> None:
    """A number after the hash, or after `certificate`, is calls a second, and is written again as it was read."""
    key, entry = create_key("booking", ["*"], SECRET)
    lines = [f"{entry.line()}{written}", f"booking:*:certificate{written}"]
    keys = ApiKeys(",".join(lines), None)
    for found, line in zip((keys.find(key), keys.entry_of_certificate("booking")), lines, strict=True):
        assert found is not None
        assert (found.calls_per_second, found.line()) == (calls, line)


def test_two_keys_of_one_name_are_both_good() -> None:
    """For as long as a key is being replaced, both open."""
    old, first = create_key("booking", ["matching"], "a" * 43)
    new, second = create_key("booking", ["matching"], "b" * 43)
    keys = ApiKeys(f"{first.line()},{second.line()}", None)
    assert keys.find(old) is not None
    assert keys.find(new) is not None


@pytest.mark.parametrize(
    "entry",
    [
        "booking",
        "booking:matching",
        ":matching:" + "0" * 64,
        "Booking:matching:" + "0" * 64,
        "booking::" + "0" * 64,
        "booking:matching+:" + "0" * 64,
        "booking:matching:" + "0" * 63,
        "booking:matching:wmk_" + SECRET,
        "x" * 64 + ":matching:" + "0" * 64,
        "booking:matching:" + "0" * 64 + ":",
        "booking:matching:" + "0" * 64 + ":0",
        "booking:matching:" + "0" * 64 + ":-5",
        "booking:matching:" + "0" * 64 + ":1.5",
        "booking:matching:" + "0" * 64 + ":100001",
        "booking:matching:" + "0" * 64 + ":" + "9" * 5000,
        "booking:matching:" + "0" * 64 + ":\u0665",
        "booking:matching:" + "0" * 64 + ":5:5",
    ],
)
def test_wrong_entry_is_told_by_its_place_alone(entry: str) -> None:
    """An error says which line is wrong and why; if somebody pasted a key there, it is not repeated."""
    with pytest.raises(ApiKeyError) as raised:
        parse_keys(f"# keys\n\n{entry}\n", "keys.txt")
    assert str(raised.value).startswith("keys.txt, line 3: ")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("scopes", [["bogus"], ["matching", "moderatoin"], ["Matching"], [""]])
def test_unknown_scope_is_refused(scopes: list[str]) -> None:
    """A scope that does not exist makes neither a key nor an entry, and both say so by the same sentence."""
    with pytest.raises(ApiKeyError) as made:
        create_key("booking", scopes, SECRET)
    with pytest.raises(ApiKeyError) as parsed:
        parse_keys(f"booking:{'+'.join(scopes)}:{'0' * 64}", "API_KEYS")
    assert str(made.value).partition(": ")[2] == str(parsed.value).partition(": ")[2]


def test_unknown_scope_is_named_with_the_known_ones() -> None:
    """Whoever mistyped a scope reads which it is and what there is to choose from."""
    with pytest.raises(ApiKeyError) as raised:
        create_key("booking", ["matching", "bogus"], SECRET)
    assert str(raised.value) == f"the new key: there is no scope 'bogus'; the scopes are {', '.join(SCOPES)}"


def test_every_area_of_the_api_has_a_scope() -> None:
    """The scopes are the areas that the protos have, beside those for all of them and for administration."""
    areas = {method.area for service in SERVICES for method in methods_of(service)}
    assert set(SCOPES) == areas | {"*", "admin"}


@given(st.text(max_size=200))
def test_any_text_is_entries_or_an_error(text: str) -> None:
    """Nothing but ApiKeyError comes of text that is no list of keys, and what is accepted can be written again."""
    try:
        entries = parse_keys(text, "x")
    except ApiKeyError:
        return
    assert parse_keys("\n".join(entry.line() for entry in entries), "x") == entries


def test_file_is_followed_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    """A changed file is in force after `reload`; a wrong or missing one leaves the last good keys."""
    old, first = create_key("old", ["*"], "a" * 43)
    new, second = create_key("new", ["*"], "b" * 43)
    path = tmp_path / "keys"
    path.write_text(first.line())
    keys = ApiKeys("", path)
    assert not keys.reload()
    replace(path, second.line())
    assert keys.reload()
    assert (keys.find(old), keys.find(new) is not None) == (None, True)
    replace(path, "nonsense")
    assert not keys.reload()
    path.unlink()
    assert not keys.reload()
    assert keys.find(new) is not None


def replace(path: Path, text: str) -> None:
    """Put another file into the place of one, as a careful program does."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)
