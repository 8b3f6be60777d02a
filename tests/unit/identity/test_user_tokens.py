"""Users' tokens: which are believed."""

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from wingmanmatch_server.identity.published_keys import REFRESH_INTERVAL, PublishedKeys
from wingmanmatch_server.identity.user_tokens import TokenInvalid, TokenRules, UserTokens, VerifiedToken

SECRET = "a-secret-of-the-project-" * 3
ISSUER = "https://project.example.test/auth/v1"
USER = str(uuid.uuid4())
EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RULES = TokenRules(ISSUER, max_lifetime=86_400)
OTHER = ec.generate_private_key(ec.SECP256R1())


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a valid token; a change to None leaves a claim out."""
    now = int(time.time())
    fields = {"sub": USER, "aud": "authenticated", "iss": ISSUER, "exp": now + 600, "iat": now, "role": "authenticated"}
    return {name: value for name, value in (fields | changes).items() if value is not None}


def signed(key: Any, algorithm: str, kid: str | None = None, **changes: Any) -> str:
    """Return a token."""
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers={"kid": kid} if kid else None)


class Project:
    """A project's published keys, and how often they were asked for."""

    def __init__(self, **keys: Any) -> None:
        self.keys = keys
        self.asked = 0
        self.now = 0.0
        self.away = False

    async def fetch(self) -> Mapping[str, Any]:
        """Return the key set."""
        self.asked += 1
        if self.away:
            raise OSError
        return {"keys": [jwk(key, kid) for kid, key in self.keys.items()]}

    def published(self) -> PublishedKeys:
        """Return the project's keys as a server keeps them."""
        return PublishedKeys(self.fetch, lambda: self.now)

    def tokens(self, secret: str | None = None, rules: TokenRules = RULES) -> UserTokens:
        """Return what verifies the project's tokens."""
        return UserTokens(secret=secret, keys=self.published(), rules=rules, now=time.time)


def jwk(key: Any, kid: str) -> dict[str, Any]:
    """Return a public key as a JSON Web Key."""
    is_ec = isinstance(key, ec.EllipticCurvePrivateKey)
    algorithm: Callable[..., Any] = jwt.algorithms.ECAlgorithm if is_ec else jwt.algorithms.RSAAlgorithm
    form = json.loads(algorithm.to_jwk(key.public_key()))  # type: ignore[attr-defined]
    return form | {"kid": kid, "alg": "ES256" if is_ec else "RS256", "use": "sig"}


VALID = {"HS256": signed(SECRET, "HS256"), "ES256": signed(EC, "ES256", "ec"), "RS256": signed(RSA, "RS256", "rsa")}


@pytest.mark.parametrize("token", VALID.values(), ids=VALID)
async def test_valid_tokens(token: str) -> None:
    """Each kind of signature is believed, and gives the user and the expiry."""
    verified = await Project(ec=EC, rsa=RSA).tokens(SECRET).verify(token)
    assert verified.user_id == USER
    assert 0 < verified.expiry - time.time() <= 600


def unsigned() -> str:
    """Return a token that claims to need no signature."""
    parts = [{"alg": "none", "typ": "JWT"}, claims()]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def confused() -> str:
    """Return a token whose HS256 secret is the project's public key."""
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = {"alg": "HS256", "typ": "JWT", "kid": "rsa"}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims())]
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = algorithm.sign(b".".join(parts), pem)
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


INVALID = {
    "unsigned": unsigned(),
    "public key as secret": confused(),
    "another secret": signed("another-secret-that-is-long-enough-too", "HS256"),
    "another algorithm of the family": signed(SECRET, "HS512"),
    "another key under a known id": signed(OTHER, "ES256", "ec"),
    "unknown key id": signed(OTHER, "ES256", "new"),
    "no key id": signed(EC, "ES256"),
    "key of another kind": signed(EC, "ES256", "rsa"),
    "expired": signed(SECRET, "HS256", exp=int(time.time()) - 60),
    "no expiry": signed(SECRET, "HS256", exp=None),
    "not yet valid": signed(SECRET, "HS256", nbf=int(time.time()) + 600),
    "another audience": signed(SECRET, "HS256", aud="anon"),
    "no audience": signed(SECRET, "HS256", aud=None),
    "another issuer": signed(SECRET, "HS256", iss="https://elsewhere.example.test/auth/v1"),
    "no subject": signed(SECRET, "HS256", sub=None),
    "subject that is no user": signed(SECRET, "HS256", sub="service"),
    "the anonymous key": signed(SECRET, "HS256", sub=None, aud=None, iss="supabase", role="anon"),
    "role of the anonymous key": signed(SECRET, "HS256", role="anon"),
    "role of the service key": signed(SECRET, "HS256", role="service_role"),
    "no role": signed(SECRET, "HS256", role=None),
    "anonymous user": signed(SECRET, "HS256", is_anonymous=True),
    "anonymous in another spelling": signed(SECRET, "HS256", is_anonymous="true"),
    "expired a second ago": signed(SECRET, "HS256", exp=int(time.time()) - 1),
    "valid for a hundred years": signed(SECRET, "HS256", exp=int(time.time()) + 100 * 365 * 86_400),
    "issued long ago for longer than allowed": signed(SECRET, "HS256", iat=int(time.time()) - 86_400),
    "without time of issue, for longer than allowed": signed(SECRET, "HS256", iat=None, exp=int(time.time()) + 90_000),
    "issued in the future": signed(SECRET, "HS256", iat=int(time.time()) + 600, exp=int(time.time()) + 1200),
    "expiry without end": signed(SECRET, "HS256", exp=float("inf")),
    "expiry that is no number": signed(SECRET, "HS256", exp=float("nan")),
    "tampered": signed(SECRET, "HS256")[:-4] + "AAAA",
}


@pytest.mark.parametrize("token", INVALID.values(), ids=INVALID)
async def test_invalid_tokens(token: str) -> None:
    """Whatever is wrong with a token, it is simply invalid."""
    with pytest.raises(TokenInvalid):
        await Project(ec=EC, rsa=RSA).tokens(SECRET).verify(token)


@given(st.one_of(st.text(max_size=200), st.lists(st.text("abcAZ09-_="), min_size=3, max_size=3).map(".".join)))
@settings(deadline=None)
async def test_garbage_is_invalid(token: str) -> None:
    """No text makes verification fail in another way."""
    with pytest.raises(TokenInvalid):
        await Project(ec=EC).tokens(SECRET).verify(token)


async def test_without_a_secret_no_symmetric_token_is_valid() -> None:
    """A project known by its published keys alone takes no HS256, and one known by its secret alone nothing else."""
    with pytest.raises(TokenInvalid):
        await Project(ec=EC).tokens().verify(signed(SECRET, "HS256"))
    with pytest.raises(TokenInvalid):
        await known_by_secret(RULES).verify(signed(EC, "ES256", "ec"))


async def test_rotated_key_is_learnt() -> None:
    """A new key id leads to the present keys; a withdrawn key is forgotten then."""
    project = Project(ec=EC)
    tokens = project.tokens()
    await tokens.verify(signed(EC, "ES256", "ec"))
    project.keys, project.now = {"new": OTHER}, 31.0
    await tokens.verify(signed(OTHER, "ES256", "new"))
    with pytest.raises(TokenInvalid):
        await tokens.verify(signed(EC, "ES256", "ec"))


async def test_strangers_cannot_make_the_server_ask() -> None:
    """A thousand tokens with invented key ids cost one question."""
    project = Project(ec=EC)
    tokens = project.tokens()
    for number in range(1000):
        with pytest.raises(TokenInvalid):
            await tokens.verify(signed(OTHER, "ES256", f"invented-{number}"))
    assert project.asked == 1


async def test_known_keys_outlive_the_projects_absence() -> None:
    """While the keys can't be had again the known ones stay in force."""
    project = Project(ec=EC)
    keys = project.published()
    tokens = UserTokens(secret=None, keys=keys, rules=RULES, now=time.time)
    await tokens.verify(signed(EC, "ES256", "ec"))
    project.away, project.now = True, REFRESH_INTERVAL
    await keys.refresh()
    await tokens.verify(signed(EC, "ES256", "ec"))
    assert (project.asked, keys.age) == (2, REFRESH_INTERVAL)


async def test_token_that_comes_while_keys_are_fetched_waits_for_them() -> None:
    """Nobody is refused because another call, or the background job, has asked for the keys a moment before."""
    project, answer = Project(ec=EC), asyncio.Event()
    keys = project.published()
    fetch = keys._fetch

    async def slow() -> Mapping[str, Any]:
        await answer.wait()
        return await fetch()

    keys._fetch = slow
    tokens = UserTokens(secret=None, keys=keys, rules=RULES, now=time.time)
    refresh = asyncio.create_task(keys.refresh())
    verifying = [asyncio.create_task(tokens.verify(signed(EC, "ES256", "ec"))) for _ in range(3)]
    await asyncio.sleep(0)
    answer.set()
    await refresh
    assert {(await each).user_id for each in verifying} == {USER}
    assert project.asked == 1


def known_by_secret(rules: TokenRules) -> UserTokens:
    """Return what verifies the tokens of a project that is known by its secret."""
    return UserTokens(secret=SECRET, keys=None, rules=rules, now=time.time)


async def test_longest_lifetime_is_accepted() -> None:
    """A token that is valid for as long as it may be, issued now, is believed."""
    now = int(time.time())
    token = signed(SECRET, "HS256", iat=now, exp=now + 86_400)
    assert (await known_by_secret(RULES).verify(token)).expiry == now + 86_400


async def test_anonymous_users_where_they_are_allowed() -> None:
    """An anonymous user is a user where the settings say so, and a token that says it is not anonymous always is."""
    allowing = TokenRules(ISSUER, max_lifetime=86_400, allow_anonymous=True)
    assert (await known_by_secret(allowing).verify(signed(SECRET, "HS256", is_anonymous=True))).user_id == USER
    assert (await known_by_secret(RULES).verify(signed(SECRET, "HS256", is_anonymous=False))).user_id == USER


@pytest.mark.parametrize(
    ("changes", "email"),
    [
        ({"email": "ann@example.org"}, "ann@example.org"),
        ({"email": "ann@example.org", "email_verified": True}, "ann@example.org"),
        ({"email": "ann@example.org", "email_verified": False}, ""),
        ({"email": "ann@example.org", "email_verified": "true"}, ""),
        ({"email": ""}, ""),
        ({"email": ["ann@example.org"]}, ""),
        ({}, ""),
        ({"user_metadata": {"email": "eve@example.org", "email_verified": True}}, ""),
    ],
)
async def test_verified_address(changes: dict[str, Any], email: str) -> None:
    """The address is the project's claim and never what the user can write; no representation shows it."""
    verified = await known_by_secret(RULES).verify(signed(SECRET, "HS256", **changes))
    assert verified.email == email
    assert "example.org" not in repr(verified)


async def verified_by(tokens: UserTokens, key: Any, kid: str) -> VerifiedToken:
    """Verify a token of a published key."""
    return await tokens.verify(signed(key, "ES256", kid))


@pytest.mark.parametrize("left", [{}, {"other": OTHER}, {"ec": OTHER}], ids=["none", "another", "replaced"])
async def test_revoked_key_ends_with_the_next_refresh(left: dict[str, Any]) -> None:
    """What a key signed is refused once the project no longer publishes that key, and trusted until then."""
    project = Project(ec=EC)
    keys = project.published()
    tokens = UserTokens(secret=None, keys=keys, rules=RULES, now=time.time)
    verified = await verified_by(tokens, EC, "ec")
    await keys.refresh()
    assert tokens.trusts(verified)
    project.keys = left
    await keys.refresh()
    assert not tokens.trusts(verified)
    with pytest.raises(TokenInvalid):
        await verified_by(tokens, EC, "ec")


@pytest.mark.parametrize("answer", [{}, {"keys": None}, {"keys": "none"}, [], None, "keys"])
async def test_answer_that_is_no_key_set_revokes_nothing(answer: Any) -> None:
    """A proxy's error page, or half a document, is not taken for a key set; the age of the last one grows."""
    project = Project(ec=EC)
    keys = project.published()
    verified = await verified_by(UserTokens(secret=None, keys=keys, rules=RULES, now=time.time), EC, "ec")

    async def spoilt() -> Any:
        return answer

    keys._fetch, project.now = spoilt, 500.0
    await keys.refresh()
    assert verified.key is not None
    assert (keys.holds(verified.key), keys.age) == (True, 500.0)


async def test_trust_ends_with_the_token() -> None:
    """A token verified before is not trusted from the second on in which it expires."""
    now = time.time()
    tokens = UserTokens(secret=SECRET, keys=None, rules=RULES, now=lambda: now)
    verified = await tokens.verify(signed(SECRET, "HS256"))
    now = verified.expiry - 0.001
    assert tokens.trusts(verified)
    now = verified.expiry
    assert not tokens.trusts(verified)
