"""Email addresses and addresses of pictures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wingmanmatch_server.texts.email_addresses import check_email_address, normal_email_address, same_email_address
from wingmanmatch_server.texts.photo_addresses import PhotoAddresses
from wingmanmatch_server.texts.refused import TextRefused

BAD_EMAILS = (
    *("a..b@x.example", "abc.@x.example", ".a@x.example", "=?utf-8?q?=40evil=00?=@x.example", "x@localhost"),
    *("a" * 65 + "@x.example", "jörg@x.example", "x@[10.0.0.1]", "x@10.0.0.1", '"a b"@x.example', "a b@x.example"),
    *(
        "Ann <a@x.example>",
        "a@x.example\n",
        "a@x.example,b@x.example",
        "a@x.example\r\nBcc: b@x.example",
        "a@-x.example",
    ),
    *("a@x", "a@x..example", "a@.x.example", "a@x.example.", "@x.example", "a@", "", "a@x.invalid", "a@x.local"),
    *("ann@" + "d" * 64 + ".example", "ann@" + "d." * 125 + "example", "a@b@x.example", "a\0@x.example"),
)
PHOTOS = PhotoAddresses(["images.example.org"], "https://abc.supabase.co")
STORAGE = "https://abc.supabase.co/storage/v1/object/public/avatars/a.jpg"
BAD_PHOTOS = (
    *("http://images.example.org/a.jpg", "//images.example.org/a.jpg", "https:images.example.org/a.jpg"),
    *("https://images.example.org", "https://images.example.org:443/a.jpg", "https://images.example.org:8443/a.jpg"),
    *("https://ann@images.example.org/a.jpg", "https://ann:x@images.example.org/a.jpg"),
    *("https://images.example.org@evil.example/a.jpg", "https://images.example.org./a.jpg"),
    *("https://images.example.org.evil.example/a.jpg", "https://evilimages.example.org/a.jpg"),
    *("https://images.example.org\\@evil.example/a.jpg", "https://evil.example\\.images.example.org/a.jpg"),
    *("https://images.example.org/a\\b.jpg", "https:\\\\images.example.org/a.jpg", "https://10.0.0.1/a.jpg"),
    *("https://[::1]/a.jpg", "https://2130706433/a.jpg", "https://evil.example/https://images.example.org/a.jpg"),
    *("https://evil.example#@images.example.org/a.jpg", "https://evil.example?images.example.org/a.jpg"),
    *(
        "https://images.example.org/../a.jpg",
        "https://images.example.org/%2E%2e/a.jpg",
        "https://images.example.org/./a",
    ),
    *("https://images.example.org/a b.jpg", "https://images.example.org/ä.jpg", "https://images.example.org/a.jpg\n"),
    *(
        "https://images。example。org/a.jpg",
        "https://abc.supabase.co/auth/v1/authorize?redirect_to=https://evil.example",
    ),
    *("https://abc.supabase.co/storage/v1/../../auth/v1/authorize", "https://abc.supabase.co/storage/v1x/a.jpg", ""),
)


def is_taken(address: str) -> bool:
    """Tell whether an email address passes."""
    try:
        check_email_address(address)
    except TextRefused:
        return False
    return True


@pytest.mark.parametrize("address", BAD_EMAILS, ids=lambda address: ascii(address)[:40])
def test_addresses_that_nobody_sends_to(address: str) -> None:
    """They are refused before anything is stored, not when an email to them fails."""
    assert not is_taken(address)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("ann@BÜCHER.example", "ann@xn--bcher-kva.example"),
        ("ann@xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
        ("Ann.O'Brien+tag@Example.ORG", "Ann.O'Brien+tag@example.org"),
        ("a" * 64 + "@x.example", "a" * 64 + "@x.example"),
    ],
)
def test_addresses_are_kept_as_they_are_sent(given: str, kept: str) -> None:
    """The domain is in lower case and in ASCII, the part before it is untouched; a kept address stays as it is."""
    assert (normal_email_address(given), normal_email_address(kept)) == (kept, kept)


def test_same_mailbox() -> None:
    """Case and the spelling of the domain do not make two addresses of one."""
    assert same_email_address("Ann@bücher.example", "ann@XN--BCHER-KVA.example")
    assert not same_email_address("ann@example.org", "ann@example.com")
    assert not same_email_address("ann+1@example.org", "ann@example.org")


@given(st.text(max_size=100), st.text(max_size=50))
def test_any_text_is_an_address_or_refused(local: str, domain: str) -> None:
    """No text makes the check fail in another way, and what passes is ASCII, of one line and one address."""
    if is_taken(f"{local}@{domain}"):
        kept = normal_email_address(f"{local}@{domain}")
        assert (kept.isascii(), kept.isprintable(), kept.count("@")) == (True, True, 1)


@pytest.mark.parametrize("address", BAD_PHOTOS, ids=ascii)
def test_addresses_that_lead_elsewhere(address: str) -> None:
    """Only https, only the hosts allowed, and of Supabase's only its storage; nothing that browsers read otherwise."""
    with pytest.raises(TextRefused) as refused:
        PHOTOS.normal(address)
    assert refused.value.rule in {"photo_url.form", "photo_url.host"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://images.example.org/a.jpg", "https://images.example.org/a.jpg"),
        ("HTTPS://Images.Example.ORG/A.jpg?w=1&h=2#x", "https://images.example.org/A.jpg?w=1&h=2#x"),
        ("https://images.example.org/a..b/.c.jpg", "https://images.example.org/a..b/.c.jpg"),
        (STORAGE, STORAGE),
    ],
)
def test_addresses_of_allowed_hosts(given: str, kept: str) -> None:
    """Scheme and host are kept in lower case, the path as it is, and what is kept is shown."""
    assert PHOTOS.normal(given) == kept
    assert PHOTOS.shown(kept) == kept


def test_what_was_stored_before_a_host_was_taken_off_is_not_shown() -> None:
    """A stored address of a host that is not allowed is as good as none."""
    assert PHOTOS.shown("https://evil.example/a.jpg") == ""
    assert PhotoAddresses([], None).shown("https://images.example.org/a.jpg") == ""
    assert PHOTOS.shown("") == ""
