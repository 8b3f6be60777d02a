"""Mails through Resend, by its SDK.

The SDK keeps its key and its HTTP client in globals and opens a connection for every mail. So its one global client is
set to a relay that finds the account of the mail at hand in the context, and uses that account's own open connections.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import httpx
import resend
from resend.exceptions import ResendError

from wingmanmatch_server import errors
from wingmanmatch_server.notification.mailer import Attachment, Delivery, Outcome, OutgoingMail, recipient
from wingmanmatch_server.resilience.breaker import Breaker

TIMEOUT = httpx.Timeout(10.0, connect=3.0)  # seconds; all of it is less than the dispatcher waits
CONNECTIONS = httpx.Limits(max_connections=8, max_keepalive_connections=8, keepalive_expiry=60.0)
CONFIG_PAUSE = 300.0  # seconds until a mail finds out whether the account was put right
QUOTA_PAUSE = 3600.0  # where Resend does not say until when
THROTTLE_PAUSE = 1.0
LONGEST_PAUSE = 24 * 3600.0

# Raised before anything of the request can have arrived.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)

# What an error of Resend means, by status and name; an empty name stands for all others of the status.
OUTCOMES: Mapping[tuple[int, str], Outcome] = {
    (400, ""): Outcome.BAD_MESSAGE,
    (401, ""): Outcome.CONFIG,
    (403, ""): Outcome.CONFIG,
    (404, ""): Outcome.CONFIG,
    (405, ""): Outcome.CONFIG,
    (409, ""): Outcome.IN_FLIGHT,
    (409, "invalid_idempotent_request"): Outcome.KEY_MISMATCH,
    (413, ""): Outcome.BAD_MESSAGE,
    (422, ""): Outcome.BAD_MESSAGE,
    (422, "invalid_from_address"): Outcome.CONFIG,
    (429, ""): Outcome.THROTTLED,
    (429, "daily_quota_exceeded"): Outcome.QUOTA,
    (429, "monthly_quota_exceeded"): Outcome.QUOTA,
}
PAUSES = {Outcome.CONFIG: CONFIG_PAUSE, Outcome.QUOTA: QUOTA_PAUSE, Outcome.THROTTLED: THROTTLE_PAUSE}


@dataclass(frozen=True, slots=True)
class Account:
    """At whose expense mails go, and by which connections."""

    http: httpx.AsyncClient
    url: str
    api_key: str


_account: ContextVar[Account] = ContextVar("account")


class Relay(resend.AsyncHTTPClient):
    """The SDK's HTTP client: sends what it is given in the name of the account in the context."""

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        json: Any = None,
        files: dict[str, Any] | None = None,
        data: dict[str, str] | None = None,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """See `resend.AsyncHTTPClient.request`."""
        account = _account.get()
        response = await account.http.request(
            method,
            account.url + url.removeprefix(resend.api_url),
            headers={**headers, "Authorization": f"Bearer {account.api_key}"},
            json=json,
            files=files,
            data=data,
        )
        return response.content, response.status_code, response.headers


class Away(errors.Unavailable):
    """Resend did not do its part: what a circuit breaker counts."""

    def __init__(self, delivery: Delivery) -> None:
        super().__init__("EMAIL_UNAVAILABLE", "Resend does not answer")
        self.delivery = delivery


class ResendMailer:
    """Delivers by one account at Resend, behind the circuit breaker `email`."""

    def __init__(self, account: Account, breaker: Breaker) -> None:
        self._account = account
        self._breaker = breaker

    async def deliver(self, mail: OutgoingMail) -> Delivery:
        """See `Mailer.deliver`. Raises nothing; if it is cancelled, the mail may be out."""
        try:
            parameters = to_parameters(mail)
        except ValueError as error:
            return Delivery(Outcome.BAD_MESSAGE, error=type(error).__name__)
        try:
            with self._breaker.guard():
                return await self._post(parameters, mail.idempotency_key)
        except Away as error:
            return error.delivery
        except errors.Unavailable:
            return Delivery(Outcome.WITHHELD, error="CIRCUIT_OPEN")

    def away_for(self) -> float:
        """See `Mailer.away_for`."""
        return self._breaker.open_for()

    async def _post(self, parameters: resend.Emails.SendParams, idempotency_key: str) -> Delivery:
        _account.set(self._account)
        try:
            sent: Any = await resend.Emails.send_async(parameters, {"idempotency_key": idempotency_key})
        except ResendError as error:
            return _refused(error)
        return _accepted(sent)


@asynccontextmanager
async def open_resend(api_key: str, url: str, breaker: Breaker) -> AsyncIterator[ResendMailer]:
    """Open connections to Resend at `url`, without waiting for it."""
    resend.default_async_http_client = Relay()
    # Making the TLS context takes a tenth of a second of computing.
    http = await asyncio.to_thread(httpx.AsyncClient, timeout=TIMEOUT, limits=CONNECTIONS)
    async with http:
        yield ResendMailer(Account(http, url.rstrip("/"), api_key), breaker)


def to_parameters(mail: OutgoingMail) -> resend.Emails.SendParams:
    """Return `mail` as Resend's API takes it. Raises ValueError if its recipient is not one address."""
    parameters: resend.Emails.SendParams = {
        "from": mail.sender,
        "to": [str(recipient(mail))],
        "subject": mail.subject,
        "html": mail.html,
        "text": mail.text,
        "headers": dict(mail.headers),
        # They come back with every event of the mail.
        "tags": [{"name": "notification_id", "value": mail.notification_id}, {"name": "kind", "value": mail.kind}],
    }
    if mail.reply_to:
        parameters["reply_to"] = mail.reply_to
    if mail.attachments:
        parameters["attachments"] = [_attachment(each) for each in mail.attachments]
    return parameters


def _attachment(attachment: Attachment) -> resend.Attachment:
    return {
        "filename": attachment.filename,
        "content": base64.b64encode(attachment.content.encode()).decode(),
        "content_type": attachment.content_type,
    }


def _accepted(sent: Mapping[str, Any]) -> Delivery:
    if not sent.get("id"):
        raise Away(Delivery(Outcome.AMBIGUOUS, error="NoId"))
    headers = sent.get("http_headers", {})
    # The next request of the team, from whatever replica, would be refused.
    used_up = _seconds(headers, "ratelimit-remaining") == 0
    pause = _seconds(headers, "ratelimit-reset") if used_up else None
    return Delivery(Outcome.ACCEPTED, provider_message_id=sent["id"], pause_seconds=pause)


def _refused(error: ResendError) -> Delivery:
    cause = error.__context__
    if error.error_type == "HttpClientError":
        outcome = Outcome.NOT_ACCEPTED if isinstance(cause, NOT_SENT) else Outcome.AMBIGUOUS
        raise Away(Delivery(outcome, error=type(cause).__name__)) from error
    status, name = int(error.code), error.error_type
    outcome = OUTCOMES.get((status, name)) or OUTCOMES.get((status, ""), Outcome.AMBIGUOUS)
    if outcome is Outcome.AMBIGUOUS:
        raise Away(Delivery(outcome, error=f"{status} {_code(name)}")) from error
    return Delivery(outcome, error=f"{status} {_code(name)}", pause_seconds=_pause(outcome, error.headers))


def _pause(outcome: Outcome, headers: Mapping[str, str]) -> float | None:
    if outcome not in PAUSES:
        return None
    asked = [_seconds(headers, name) for name in ("retry-after", "ratelimit-reset")]
    return next((seconds for seconds in asked if seconds), PAUSES[outcome])


def _seconds(headers: Mapping[str, str], name: str) -> float | None:
    value = {key.lower(): value for key, value in headers.items()}.get(name, "")
    try:
        return min(max(float(value), 0.0), LONGEST_PAUSE)
    except ValueError:
        return None


def _code(name: str) -> str:
    """Return a provider's name for an error if it is one, and no text that could quote the mail."""
    return name if name.isidentifier() and len(name) <= 64 else "unnamed"  # noqa: PLR2004
