"""Claude: is the key good?"""

import httpx

from wingmanmatch_server.doctor.given import Given
from wingmanmatch_server.doctor.report import Finding, Verdict, masked

SUBJECT = "Claude"
API_VERSION = "2026-10-21"


async def check(given: Given, http: httpx.AsyncClient, url: str) -> list[Finding]:
    """Ask for one model, which costs nothing."""
    if given.anthropic_api_key is None:
        return [Finding(SUBJECT, Verdict.UNSET, "no ANTHROPIC_API_KEY: no coaching")]
    key = given.anthropic_api_key.get_secret_value()
    headers = {"Authorization": f"Bearer {key}", "anthropic-version": API_VERSION}
    response = await http.get(f"{url}/v1/models", params={"limit": 1}, headers=headers)
    return [_judge(masked(key), response)]


def _judge(shown: str, response: httpx.Response) -> Finding:
    if response.is_success:
        return Finding(SUBJECT, Verdict.GOOD, "the key is good")
    if response.status_code == httpx.codes.UNAUTHORIZED:
        return Finding(SUBJECT, Verdict.FAILED, f"{shown} is refused", "Make a new key in Claude's console.")
    if response.status_code == httpx.codes.FORBIDDEN:
        advice = "Give the key's workspace access to the models."
        return Finding(SUBJECT, Verdict.FAILED, f"{shown} may not ask for the models", advice)
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return Finding(SUBJECT, Verdict.NOTE, "the key is good, its limit used up", "Coaching waits until it is not.")
    advice = "Run this again later; coaching is unavailable until then."
    return Finding(SUBJECT, Verdict.FAILED, f"answers {response.status_code}", advice)
