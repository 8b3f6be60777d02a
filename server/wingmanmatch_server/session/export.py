"""A person's sessions, for the person to keep."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from wingmanmatch_server.session.service import message_of
from wingmanmatch_server.session.store import Session, SessionStore
from wingmanmatch_server.well_formed import check_struct

PAGE_SIZE = 20


async def export_sessions(store: SessionStore, user_id: str) -> AsyncIterator[dict[str, Any]]:
    """Yield a person's live sessions as records, without their tokens, which nobody knows any more.

    A record that cannot have its session's data, because no JSON could, has `unreadable: ["data"]` in their place.
    """
    after: str | None = None
    while True:
        page = await store.list_of_user(user_id, page_size=PAGE_SIZE, after=after)
        for session in page.sessions:
            yield _record(session)
        after = page.next_after
        if after is None:
            return


def _record(session: Session) -> dict[str, Any]:
    if _is_readable(session.data):
        return _fields(session)
    return _fields(replace(session, data=b"")) | {"unreadable": ["data"]}


def _is_readable(data: bytes) -> bool:
    try:
        return not check_struct(Struct.FromString(data))
    except DecodeError:
        return False


def _fields(session: Session) -> dict[str, Any]:
    return MessageToDict(message_of(session), preserving_proto_field_name=True)
