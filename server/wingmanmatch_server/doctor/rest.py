"""Supabase's REST interface, asked for `health()` with each of the two keys."""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from wingmanmatch_server.doctor.given import Given
from wingmanmatch_server.doctor.report import Finding, Verdict, masked

HOSTED = ".supabase.co"
KEYS_PAGE = "Copy it again from the project's settings, API keys."
# What PostgREST and PostgreSQL answer when the function is not there, or not for this role.
NO_FUNCTION = ("PGRST202", "42883")
NOT_ALLOWED = "42501"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a key should be."""

    subject: str
    variable: str
    role: str


SERVICE = Expected("Supabase service key", "SUPABASE_SERVICE_KEY", "service_role")
ANON = Expected("Supabase anon key", "SUPABASE_ANON_KEY", "anon")


async def check_service_key(given: Given, http: httpx.AsyncClient, now: float) -> list[Finding]:
    """Look at the key that acts as `service_role`. `now` is in seconds since 1970."""
    return [await _check(SERVICE, given.supabase_url, given.supabase_service_key, http, now)]


async def check_anon_key(given: Given, http: httpx.AsyncClient, now: float) -> list[Finding]:
    """Look at the key that acts as `anon`. `now` is in seconds since 1970."""
    return [await _check(ANON, given.supabase_url, given.supabase_anon_key, http, now)]


async def _check(
    expected: Expected, url: str | None, key: SecretStr | None, http: httpx.AsyncClient, now: float
) -> Finding:
    if url is None and key is None:
        return Finding(expected.subject, Verdict.UNSET, "no SUPABASE_URL: nothing goes through Supabase")
    if url is None or key is None:
        variable = expected.variable if url else "SUPABASE_URL"
        return Finding(expected.subject, Verdict.FAILED, f"{variable} is not set", "Set it, or neither of the two.")
    secret = key.get_secret_value()
    problem = _flaw(expected, claims(secret), url, now)
    if problem:
        return Finding(expected.subject, Verdict.FAILED, f"{masked(secret)} {problem}", KEYS_PAGE)
    headers = {"apikey": secret, "Authorization": f"Bearer {secret}"}
    response = await http.post(f"{url.rstrip('/')}/rest/v1/rpc/health", json={}, headers=headers)
    return _judge(expected, masked(secret), response)


def claims(key: str) -> dict[str, Any] | None:
    """Return what the key says of itself, unproven, or None if it is not of Supabase's forms."""
    if key.startswith("sb_publishable_"):
        return {"role": "anon"}
    if key.startswith("sb_secret_"):
        return {"role": "service_role"}
    try:
        _, payload, _ = key.split(".")
        read = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, binascii.Error):
        return None
    return read if isinstance(read, dict) else None


def _flaw(expected: Expected, claimed: dict[str, Any] | None, url: str, now: float) -> str | None:
    """Return what can be seen to be wrong without asking anybody."""
    if claimed is None:
        return "is no key of Supabase: it starts with sb_publishable_, sb_secret_ or eyJ"
    if claimed.get("role") != expected.role:
        return f"carries the role {claimed.get('role')}, not {expected.role}"
    if claimed.get("exp", now) < now:
        return "has expired"
    host = urlsplit(url).hostname or ""
    if host.endswith(HOSTED) and claimed.get("ref", host) not in (host, host.removesuffix(HOSTED)):
        return "belongs to another project than SUPABASE_URL"
    return None


def _judge(expected: Expected, shown: str, response: httpx.Response) -> Finding:
    answer = _answer(response)
    if response.is_success and "role" in answer:
        return _judge_role(expected, shown, answer["role"], response.elapsed.total_seconds())
    return _judge_refusal(expected, shown, answer.get("code"), response)


def _judge_role(expected: Expected, shown: str, role: str, seconds: float) -> Finding:
    if role != expected.role:
        return Finding(expected.subject, Verdict.FAILED, f"{shown} acts as {role}, not as {expected.role}", KEYS_PAGE)
    return Finding(expected.subject, Verdict.GOOD, f"{shown} acts as {role}, {seconds * 1000:.0f} ms")


def _judge_refusal(expected: Expected, shown: str, code: str | None, response: httpx.Response) -> Finding:
    if code in NO_FUNCTION:
        advice = "Apply the migrations; if they are, run in the SQL editor: notify pgrst, 'reload schema'."
        return Finding(expected.subject, Verdict.FAILED, "the key is good, but health() is not there", advice)
    if code == NOT_ALLOWED:
        said = f"the key is good, but {expected.role} may not call health()"
        return Finding(expected.subject, Verdict.FAILED, said, "Apply the migrations again: grants are missing.")
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return Finding(expected.subject, Verdict.FAILED, f"{shown} is refused", KEYS_PAGE)
    if response.is_server_error:
        advice = "See whether the project is paused or restarting."
        return Finding(expected.subject, Verdict.FAILED, f"Supabase answers {response.status_code}", advice)
    advice = "SUPABASE_URL must be the project's API address and nothing behind it."
    return Finding(expected.subject, Verdict.FAILED, f"the address answers {response.status_code}", advice)


def _answer(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
