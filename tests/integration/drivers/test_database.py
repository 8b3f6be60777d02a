"""What `drivers.database.Database` promises, over both transports."""

import asyncio
import json
import uuid
from typing import Any

import asyncpg
import pytest

from support.probes import sleeping
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.database import CallFailed, Database

AWAY = ["08000", "08003", "08006", "25006", "25P03", "53000", "53100", "53200", "53300", "53400"]
AWAY += ["57P01", "57P02", "57P03", "57P04", "57P05"]
RAISED: dict[str, tuple[type[errors.DomainError], str]] = {
    "WM400": (errors.InvalidArgument, "SOME_REASON"),
    "WM403": (errors.PermissionDenied, "SOME_REASON"),
    "WM404": (errors.NotFound, "SOME_REASON"),
    "WM409": (errors.FailedPrecondition, "SOME_REASON"),
    "WM412": (errors.Aborted, "SOME_REASON"),
    "WM429": (errors.ResourceExhausted, "SOME_REASON"),
    "40001": (errors.Aborted, "CONFLICT"),
    "40P01": (errors.Aborted, "CONFLICT"),
    "55P03": (errors.Aborted, "CONFLICT"),
    "57014": (errors.DeadlineExceeded, "DEADLINE_EXCEEDED"),
    "25P04": (errors.DeadlineExceeded, "DEADLINE_EXCEEDED"),
    **dict.fromkeys(
        AWAY,
        (errors.Unavailable, "DATABASE_UNAVAILABLE"),
    ),
}
# What a function's parameters may be, so that JSON means the same over both.
PARAMETER_TYPES = {"uuid", "text", "text[]", "jsonb", "integer", "bigint", "double precision", "boolean"} | {
    "timestamp with time zone",
    "uuid[]",
}
HELD = "secret-row@example.org"


async def raised_by(database: Database, function: str, **parameters: Any) -> Exception:
    """Return what a call raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the test looks at what it is
        await database.call(function, **parameters)
    return caught.value


@pytest.mark.parametrize("sqlstate", RAISED)
async def test_sqlstates_become_the_domains_errors(probed: Database, sqlstate: str) -> None:
    """Each SQLSTATE of the table becomes its error with reason, message and metadata."""
    metadata = {"match_id": "42"}
    error = await raised_by(
        probed,
        "probe_raise",
        p_sqlstate=sqlstate,
        p_message="said so",
        p_detail="SOME_REASON",
        p_hint=json.dumps(metadata),
    )
    expected, reason = RAISED[sqlstate]
    assert type(error) is expected
    assert error.reason == reason
    if sqlstate.startswith("WM"):
        assert (error.message, error.metadata) == ("said so", metadata)
    if isinstance(error, errors.Unavailable):
        assert error.retry_after == 1
        refuses = error.evidence is errors.Evidence.REFUSES_WRITES
        assert refuses == (sqlstate == "25006")


async def test_quota_says_when_to_try_again(probed: Database) -> None:
    """The seconds in the metadata of a WM429 become retry_after."""
    hint = json.dumps({"retry_after_seconds": "12.5"})
    error = await raised_by(
        probed, "probe_raise", p_sqlstate="WM429", p_message="m", p_detail="DAILY_MATCH_LIMIT", p_hint=hint
    )
    assert isinstance(error, errors.ResourceExhausted)
    assert error.retry_after == 12.5


@pytest.mark.parametrize("sqlstate", ["P0001", "22P02", "XX000", "0A000"])
async def test_defects_do_not_quote_data(probed: Database, sqlstate: str) -> None:
    """An SQLSTATE that only a defect causes is told with its function and code, and without any text of a row."""
    error = await raised_by(probed, "probe_raise", p_sqlstate=sqlstate, p_message=HELD, p_detail=HELD, p_hint=HELD)
    assert isinstance(error, CallFailed)
    assert str(error) == f"probe_raise failed with {sqlstate}"
    assert (error.__cause__, error.__suppress_context__ or error.__context__ is None) == (None, True)


async def test_broken_constraint_is_named_and_its_row_is_not(probed: Database) -> None:
    """A violated check leads to its constraint's name only."""
    error = await raised_by(probed, "probe_write", p_name="forbidden")
    assert isinstance(error, CallFailed)
    assert "probes_name_check" in str(error)
    assert "Failing row" not in str(error)


@pytest.mark.parametrize(
    "value",
    [{"a": [1, 2.5, None, True, {"b": "ü\n\"'\\ 🤝"}]}, [], {}, "text", "", 0, -1.5, False, 2**53 - 1, [None]],
)
async def test_json_goes_there_and_back(probed: Database, value: Any) -> None:
    """A jsonb parameter and a jsonb result are what they were."""
    assert await probed.call("probe_echo", p_value=value) == {"value": value}


async def test_left_out_is_not_null(probed: Database) -> None:
    """A parameter left out takes its SQL default; None is NULL."""
    assert await probed.call("probe_echo") == {"value": "left out"}
    assert await probed.call("probe_echo", p_value=None) == {"value": None}


async def test_types_of_parameters(probed: Database) -> None:
    """Ids and times are text, as in JSON; numbers, booleans and lists are themselves."""
    some_id = str(uuid.uuid4())
    assert await probed.call(
        "probe_types",
        p_id=some_id,
        p_at="2026-11-22T10:00:00.5+01:00",
        p_count=7,
        p_ratio=0.25,
        p_on=True,
        p_names=["a", "b,c", '"'],
    ) == [some_id, 1795338000.5, 7, 0.25, True, ["a", "b,c", '"']]


async def test_no_result(probed: Database) -> None:
    """A function without a result returns None."""
    assert await probed.call("probe_nothing") is None


async def test_failed_call_leaves_nothing(probed: Database) -> None:
    """What a function wrote before it raised is not there."""
    before = await probed.call("probe_count")
    error = await raised_by(probed, "probe_write", p_name=str(uuid.uuid4()), p_fail=True)
    assert isinstance(error, errors.FailedPrecondition)
    assert await probed.call("probe_count") == before
    await probed.call("probe_write", p_name=str(uuid.uuid4()))
    assert await probed.call("probe_count") == before + 1


async def test_each_role_is_itself_under_load(probed: Database) -> None:
    """Calls as both roles, mixed and failing too, never act as each other's."""

    async def roles() -> tuple[Any, Any]:
        return await probed.call("probe_role"), await probed.call_as_anonymous("probe_role")

    async def failing() -> None:
        with pytest.raises(CallFailed):
            await probed.call_as_anonymous("probe_count")

    acted = await asyncio.gather(*(roles() for _ in range(40)), *(failing() for _ in range(20)))
    assert {pair for pair in acted if pair} == {("service_role", "anon")}


async def test_anonymous_calls_what_it_may(probed: Database) -> None:
    """A function that anon was not granted fails with 42501, and one that it was does not."""
    with pytest.raises(CallFailed) as caught:
        await probed.call_as_anonymous("probe_write", p_name="x")
    assert caught.value.code == "42501"
    assert await probed.call_as_anonymous("health") == {"role": "anon"}
    assert await probed.call("health") == {"role": "service_role"}


async def test_pings(probed: Database) -> None:
    """Both roles' pings tell how long they took."""
    assert 0 < await probed.ping() < 5
    assert 0 < await probed.ping_as_anonymous() < 5


async def test_cancelled_calls_block_nothing(probed: Database, probed_dsn: str) -> None:
    """More calls than there are connections are cancelled at once, and as many as that find one right after."""
    cancelled = [asyncio.create_task(probed.call("probe_sleep", p_seconds=1)) for _ in range(30)]
    await sleeping(probed_dsn, at_least=10)
    for task in cancelled:
        task.cancel()
    outcomes = await asyncio.gather(*cancelled, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
    async with asyncio.timeout(10):
        await asyncio.gather(*(probed.call("probe_role") for _ in range(30)))


async def test_parameters_have_types_that_travel_alike(fresh_database_dsn: str) -> None:
    """Every parameter has a type that both transports send alike, but for rows, which only functions pass on."""
    sql = await asyncpg.connect(fresh_database_dsn)
    rows = await sql.fetch(
        """select p.proname, format_type(t.type, null) as type
        from pg_proc p cross join unnest(p.proargtypes) t (type) join pg_type y on y.oid = t.type
            left join pg_type e on e.oid = y.typelem
        where p.pronamespace = 'public'::regnamespace
            and p.prorettype in ('jsonb'::regtype, 'uuid'::regtype, 'void'::regtype)
            and y.typtype = 'b' and e.typtype is distinct from 'c'
            and has_function_privilege('service_role', p.oid, 'execute')"""
    )
    await sql.close()
    assert rows
    assert {(row["proname"], row["type"]) for row in rows if row["type"] not in PARAMETER_TYPES} == set()
