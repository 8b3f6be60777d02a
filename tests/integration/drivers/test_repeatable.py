"""What the guarded database may repeat, held against what PostgreSQL knows of its functions."""

import asyncpg
import pytest

from wingmanmatch_server.drivers.guarded_database import READING, REQUEST_ID, may_repeat

# Of ours, that is of no extension: name, whether it promises to change nothing, its parameters and its text.
FUNCTIONS = """
    select p.proname as name, p.provolatile in ('s', 'i') as reads, p.proargnames as parameters, p.prosrc as text
    from pg_catalog.pg_proc p
    where p.pronamespace in ('public'::regnamespace, 'internal'::regnamespace)
      and not exists (select from pg_catalog.pg_depend d where d.objid = p.oid and d.deptype = 'e')
"""


async def _functions(dsn: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(FUNCTIONS))
    finally:
        await connection.close()


async def test_names_of_reading_functions(fresh_database_dsn: str) -> None:
    """A function with a name that promises to read is one that PostgreSQL will not let write."""
    promised = [row for row in await _functions(fresh_database_dsn) if row["name"].startswith(READING)]
    assert len(promised) > 3
    assert [row["name"] for row in promised if not row["reads"]] == []


async def test_request_ids_are_remembered(fresh_database_dsn: str) -> None:
    """A function that takes a request_id looks whether it has done it before, an erasure by what names nobody."""
    taking = [row for row in await _functions(fresh_database_dsn) if REQUEST_ID in (row["parameters"] or ())]
    taking = [row for row in taking if row["name"] not in {"recall_answer", "remember_answer"}]
    assert len(taking) > 3
    looking = {
        "delete_profile": "e.request_digest = digest",
        "confirm_meetup": "return internal.answer_meetup('confirm_meetup'",
        "check_send": "public.get_send_answered(p_user_id, p_request_id)",
        "report_no_show": "return internal.answer_meetup('report_no_show'",
    }
    assert [row["name"] for row in taking if looking.get(row["name"], "recall_answer") not in row["text"]] == []


@pytest.mark.parametrize(
    ("function", "parameters", "expected"),
    [
        ("get_profile", {}, True),
        ("list_matches", {"p_after": None}, True),
        ("read_match_events", {}, True),
        ("coaching_context", {}, True),
        ("meetup_plan_facts", {}, True),
        ("request_match", {"p_request_id": "4c8e4d40-7c53-4b68-9f0c-9a3d6c4a3c1f"}, True),
        ("request_match", {"p_request_id": None}, False),
        ("expire_matches", {"p_limit": 1}, False),
        ("forget_list_of", {}, False),
    ],
)
def test_rule(function: str, parameters: dict[str, str | None], expected: bool) -> None:  # noqa: FBT001
    """Reads, and mutations with a request_id, may be repeated; nothing else."""
    assert may_repeat(function, parameters) is expected
