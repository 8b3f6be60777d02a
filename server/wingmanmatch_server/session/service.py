"""SessionService: translates between the wire and the store."""

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from wingmanmatch.session.v1 import session_pb2, session_service_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import Call
from wingmanmatch_server.paging import PageTokens
from wingmanmatch_server.session.store import Session, SessionStore
from wingmanmatch_server.wire import canonical_id

MAX_DATA_BYTES = 64 * 1024
DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 50  # pages of the largest sessions still fit the 4 MiB that clients receive


class SessionService:
    """Each method is the RPC of its name; `session_service.proto` has the contract."""

    def __init__(self, store: SessionStore, pages: PageTokens, *, timeout: timedelta) -> None:
        """`timeout` is how long a session lives without being extended, and the longest that a caller may ask for."""
        self._store = store
        self._pages = pages
        self._timeout = timeout

    async def create_session(
        self, request: session_service_pb2.CreateSessionRequest, _call: Call
    ) -> session_service_pb2.CreateSessionResponse:
        """Open a session."""
        session, token = await self._store.create(
            canonical_id(request.user_id),
            _data(request.data),
            ttl=self._ttl(request.ttl) if request.HasField("ttl") else self._timeout,
            request_id=_request_id(request.request_id),
        )
        return session_service_pb2.CreateSessionResponse(session=message_of(session), token=token)

    async def get_session(
        self, request: session_service_pb2.GetSessionRequest, _call: Call
    ) -> session_service_pb2.GetSessionResponse:
        """Return the session of a token."""
        read = self._store.touch if request.touch else self._store.get
        return session_service_pb2.GetSessionResponse(session=message_of(await read(request.token)))

    async def update_session(
        self, request: session_service_pb2.UpdateSessionRequest, _call: Call
    ) -> session_service_pb2.UpdateSessionResponse:
        """Replace a session's data."""
        session = await self._store.update(
            request.token,
            _data(request.data),
            expected_version=request.expected_version if request.HasField("expected_version") else None,
            request_id=_request_id(request.request_id),
        )
        return session_service_pb2.UpdateSessionResponse(session=message_of(session))

    async def touch_session(
        self, request: session_service_pb2.TouchSessionRequest, _call: Call
    ) -> session_service_pb2.TouchSessionResponse:
        """Extend a session."""
        ttl = self._ttl(request.ttl) if request.HasField("ttl") else None
        session = await self._store.touch(request.token, ttl=ttl)
        return session_service_pb2.TouchSessionResponse(session=message_of(session))

    async def delete_session(
        self, request: session_service_pb2.DeleteSessionRequest, _call: Call
    ) -> session_service_pb2.DeleteSessionResponse:
        """End the session of a token."""
        await self._store.delete(request.token)
        return session_service_pb2.DeleteSessionResponse()

    async def list_sessions(
        self, request: session_service_pb2.ListSessionsRequest, _call: Call
    ) -> session_service_pb2.ListSessionsResponse:
        """List a person's live sessions."""
        user_id = canonical_id(request.user_id)
        asked = ("ListSessions", user_id)
        page = await self._store.list_of_user(
            user_id,
            page_size=min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE),
            after=(self._pages.open(request.page_token, *asked) or {}).get("id"),
        )
        return session_service_pb2.ListSessionsResponse(
            sessions=[message_of(session) for session in page.sessions],
            next_page_token=self._pages.seal({"id": page.next_after} if page.next_after else None, *asked),
        )

    async def delete_user_sessions(
        self, request: session_service_pb2.DeleteUserSessionsRequest, _call: Call
    ) -> session_service_pb2.DeleteUserSessionsResponse:
        """End every session of a person."""
        count = await self._store.delete_of_user(canonical_id(request.user_id))
        return session_service_pb2.DeleteUserSessionsResponse(deleted_count=count)

    def _ttl(self, asked: Duration) -> timedelta:
        ttl = asked.ToTimedelta()
        if ttl > self._timeout:
            seconds = self._timeout // timedelta(seconds=1)
            raise _invalid("ttl", "duration.lte", f"must be at most {seconds} seconds")
        return ttl


def _invalid(field: str, rule: str, description: str) -> errors.InvalidArgument:
    return errors.InvalidArgument([errors.FieldViolation(field, rule, description)])


def _request_id(request_id: str) -> str | None:
    return canonical_id(request_id) if request_id else None


def _data(data: Struct) -> bytes:
    """Return the bytes to store. Raises errors.InvalidArgument if they are too many."""
    serialized = data.SerializeToString(deterministic=True)
    if len(serialized) > MAX_DATA_BYTES:
        raise _invalid("data", "data.max_bytes", f"must be at most {MAX_DATA_BYTES} bytes")
    return serialized


def message_of(session: Session) -> session_pb2.Session:
    """Return a session as callers see it."""
    return session_pb2.Session(
        id=session.id,
        user_id=session.user_id,
        data=Struct.FromString(session.data),
        version=session.version,
        create_time=_timestamp(session.create_time),
        update_time=_timestamp(session.update_time),
        expire_time=_timestamp(session.expire_time),
        max_expire_time=_timestamp(session.max_expire_time),
    )


def _timestamp(milliseconds: int) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMilliseconds(milliseconds)
    return timestamp
