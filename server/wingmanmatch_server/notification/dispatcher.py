"""Brings due mails out: claim, render, commit, deliver, record. Any number of replicas may run it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, TypeVar

import structlog

from wingmanmatch_server.errors import TRANSIENT, DomainError
from wingmanmatch_server.notification.mailer import Attachment, Delivery, Mailer, Outcome, OutgoingMail
from wingmanmatch_server.notification.render import Recipient, Renderer, one_line
from wingmanmatch_server.notification.rows import Claim, ClaimedNotification, Clearance
from wingmanmatch_server.notification.store import NotificationStore

log = structlog.get_logger(__name__)

T = TypeVar("T")
Listen = Callable[[str, Callable[[], None]], Awaitable[Callable[[], Awaitable[None]] | None]]

CHANNEL = "notifications"


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a dispatcher works; times are in seconds.

    The lease outlasts a delivery four times over, so that it lapses only where the worker is gone.
    """

    concurrency: int = 8
    delivery_timeout: float = 15.0
    lease: float = 60.0
    longest_sleep: float = 30.0
    poll_interval: float = 1.0
    shortest_sleep: float = 0.05
    first_retry: float = 4.0
    longest_retry: float = 3600.0
    in_flight_retry: float = 1.0  # to five times as much


DEFAULT_PACE = Pace()


class Dispatcher:
    """Delivers what is due until it is stopped. One mail's failure never holds up another's.

    `owner` is this dispatcher's alone. `listen` is `Database.listen`.
    """

    def __init__(
        self,
        store: NotificationStore,
        renderer: Renderer,
        mailer: Mailer,
        listen: Listen,
        *,
        owner: str,
        random: Random,
        pace: Pace = DEFAULT_PACE,
        on_outcome: Callable[[str, Outcome], None] = lambda _kind, _outcome: None,
        on_held: Callable[[str], None] = lambda _kind: None,
    ) -> None:
        """`on_outcome` gets the kind of each mail that was tried, and what became of it; `on_held` that of one held."""
        self._store = store
        self._renderer = renderer
        self._mailer = mailer
        self._listen = listen
        self._owner = owner
        self._random = random
        self._pace = pace
        self._wake = asyncio.Event()
        self._idle = pace.poll_interval
        self._stopping = False
        self._in_flight = 0
        self._failures = 0
        self._paused = False
        self._on_outcome = on_outcome
        self._on_held = on_held

    def stop(self) -> None:
        """Claim nothing more; `run` returns once what is in flight is recorded and the rest given back."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop`. Cancelled, it leaves its leases to lapse and others to take them over."""
        end_listening = await self._listen(CHANNEL, self._wake.set)
        self._idle = self._pace.longest_sleep if end_listening else self._pace.poll_interval
        try:
            async with asyncio.TaskGroup() as deliveries:
                while not self._stopping:
                    await self._sleep(await self._round(deliveries))
        finally:
            if end_listening:
                await end_listening()
        await self._release()

    async def _round(self, deliveries: asyncio.TaskGroup) -> float:
        """Start what is due and there is room for; return the seconds until there may be more."""
        self._wake.clear()
        room = self._pace.concurrency - self._in_flight
        if room == 0:
            return self._pace.longest_sleep
        away = self._mailer.away_for()
        if away > 0:
            # Mails wait where they are: a claim would cost them leases and tell nothing new.
            return min(away, self._pace.longest_sleep)
        try:
            claim = await self._store.claim(self._owner, room, self._pace.lease)
        except Exception as error:  # noqa: BLE001 - mails go on waiting, and the server goes on serving
            return self._pause(error)
        self._resume()
        for kind in claim.held_kinds:
            log.info("notification_held", kind=kind)
            self._on_held(kind)
        for claimed in claim.notifications:
            self._in_flight += 1
            deliveries.create_task(self._handle(claimed))
        return self._until_due(claim)

    def _until_due(self, claim: Claim) -> float:
        self._tell_paused(claim.paused)
        if claim.next_due_seconds is None:
            return self._idle
        # What is due and yet was not claimed is in the hands of another claimer at this very moment.
        return min(self._idle, max(claim.next_due_seconds, self._pace.shortest_sleep))

    async def _handle(self, claimed: ClaimedNotification) -> None:
        try:
            await self._attempt(claimed)
        except TRANSIENT as error:
            self._pause(error)
        except Exception as error:  # noqa: BLE001 - the lease lapses, and the mail is taken up again
            log.error(  # noqa: TRY400 - the text of an unforeseen error may quote a row, address and all
                "notification_attempt_failed",
                notification_id=claimed.id,
                kind=claimed.kind,
                error=type(error).__name__,
            )
        finally:
            self._in_flight -= 1
            self._wake.set()

    async def _attempt(self, claimed: ClaimedNotification) -> None:
        try:
            content = claimed.rendered or self._render(claimed)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt would meet it again
            await self._record(claimed, Delivery(Outcome.BAD_MESSAGE, error=type(error).__name__), attempt=0)
            return
        clearance = await self._while_leased(self._store.begin_delivery, claimed, content, self._pace.lease)
        if clearance is None:
            log.info("notification_withheld", notification_id=claimed.id, kind=claimed.kind)
            return
        delivery = await self._deliver(_outgoing(claimed, clearance))
        await self._record(claimed, delivery, clearance.attempt_count)

    async def _while_leased(self, step: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        """Return what a step returns, tried again while the database cannot take it and the lease may still hold.

        Left alone, the mail would have to wait for its lease to lapse. Raises what the last attempt raised after that.
        """
        clock = asyncio.get_running_loop().time
        lapses = clock() + self._pace.lease
        while True:
            try:
                return await step(*args, **kwargs)
            except TRANSIENT as error:
                if self._stopping or clock() + self._pace.poll_interval >= lapses:
                    raise
                self._pause(error)
            await asyncio.sleep(self._pace.poll_interval)

    def _render(self, claimed: ClaimedNotification) -> dict[str, Any]:
        recipient = Recipient(claimed.user_id, claimed.recipient_name, claimed.locale)
        mail = self._renderer.render(claimed.id, claimed.kind, recipient, claimed.payload, claimed.match_id)
        return asdict(mail)

    async def _deliver(self, mail: OutgoingMail) -> Delivery:
        try:
            async with asyncio.timeout(self._pace.delivery_timeout):
                return await self._mailer.deliver(mail)
        except Exception as error:  # noqa: BLE001 - whatever it is, the mail may be out
            return Delivery(Outcome.AMBIGUOUS, error=type(error).__name__)

    async def _record(self, claimed: ClaimedNotification, delivery: Delivery, attempt: int) -> None:
        state = await self._while_leased(
            self._store.finish,
            claimed,
            delivery.outcome,
            provider_message_id=delivery.provider_message_id,
            error=delivery.error,
            retry_seconds=self._retry_seconds(delivery, attempt),
            pause_seconds=delivery.pause_seconds,
        )
        self._on_outcome(claimed.kind, delivery.outcome)
        tell = log.info if state in ("SENT", None) else log.warning
        tell(
            "notification_attempted",
            notification_id=claimed.id,
            kind=claimed.kind,
            attempt=attempt,
            outcome=str(delivery.outcome),
            state=state or "TAKEN_OVER",
            error=delivery.error,
        )

    def _retry_seconds(self, delivery: Delivery, attempt: int) -> float:
        """Return when to try again: where the provider said nothing, a random share of a bound that doubles.

        Random, so that failures do not return together.
        """
        if delivery.outcome is Outcome.IN_FLIGHT:
            return self._random.uniform(1, 5) * self._pace.in_flight_retry
        if delivery.pause_seconds is not None or delivery.outcome is Outcome.WITHHELD:
            return 0.0  # the pause or the breaker holds mails back, and may end early
        return self._random.uniform(0, self._backoff(attempt, self._pace.first_retry, self._pace.longest_retry))

    def _tell_paused(self, paused: bool) -> None:  # noqa: FBT001
        if paused != self._paused:
            log.warning("notification_deliveries_paused" if paused else "notification_deliveries_resumed")
        self._paused = paused

    def _pause(self, error: Exception) -> float:
        if self._failures == 0:
            log.warning("notification_dispatch_paused", reason=_reason(error))
        self._failures += 1
        # While the circuit breaker is open a claim costs nothing, and it closes soon after the database is back.
        longest = self._pace.poll_interval if isinstance(error, TRANSIENT) else self._pace.longest_sleep
        return self._backoff(self._failures, self._pace.poll_interval, longest)

    def _resume(self) -> None:
        if self._failures:
            log.info("notification_dispatch_resumed")
        self._failures = 0

    @staticmethod
    def _backoff(attempt: int, first: float, longest: float) -> float:
        return float(min(longest, first * 2 ** min(max(attempt - 1, 0), 30)))

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _release(self) -> None:
        try:
            await self._store.release(self._owner)
        except TRANSIENT as error:
            log.warning("notification_release_failed", reason=error.reason)


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, DomainError) else type(error).__name__


def _outgoing(claimed: ClaimedNotification, clearance: Clearance) -> OutgoingMail:
    content = dict(clearance.rendered)
    # Rows rendered by an earlier version have none.
    attachments = tuple(Attachment(**attachment) for attachment in content.pop("attachments", ()))
    return OutgoingMail(
        notification_id=claimed.id,
        kind=claimed.kind,
        idempotency_key=clearance.idempotency_key,
        create_time=claimed.create_time,
        send_time=claimed.send_time,
        recipient_email=claimed.recipient_email,
        recipient_name=one_line(claimed.recipient_name),
        attachments=attachments,
        **content,
    )
