"""All checks at once, each within its time and none able to spoil another."""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import httpx

from wingmanmatch_server.doctor import claude, database, embedded, mail, rest, valkey
from wingmanmatch_server.doctor.given import Given
from wingmanmatch_server.doctor.report import Finding, Verdict
from wingmanmatch_server.settings import Environment, Settings, SettingsError, load_settings

TIMEOUT = 3.0  # seconds

Check = Coroutine[Any, Any, list[Finding]]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the APIs of others are."""

    resend: str
    anthropic: str


async def examine(given: Given, endpoints: Endpoints) -> list[Finding]:
    """Return what is found, in the order in which a person would look, within about `TIMEOUT` seconds."""
    async with httpx.AsyncClient(timeout=TIMEOUT) as http:
        checks = {
            "PostgreSQL": database.check(given),
            embedded.SUBJECT: embedded.check(given),
            "Supabase service key": rest.check_service_key(given, http, time.time()),
            "Supabase anon key": rest.check_anon_key(given, http, time.time()),
            "Redis": valkey.check(given),
            "Resend": mail.check(given, http, endpoints.resend),
            "Claude": claude.check(given, http, endpoints.anthropic),
        }
        found = await asyncio.gather(*(_within_time(subject, check) for subject, check in checks.items()))
    return [finding for findings in found for finding in findings]


def check_settings() -> list[Finding]:
    """Return why `serve` would refuse to start, or that it would not."""
    try:
        settings = load_settings()
    except SettingsError as error:
        return [Finding("Settings", Verdict.FAILED, problem) for problem in error.problems]
    usable = Finding("Settings", Verdict.GOOD, f"usable, for {settings.environment.value}")
    return [usable, *_encryption(settings)]


def _encryption(settings: Settings) -> list[Finding]:
    """Return whether calls are encrypted, in production, where it matters."""
    if settings.environment is not Environment.PRODUCTION:
        return []
    if settings.tls_cert_file is not None:
        return [Finding("  encryption", Verdict.GOOD, "calls are taken by TLS")]
    said = "calls are taken unencrypted, on GRPC_LISTEN"
    return [Finding("  encryption", Verdict.NOTE, said, "See that only a proxy that terminates TLS reaches the port.")]


async def _within_time(subject: str, check: Check) -> list[Finding]:
    try:
        async with asyncio.timeout(TIMEOUT):
            return await check
    except (TimeoutError, httpx.TimeoutException):
        said = f"no answer within {TIMEOUT:g} seconds"
        return [Finding(subject, Verdict.FAILED, said, "See whether a firewall or an allow-list is in the way.")]
    except (OSError, httpx.TransportError, httpx.InvalidURL) as error:
        said = f"cannot be reached ({type(error).__name__})"
        return [Finding(subject, Verdict.FAILED, said, "See whether address and port are right.")]
    except Exception as error:  # noqa: BLE001 - the other findings matter all the more when one check is at a loss
        said = f"answers in a way that this check does not know ({type(error).__name__})"
        return [Finding(subject, Verdict.FAILED, said, "See whether something else answers at this address.")]
