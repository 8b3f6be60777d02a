"""Mails as rows, asked of a running server."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc

from wingmanmatch.notification.v1 import notification_pb2, notification_service_pb2, notification_service_pb2_grpc

TIMEOUT = 5.0  # seconds
KIND, STATE = "NOTIFICATION_KIND_", "NOTIFICATION_STATE_"
DETAILS = ("user_id", "match_id", "attempt_count", "provider_message_id", "last_error")


class AskFailed(Exception):
    """The server did not answer the question; the text says why."""


class StateUnknown(Exception):
    """Mails have no such state; the text names those they have."""


async def list_rows(
    target: str, api_key: str | None, states: Sequence[str], limit: int
) -> Sequence[notification_pb2.Notification]:
    """Return the newest mails in any of `states`, all if none is named. Raises AskFailed, StateUnknown."""
    wanted = [_state(name) for name in states]
    request = notification_service_pb2.ListNotificationsRequest(states=wanted, page_size=limit)
    async with _asking(target) as stub:
        answer = await stub.ListNotifications(request, timeout=TIMEOUT, metadata=_credentials(api_key))
    return answer.notifications


async def get_row(target: str, api_key: str | None, notification_id: str) -> notification_pb2.Notification:
    """Return one mail. Raises AskFailed."""
    request = notification_service_pb2.GetNotificationRequest(notification_id=notification_id)
    async with _asking(target) as stub:
        answer = await stub.GetNotification(request, timeout=TIMEOUT, metadata=_credentials(api_key))
    return answer.notification


def kind_of(row: notification_pb2.Notification) -> str:
    """Return the kind's name."""
    return notification_pb2.NotificationKind.Name(row.kind).removeprefix(KIND)


def state_of(row: notification_pb2.Notification) -> str:
    """Return the state's name."""
    return notification_pb2.NotificationState.Name(row.state).removeprefix(STATE)


def facts_of(row: notification_pb2.Notification) -> list[tuple[str, str]]:
    """Return all that is known of a mail, by name, without what is not set."""
    # In the order of the message.
    times = [(field.name, value.ToJsonString()) for field, value in row.ListFields() if field.name.endswith("_time")]
    details = [(name, str(getattr(row, name))) for name in DETAILS if getattr(row, name)]
    return [("id", row.id), ("kind", kind_of(row)), ("state", state_of(row)), *times, *details]


def _state(name: str) -> notification_pb2.NotificationState.ValueType:
    names = notification_pb2.NotificationState.keys()
    if f"{STATE}{name.upper()}" not in names:
        known = ", ".join(each.removeprefix(STATE) for each in names[1:])
        raise StateUnknown(f"no state {name}; there are {known}")
    return notification_pb2.NotificationState.Value(f"{STATE}{name.upper()}")


def _credentials(api_key: str | None) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {api_key}")] if api_key else []


@asynccontextmanager
async def _asking(target: str) -> AsyncIterator[notification_service_pb2_grpc.NotificationServiceStub]:
    async with grpc.aio.insecure_channel(target) as channel:
        try:
            yield notification_service_pb2_grpc.NotificationServiceStub(channel)
        except grpc.aio.AioRpcError as error:
            raise AskFailed(f"{target} answered {error.code().name}: {error.details()}") from error
