"""Typed Python client of WingmanMatch, by asyncio or without.

    async with connect("wingmanmatch.internal:50051", api_key=key) as client:
        answer = await client.matching.request_match(user_id=ada)

    with connect_sync("wingmanmatch.internal:50051", api_key=key) as client:
        answer = client.matching.request_match(user_id=ada)

Answers are the messages of the package `wingmanmatch`. A call that fails raises a WingmanMatchError (`errors`).
"""

from wingmanmatch_client.aio.client import Client, connect
from wingmanmatch_client.connection import Tls
from wingmanmatch_client.errors import (
    Aborted,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RateLimited,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    WingmanMatchError,
    error_of,
    error_of_status,
    reason_of,
)
from wingmanmatch_client.sync.client import SyncClient, connect_sync

__all__ = [
    "Aborted",
    "Cancelled",
    "Client",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FieldViolation",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "PermissionDenied",
    "RateLimited",
    "ResourceExhausted",
    "SyncClient",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "WingmanMatchError",
    "connect",
    "connect_sync",
    "error_of",
    "error_of_status",
    "reason_of",
]
