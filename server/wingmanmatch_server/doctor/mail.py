"""Resend: is the key good, and may mails be sent from the domain of MAIL_FROM?"""

from email.utils import parseaddr
from typing import Any

import httpx

from wingmanmatch_server.doctor.given import Given
from wingmanmatch_server.doctor.report import Finding, Verdict, masked

SUBJECT = "Resend"
TEST_DOMAIN = "resend.dev"


async def check(given: Given, http: httpx.AsyncClient, url: str) -> list[Finding]:
    """Ask for the domains of the key's account and look for that of MAIL_FROM."""
    if given.resend_api_key is None:
        return [Finding(SUBJECT, Verdict.UNSET, "no RESEND_API_KEY: mail is written to the outbox folder")]
    key = given.resend_api_key.get_secret_value()
    response = await http.get(f"{url}/domains", params={"limit": 100}, headers={"Authorization": f"Bearer {key}"})
    if response.is_success:
        domains = {domain["name"].lower(): domain["status"] for domain in response.json()["data"]}
        return [_judge_domain(parseaddr(given.mail_from)[1].rpartition("@")[2].lower(), domains)]
    return [_judge_refusal(masked(key), response)]


def _judge_domain(domain: str, domains: dict[str, str]) -> Finding:
    if domain == TEST_DOMAIN:
        advice = "It reaches nobody but the account's owner: verify a domain and name it in MAIL_FROM."
        return Finding(SUBJECT, Verdict.NOTE, f"the key is good; {domain} is for trials", advice)
    status = domains.get(domain)
    if status == "verified":
        return Finding(SUBJECT, Verdict.GOOD, f"the key is good and {domain} is verified")
    if status is None:
        advice = "Add the domain at Resend, or put MAIL_FROM right; a subdomain is a domain of its own."
        return Finding(SUBJECT, Verdict.FAILED, f"the key is good, but the account has no domain {domain}", advice)
    advice = "Set the DNS records that Resend shows for it, and have them verified."
    return Finding(SUBJECT, Verdict.FAILED, f"the key is good, but {domain} is {status.replace('_', ' ')}", advice)


def _judge_refusal(shown: str, response: httpx.Response) -> Finding:
    if _error_name(response) == "restricted_api_key":
        advice = "That is all the server needs. See at Resend that the domain of MAIL_FROM is verified."
        return Finding(SUBJECT, Verdict.NOTE, "the key is good, and may only send", advice)
    if response.status_code in (httpx.codes.BAD_REQUEST, httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return Finding(SUBJECT, Verdict.FAILED, f"{shown} is refused", "Make a new key at Resend.")
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return Finding(SUBJECT, Verdict.NOTE, "asks for fewer requests at present", "Run this again in a minute.")
    return Finding(SUBJECT, Verdict.FAILED, f"answers {response.status_code}", "Run this again later: mails wait.")


def _error_name(response: httpx.Response) -> str | None:
    try:
        body: Any = response.json()
    except ValueError:
        return None
    return body.get("name") if isinstance(body, dict) else None
