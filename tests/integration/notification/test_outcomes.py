"""What becomes of a mail after an attempt, and how callers see it."""

import asyncio
import uuid

import asyncpg
import pytest

from support.outbox import Outbox
from wingmanmatch_server import errors
from wingmanmatch_server.notification.mailer import Outcome
from wingmanmatch_server.paging import Position

LEASE = 60.0


# Hours since the first attempt, the limit being 23, and whether an earlier attempt may have got through.
CASES = ((22.9, False), (22.9, True), (23.1, False), (23.1, True))


@pytest.mark.parametrize(
    ("outcome", "states"),
    [
        ("ACCEPTED", ("SENT", "SENT", "SENT", "SENT")),
        ("NOT_ACCEPTED", ("PENDING", "PENDING", "DEAD", "REVIEW")),
        ("AMBIGUOUS", ("PENDING", "PENDING", "REVIEW", "REVIEW")),
        ("IN_FLIGHT", ("PENDING", "PENDING", "REVIEW", "REVIEW")),
        ("THROTTLED", ("PENDING", "PENDING", "PENDING", "REVIEW")),
        ("QUOTA", ("PENDING", "PENDING", "PENDING", "REVIEW")),
        ("CONFIG", ("PENDING", "PENDING", "PENDING", "REVIEW")),
        ("WITHHELD", ("PENDING", "PENDING", "PENDING", "REVIEW")),
        ("BAD_MESSAGE", ("DEAD", "DEAD", "DEAD", "DEAD")),
        ("KEY_MISMATCH", ("REVIEW", "REVIEW", "REVIEW", "REVIEW")),
    ],
)
async def test_outcome_decides_the_state(outbox: Outbox, outcome: str, states: tuple[str, ...]) -> None:
    """Each outcome leads to its state; 23 hours after the first attempt a failure is final, and doubt is reviewed."""
    for (hours, doubt), state in zip(CASES, states, strict=True):
        notification_id = await outbox.enqueue()
        (claimed,) = (await outbox.store.claim("one", 1, LEASE)).notifications
        await outbox.store.begin_delivery(claimed, {}, LEASE)
        age = f"first_attempt_time = now() - interval '{hours} hours', ambiguous = {doubt}"
        await outbox.change(notification_id, age)
        assert await outbox.store.finish(claimed, outcome, error="TimeoutError", retry_seconds=3600) == state
        row = await outbox.row(notification_id)
        assert (row["state"], row["last_error"], row["lease_owner"]) == (state, "TimeoutError", None)
        assert row["ambiguous"] is (doubt or outcome in ("AMBIGUOUS", "IN_FLIGHT"))
        assert (row["sent_time"] is not None) is (state == "SENT")


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_outcome_decides_what_is_counted(outbox: Outbox, outcome: Outcome) -> None:
    """What is no fault of the mail is a deferral and costs no attempt; only settings change the mail and its key."""
    notification_id = await outbox.enqueue()
    (claimed,) = (await outbox.store.claim("one", 1, LEASE)).notifications
    await outbox.store.begin_delivery(claimed, {"subject": "as rendered"}, LEASE)
    await outbox.store.finish(claimed, outcome)
    row = await outbox.row(notification_id)
    deferred = outcome in ("THROTTLED", "QUOTA", "CONFIG", "IN_FLIGHT", "WITHHELD")
    assert (row["attempt_count"], row["deferral_count"]) == ((0, 1) if deferred else (1, 0))
    assert (row["rendered"] is None) is (row["generation"] == 2) is (outcome is Outcome.CONFIG)


async def test_unknown_outcome_is_an_error(outbox: Outbox) -> None:
    """A dispatcher of another version cannot leave a mail in a state that nobody knows."""
    notification_id = await outbox.enqueue()
    (claimed,) = (await outbox.store.claim("one", 1, LEASE)).notifications
    with pytest.raises(asyncpg.PostgresError, match="unknown outcome"):
        await outbox.sql.fetchval("select finish_notification($1, $2, 'LOST')", uuid.UUID(claimed.id), claimed.epoch)
    assert (await outbox.row(notification_id))["state"] == "SENDING"


async def test_failed_mail_is_due_again_after_the_pause(outbox: Outbox) -> None:
    """The pause asked for passes before the mail is claimed again."""
    await outbox.enqueue()
    (claimed,) = (await outbox.store.claim("one", 1, LEASE)).notifications
    await outbox.store.finish(claimed, "NOT_ACCEPTED", retry_seconds=600)
    claim = await outbox.store.claim("one", 1, LEASE)
    assert claim.notifications == ()
    assert claim.next_due_seconds == pytest.approx(600, abs=10)


async def test_one_cause_makes_one_mail(outbox: Outbox) -> None:
    """Twenty transactions that report one cause at once write one mail, and all get its id."""
    ids = await asyncio.gather(*(outbox.enqueue(dedupe_key="match/1/decline") for _ in range(20)))
    assert len(set(ids)) == 1
    assert await outbox.sql.fetchval("select count(*) from notifications") == 1


async def test_known_cause_changes_nothing(outbox: Outbox) -> None:
    """The mail of a cause stays as it was first written."""
    first = await outbox.enqueue(dedupe_key="match/1/decline")
    before = await outbox.row(first)
    assert await outbox.enqueue(dedupe_key="match/1/decline", payload={"decliner_name": "Eve"}) == first
    assert await outbox.row(first) == before


async def test_mail_shares_the_fate_of_its_transaction(outbox: Outbox) -> None:
    """A rolled back change leaves no mail behind."""
    transaction = outbox.sql.transaction()
    await transaction.start()
    enqueue = (
        "select internal.enqueue_notification('MATCH_DECLINE', $1, '{}', 'k', p_recipient_email => 'ann@example.org')"
    )
    await outbox.sql.execute(enqueue, uuid.uuid4())
    await transaction.rollback()
    assert await outbox.sql.fetchval("select count(*) from notifications") == 0


async def test_unknown_person_without_an_address_is_an_error(outbox: Outbox) -> None:
    """Where there is neither a profile nor an address, there is nowhere to send to."""
    with pytest.raises(errors.NotFound) as caught:
        await outbox.enqueue(recipient_email=None)
    assert caught.value.reason == "PROFILE_NOT_FOUND"


async def test_cancelling_spares_what_is_being_sent(outbox: Outbox) -> None:
    """A waiting mail of the match is cancelled; one on lease, of another kind or of another match is left."""
    match_id = str(uuid.uuid4())
    sending = await outbox.enqueue(match_id=match_id)
    await outbox.store.claim("one", 1, LEASE)
    waiting = await outbox.enqueue(match_id=match_id)
    other_kind = await outbox.enqueue(match_id=match_id, kind="SESSION_REMINDER")
    other_match = await outbox.enqueue(match_id=str(uuid.uuid4()))
    cancelled = await outbox.database.call("cancel_in_test", p_match_id=match_id, p_kind="MATCH_DECLINE")
    states = [(await outbox.row(each))["state"] for each in (sending, waiting, other_kind, other_match)]
    assert cancelled == 1
    assert states == ["SENDING", "CANCELLED", "PENDING", "PENDING"]


async def test_a_mail_is_either_cancelled_or_claimed(outbox: Outbox) -> None:
    """Cancelling and claiming the same mails at once, every mail ends with exactly one of the two."""
    matches = [str(uuid.uuid4()) for _ in range(100)]
    for match_id in matches:
        await outbox.enqueue(match_id=match_id)
    cancels = [outbox.database.call("cancel_in_test", p_match_id=match_id) for match_id in reversed(matches)]
    claims = [outbox.store.claim(f"claimer {number}", 2, LEASE) for number in range(50)]
    cancelled, claimed = await asyncio.gather(asyncio.gather(*cancels), asyncio.gather(*claims))
    count = "select count(*) filter (where state = $1) from notifications"
    assert await outbox.sql.fetchval(count, "CANCELLED") == sum(cancelled)
    assert await outbox.sql.fetchval(count, "SENDING") == sum(len(claim.notifications) for claim in claimed)
    assert await outbox.sql.fetchval(count, "PENDING") == 100 - sum(cancelled) - sum(
        len(claim.notifications) for claim in claimed
    )


async def test_list_pages_newest_first(outbox: Outbox) -> None:
    """Pages follow one another without gap or repetition and show neither address nor content."""
    user_id = str(uuid.uuid4())
    ids = [await outbox.enqueue(user_id=user_id) for _ in range(5)]
    await outbox.enqueue()
    seen: list[str] = []
    after: Position | None = None
    while True:
        page = await outbox.store.list_notifications(user_id, 2, after)
        seen += [notification.id for notification in page.notifications]
        assert "ann@example.org" not in str(page)
        if (after := page.next_position) is None:
            break
    assert seen == ids[::-1]


async def test_unknown_notification_is_not_found(outbox: Outbox) -> None:
    """Asking for what does not exist names the reason."""
    with pytest.raises(errors.NotFound) as caught:
        await outbox.store.get_notification(str(uuid.uuid4()))
    assert caught.value.reason == "NOTIFICATION_NOT_FOUND"


async def test_people_see_their_own_rows_and_no_address(outbox: Outbox) -> None:
    """As Supabase's authenticated role a person reads their own mails' states, and no address or content at all."""
    user_id = uuid.uuid4()
    mine = await outbox.enqueue(user_id=str(user_id))
    await outbox.enqueue()
    async with outbox.sql.transaction():
        await outbox.sql.execute("select set_config('request.jwt.claims', $1, true)", f'{{"sub": "{user_id}"}}')
        await outbox.sql.execute("set local role authenticated")
        rows = await outbox.sql.fetch("select id, state from notifications")
        for column in ("recipient_email", "recipient_name", "payload", "rendered", "*"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with outbox.sql.transaction():
                    await outbox.sql.fetch(f"select {column} from notifications")
    assert [str(row["id"]) for row in rows] == [mine]


@pytest.mark.parametrize("role", ["anon", "authenticated"])
@pytest.mark.parametrize(
    "statement",
    [
        "select claim_notifications('x', 1, 1)",
        "select internal.enqueue_notification('MATCH_DECLINE', gen_random_uuid(), '{}', 'k')",
        "select list_notifications(gen_random_uuid())",
        "insert into notifications (kind) values ('MATCH_DECLINE')",
        "update notifications set state = 'SENT'",
        "delete from notifications",
    ],
)
async def test_only_the_service_role_acts(outbox: Outbox, role: str, statement: str) -> None:
    """Neither anonymous nor signed-in people can call the functions or write the table."""
    await outbox.sql.execute(f"set role {role}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await outbox.sql.execute(statement)
