"""What the doctor finds: each dependency well and unwell, in words and with what to do.

The servers here answer as documented: Resend's and Claude's API references (errors), Supabase's gateway and PostgREST's
list of errors.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis.asyncio as redis
from aiohttp import web

from support.apis import answering, serving
from support.databases import execute
from support.installations import empty_database
from support.postgrest import ANONYMOUS_KEY, SERVICE_KEY, serving_rest
from wingmanmatch_server.doctor.examination import Endpoints, examine
from wingmanmatch_server.doctor.given import Given
from wingmanmatch_server.doctor.report import Finding, failed, table
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.settings import Settings

KEY = "re_GoodKey_0123456789"
CLAUDE_KEY = "sk-ant-GoodKey-0123456789"
SECRET = "sb_secret_GoodKey_0123456789"
PUBLISHABLE = "sb_publishable_GoodKey_0123456789"
NOWHERE = "http://127.0.0.1:1"


class Diagnosis:
    """What was found."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = {finding.subject: finding for finding in findings}
        self.failed = failed(findings)

    def of(self, subject: str) -> str:
        """Return one finding on one line."""
        found = self.findings[subject]
        return f"{found.verdict} {found.said}" + (f" → {found.advice}" if found.advice else "")


async def diagnose(resend: str = NOWHERE, anthropic: str = NOWHERE, **given: str) -> Diagnosis:
    """Look at these settings and no others; none of the keys may be shown, but for their first four characters."""
    fields = dict.fromkeys(Given.model_fields.keys() - {"mail_from"}) | {"data_dir": "/nonexistent"} | given
    findings = await examine(Given(_env_file=None, **fields), Endpoints(resend, anthropic))
    for name, value in given.items():
        assert not name.endswith("_key") or value[4:14] not in table(findings)
    return Diagnosis(findings)


def jwt(**claims: object) -> str:
    """Return a key of Supabase's older form."""
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedEngines]:
    """A Valkey whose settings a test may change."""
    with EmbeddedEngines(tmp_path, postgres=False) as engines:
        engines.wait()
        yield engines


def test_same_names_as_the_settings() -> None:
    """The doctor looks at nothing that the server does not read."""
    assert Given.model_fields.keys() <= Settings.model_fields.keys()


async def test_unmigrated_database_is_told_what_to_run(admin_dsn: str) -> None:
    """An empty database fails with the command that puts it right."""
    async with empty_database(admin_dsn) as dsn:
        diagnosis = await diagnose(database_url=dsn)
    assert diagnosis.failed
    assert "are missing → Run `wingmanmatch migrate`." in diagnosis.of("  migrations")


async def test_database_that_refuses_changes_is_found(fresh_database_dsn: str) -> None:
    """A read-only database fails, with what to look at."""
    name = fresh_database_dsn.partition("?")[0].rpartition("/")[2]
    await execute(fresh_database_dsn, f"alter database {name} set default_transaction_read_only = on")
    diagnosis = await diagnose(database_url=fresh_database_dsn)
    assert diagnosis.of("  changes").startswith("FAIL it is read-only → See whether its disk is full")


async def test_unreadable_password_file_is_found(fresh_database_dsn: str, tmp_path: Path) -> None:
    """A password file that is not there fails by the name of its setting."""
    diagnosis = await diagnose(database_url=fresh_database_dsn, database_password_file=str(tmp_path / "none"))
    assert diagnosis.of("PostgreSQL").startswith("FAIL DATABASE_PASSWORD_FILE cannot be read")


async def test_role_that_may_not_serve_is_found(fresh_database_dsn: str) -> None:
    """A role outside service_role fails, with the grant that it lacks."""
    await execute(fresh_database_dsn, "create role bystander login")
    await execute(fresh_database_dsn, "grant usage on schema supabase_migrations to bystander")
    await execute(fresh_database_dsn, "grant select on supabase_migrations.schema_migrations to bystander")
    try:
        diagnosis = await diagnose(database_url=fresh_database_dsn.replace("postgres@", "bystander@", 1))
    finally:
        await execute(fresh_database_dsn, "drop owned by bystander; drop role bystander")
    assert "grant service_role to bystander" in diagnosis.of("  role")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://postgres@/nowhere?host={host}", "there is no database of this name"),
        ("postgresql://nobody@/wingmanmatch?host={host}", "the server lets nobody in with this name from here"),
        ("postgresql://127.0.0.1:1/wingmanmatch", "cannot be reached"),
        ("postgresql://h:port/x", "DATABASE_URL is not an address of PostgreSQL"),
        ("mysql://127.0.0.1/x", "DATABASE_URL is not an address of PostgreSQL"),
    ],
)
async def test_unusable_database_is_explained(engines: EmbeddedEngines, url: str, expected: str) -> None:
    """Each way of not getting in has its own words."""
    host = engines.postgres_dsn.partition("host=")[2].partition("&")[0]
    diagnosis = await diagnose(database_url=url.format(host=quote(host, safe="%")))
    assert expected in diagnosis.of("PostgreSQL")
    assert diagnosis.failed


@pytest.mark.parametrize(
    ("url", "expected"),
    [("redis://127.0.0.1:1/0", "cannot be reached"), ("http://127.0.0.1:1/0", "cannot be used (ValueError)")],
)
async def test_unusable_redis_is_explained(url: str, expected: str) -> None:
    """An address at which nothing answers, or that is none, fails."""
    diagnosis = await diagnose(redis_url=url)
    assert expected in diagnosis.of("Redis")
    assert diagnosis.failed


@pytest.mark.parametrize(
    ("setting", "value", "subject", "expected"),
    [
        ("maxmemory-policy", "allkeys-lru", "  eviction", "FAIL allkeys-lru → Set maxmemory-policy to noev"),
        ("maxmemory-policy", "volatile-ttl", "  eviction", "ok volatile-ttl"),
        ("appendonly", "no", "  persistence", "note no append-only file → Set appendonly to yes"),
    ],
)
async def test_redis_that_forgets_is_found(
    own_valkey: EmbeddedEngines, setting: str, value: str, subject: str, expected: str
) -> None:
    """Evicting what must stay fails; losing it in a crash is a note."""
    async with redis.from_url(own_valkey.redis_url) as client:
        await client.config_set(setting, value)
    diagnosis = await diagnose(redis_url=own_valkey.redis_url)
    assert diagnosis.of(subject).startswith(expected)


async def test_wrong_password_of_redis_is_found(own_valkey: EmbeddedEngines) -> None:
    """A server that asks for a password and gets none, or another, is told apart from one that is away."""
    async with redis.from_url(own_valkey.redis_url) as client:
        await client.config_set("requirepass", "correct-horse")
    for url in (own_valkey.redis_url, own_valkey.redis_url.replace("unix://", "unix://:wrong-horse@", 1)):
        assert (await diagnose(redis_url=url)).of("Redis").startswith("FAIL refuses the password")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            200,
            {"object": "list", "has_more": False, "data": [{"id": "1", "name": "example.org", "status": "verified"}]},
            "ok the key is good and example.org is verified",
        ),
        (
            200,
            {
                "object": "list",
                "has_more": False,
                "data": [{"id": "1", "name": "example.org", "status": "not_started"}],
            },
            "FAIL the key is good, but example.org is not started → Set the DNS records",
        ),
        (
            200,
            {"object": "list", "has_more": False, "data": []},
            "FAIL the key is good, but the account has no domain example.org",
        ),
        (
            401,
            {
                "statusCode": 401,
                "name": "restricted_api_key",
                "message": "This API key is restricted to only send emails",
            },
            "note the key is good, and may only send",
        ),
        (
            403,
            {"statusCode": 403, "name": "invalid_api_key", "message": "API key is invalid"},
            "FAIL re_G… is refused",
        ),
        (
            429,
            {"statusCode": 429, "name": "rate_limit_exceeded", "message": "Too many requests"},
            "note asks for fewer requests",
        ),
        (500, {"statusCode": 500, "name": "application_error", "message": "?"}, "FAIL answers 500"),
        (200, ["something", "else"], "FAIL answers in a way that this check does not know"),
    ],
)
async def test_resend(status: int, body: object, expected: str) -> None:
    """The key and the domain of MAIL_FROM are judged by what Resend answers."""
    async with serving("GET", "/domains", answering(status, body)) as url:
        diagnosis = await diagnose(url, resend_api_key=KEY, mail_from="WingmanMatch <hello@example.org>")
    assert diagnosis.of("Resend").startswith(expected)
    assert diagnosis.failed == expected.startswith("FAIL")


def claude_error(kind: str) -> dict[str, object]:
    """Return the body of an error of Claude's API."""
    return {"type": "error", "error": {"type": kind, "message": "?"}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"data": [{"type": "model", "id": "m"}], "has_more": True}, "ok the key is good"),
        (401, claude_error("authentication_error"), "FAIL sk-a… is refused"),
        (403, claude_error("permission_error"), "FAIL sk-a… may not ask for the models"),
        (429, claude_error("rate_limit_error"), "note the key is good, its limit used up"),
        (500, claude_error("api_error"), "FAIL answers 500"),
        (529, claude_error("overloaded_error"), "FAIL answers 529"),
    ],
)
async def test_claude(status: int, body: object, expected: str) -> None:
    """The key is judged by what Claude answers."""
    async with serving("GET", "/v1/models", answering(status, body)) as url:
        diagnosis = await diagnose(anthropic=url, anthropic_api_key=CLAUDE_KEY)
    assert diagnosis.of("Claude").startswith(expected)
    assert diagnosis.failed == expected.startswith("FAIL")


async def test_keys_are_sent_as_documented() -> None:
    """Resend and Claude get the key as a bearer, and Claude its version, or they refuse."""

    async def resend(request: web.Request) -> web.Response:
        known = request.headers.get("Authorization") == f"Bearer {KEY}"
        return web.json_response({"data": [{"name": "localhost", "status": "verified"}]}, status=200 if known else 401)

    async def claude(request: web.Request) -> web.Response:
        known = (
            request.headers.get("Authorization") == f"Bearer {CLAUDE_KEY}" and "anthropic-version" in request.headers
        )
        return web.json_response({"data": []}, status=200 if known else 401)

    async with serving("GET", "/domains", resend) as one, serving("GET", "/v1/models", claude) as other:
        diagnosis = await diagnose(one, other, resend_api_key=KEY, anthropic_api_key=CLAUDE_KEY)
    assert diagnosis.of("Resend").startswith("ok")
    assert diagnosis.of("Claude").startswith("ok")


async def postgrest(request: web.Request) -> web.Response:
    """Answer `health` as a migrated project does to keys of either form."""
    roles = {SECRET: "service_role", PUBLISHABLE: "anon", jwt(role="service_role"): "service_role"}
    role = roles.get(request.headers.get("apikey", ""))
    if role is None or request.headers.get("Authorization") != f"Bearer {request.headers['apikey']}":
        return web.json_response({"message": "Invalid API key", "hint": "Double check your API key."}, status=401)
    return web.json_response({"role": role})


@pytest.mark.parametrize(
    ("service_key", "anon_key", "service_says", "anon_says"),
    [
        (
            SECRET,
            PUBLISHABLE,
            "ok sb_s… acts as service_role",
            "ok sb_p… acts as",
        ),
        (jwt(role="service_role"), PUBLISHABLE, "ok eyJh… acts as service_role", "ok"),
        (
            PUBLISHABLE,
            SECRET,
            "FAIL sb_p… carries the role anon, not service_role",
            "FAIL sb_s… carries the role service_role, not anon",
        ),
        (
            SECRET + "x",
            "nonsense",
            "FAIL sb_s… is refused",
            "FAIL nons… is no key",
        ),
        (jwt(role="service_role", exp=1), PUBLISHABLE, "FAIL eyJh… has expired", "ok"),
    ],
)
async def test_supabase_keys(service_key: str, anon_key: str, service_says: str, anon_says: str) -> None:
    """Each key must be of a known form, carry its role, and be accepted."""
    async with serving("POST", "/rest/v1/rpc/health", postgrest) as url:
        diagnosis = await diagnose(supabase_url=url, supabase_service_key=service_key, supabase_anon_key=anon_key)
    assert diagnosis.of("Supabase service key").startswith(service_says)
    assert diagnosis.of("Supabase anon key").startswith(anon_says)


async def test_supabase_with_the_real_function(fresh_database_dsn: str, admin_dsn: str) -> None:
    """On a migrated database both keys act as their roles; on an empty one what is missing is the migrations."""
    keys = {"supabase_service_key": SERVICE_KEY, "supabase_anon_key": ANONYMOUS_KEY}
    async with serving_rest(fresh_database_dsn) as server:
        diagnosis = await diagnose(supabase_url=server.url, **keys)
        assert diagnosis.of("Supabase service key").startswith("ok sb_s… acts as service_role")
        assert diagnosis.of("Supabase anon key").startswith("ok sb_p… acts as anon")
    async with empty_database(admin_dsn) as empty, serving_rest(empty) as server:
        diagnosis = await diagnose(supabase_url=server.url, **keys)
        assert "health() is not there → Apply the migrations" in diagnosis.of("Supabase service key")


async def test_keys_of_another_project_are_found() -> None:
    """A key that names its project is compared with SUPABASE_URL before anybody is asked."""
    diagnosis = await diagnose(
        supabase_url="https://abc.supabase.co", supabase_service_key=jwt(role="service_role", ref="xyz")
    )
    assert "eyJh… belongs to another project than SUPABASE_URL" in diagnosis.of("Supabase service key")
    assert "SUPABASE_ANON_KEY is not set" in diagnosis.of("Supabase anon key")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            404,
            {"code": "PGRST202", "message": "?", "details": None, "hint": None},
            "health() is not there → Apply the mig",
        ),
        (403, {"code": "42501", "message": "?", "details": None, "hint": None}, "may not call health()"),
        (200, {"role": "anon"}, "sb_s… acts as anon, not as service_role"),
        (503, {"code": "PGRST002", "message": "?", "details": None, "hint": None}, "Supabase answers 503"),
        (404, {"error": "requested path is invalid"}, "the address answers 404"),
        (200, "a page", "the address answers 200"),
    ],
)
async def test_supabase_answers(status: int, body: object, expected: str) -> None:
    """What the project answers to a good key is explained, with what to do."""
    async with serving("POST", "/rest/v1/rpc/health", answering(status, body)) as url:
        diagnosis = await diagnose(supabase_url=url, supabase_service_key=SECRET, supabase_anon_key=PUBLISHABLE)
    assert expected in diagnosis.of("Supabase service key")
    assert diagnosis.failed
