"""What a Redis URL names, and what is none."""

import pytest

from wingmanmatch_server.drivers.redis_url import Kind, parse_redis_url, without_account


def test_cluster() -> None:
    """Places, account and TLS are read; percent signs are undone."""
    named = parse_redis_url("rediss+cluster://ann:p%40ss%3A@one:7000,[::1]:7001?ssl_ca_certs=/ca.pem&other=1")
    assert (named.kind, named.places) == (Kind.CLUSTER, [("one", 7000), ("::1", 7001)])
    assert named.options == {"ssl": True, "ssl_ca_certs": "/ca.pem", "username": "ann", "password": "p@ss:"}


def test_sentinels_have_an_account_of_their_own() -> None:
    """The servers' password is not shown to the sentinels."""
    named = parse_redis_url("redis+sentinel://:secret@one:26379,two:26379/main?sentinel_username=s&sentinel_password=t")
    assert (named.service, named.options) == ("main", {"password": "secret"})
    assert named.sentinel_options == {"username": "s", "password": "t"}


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://secret@host", "must begin with one of redis://"),
        ("redis+cluster://secret@host", "HOST:PORT"),
        ("redis+cluster://secret@host:1,:2", "HOST:PORT"),
        ("redis+sentinel://secret@host:1", "SERVICE"),
        ("redis://secret@host:port", "Port could not be cast"),
    ],
)
def test_what_is_none(url: str, rule: str) -> None:
    """Each rule is named, and nothing that could be a password."""
    with pytest.raises(ValueError, match=rule) as caught:
        parse_redis_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://ann@host:6379/3", ("redis://host:6379/3", "ann")),
        (
            "rediss+cluster://a%40nn@one:1,two:2?ssl_ca_certs=/ca",
            ("rediss+cluster://one:1,two:2?ssl_ca_certs=/ca", "a@nn"),
        ),
        ("unix://ann@/run/valkey.sock?db=1", ("unix:///run/valkey.sock?db=1", "ann")),
        ("redis+sentinel://one:1/main?sentinel_password=t", ("redis+sentinel://one:1/main?sentinel_password=t", None)),
    ],
)
def test_user_beside_a_password_file(url: str, expected: tuple[str, str | None]) -> None:
    """The user of the URL is read, and what is left names the places as before."""
    assert without_account(url) == expected
    parse_redis_url(expected[0])


@pytest.mark.parametrize(
    "url", ["redis://:secret@host", "redis://ann:secret@host", "unix:///valkey.sock?password=secret"]
)
def test_password_beside_a_password_file(url: str) -> None:
    """Two passwords are refused, and neither is quoted."""
    with pytest.raises(ValueError, match="which must have none") as caught:
        without_account(url)
    assert "secret" not in str(caught.value)
