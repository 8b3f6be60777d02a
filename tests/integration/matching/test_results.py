"""A database whose functions return something else than the server declares."""

import uuid

import asyncpg
import pytest

from support.databases import fresh_database, open_database
from wingmanmatch_server.drivers.results import ResultInvalid
from wingmanmatch_server.matching.store import MatchingStore

RETURNING = """
create or replace function public.get_match(p_match_id uuid, p_user_id uuid) returns jsonb language sql
return jsonb_build_object('match', jsonb_build_object(
    'id', p_match_id, 'requester_id', p_user_id, 'invitee_id', p_user_id, 'state', 'PENDING', 'venue_suggestion', '',
    'message', '', 'create_time', now(), 'respond_time', null, 'expire_time', now()) {change})
"""


@pytest.mark.parametrize("transport", ["postgres", "rest"])
async def test_result_is_checked(admin_dsn: str, transport: str) -> None:
    """A key too many is passed over; one that is missing or null is an error that names it, never a silent None."""
    match_id, user_id = str(uuid.uuid4()), str(uuid.uuid4())
    async with fresh_database(admin_dsn) as dsn, open_database(dsn, transport) as database:
        store = MatchingStore(database, max_daily_matches=10)
        sql = await asyncpg.connect(dsn)
        try:
            await sql.execute(RETURNING.format(change="""|| '{"priority": 1}'"""))
            assert (await store.get_match(match_id, user_id)).id == match_id
            for change, problem in (
                ("- 'respond_time'", "respond_time: missing"),
                ("|| '{\"state\": null}'", "state: "),
            ):
                await sql.execute(RETURNING.format(change=change))
                with pytest.raises(ResultInvalid, match=f"get_match returned an invalid result: {problem}"):
                    await store.get_match(match_id, user_id)
        finally:
            await sql.close()
