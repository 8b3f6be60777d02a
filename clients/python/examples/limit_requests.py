"""Another back end's rate limit, without asyncio: one bucket for each of its users, shared by all its processes.

Run it: `WINGMANMATCH_TARGET=127.0.0.1:50051 python limit_requests.py`
"""

import os
import uuid

from wingmanmatch.ratelimit.v1 import rate_limit_pb2
from wingmanmatch_client import DeadlineExceeded, SyncClient, Unavailable, connect_sync

TARGET = os.environ.get("WINGMANMATCH_TARGET", "127.0.0.1:50051")
API_KEY = os.environ.get("WINGMANMATCH_API_KEY")


def admit(client: SyncClient, user: str) -> tuple[bool, float]:
    """Return whether the user may send a mail now, and otherwise after how many seconds."""
    bucket = rate_limit_pb2.RateLimitDescriptor(policy="email_send", subject=user, cost=1)
    try:
        answer = client.rate_limit.check_rate_limit(descriptors=[bucket], timeout=2)
    except (DeadlineExceeded, Unavailable):
        # Nobody is locked out because the limiter is away; another back end may decide otherwise.
        return True, 0.0
    return answer.allowed, answer.results[0].retry_after.ToTimedelta().total_seconds()


def main() -> None:
    """Ask until it is too much."""
    user = f"shop-{uuid.uuid4()}"
    with connect_sync(TARGET, api_key=API_KEY) as client:
        for attempt in range(1, 5):
            allowed, wait = admit(client, user)
            print(f"mail {attempt}:", "sent" if allowed else f"not before {wait:.0f} s")


if __name__ == "__main__":
    main()
