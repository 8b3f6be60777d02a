"""Follow what happens to a person's matches, across restarts of the server and of this program.

Run it: `WINGMANMATCH_TARGET=127.0.0.1:50051 python watch_events.py USER_ID [TOKEN_FILE]`
"""

import asyncio
import os
import sys
from pathlib import Path

from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch_client import FailedPrecondition, connect

TARGET = os.environ.get("WINGMANMATCH_TARGET", "127.0.0.1:50051")
API_KEY = os.environ.get("WINGMANMATCH_API_KEY")


async def follow(user_id: str, token_file: Path) -> None:
    """Print each event once, and keep the position after it in a file."""
    token = token_file.read_text("utf-8") if token_file.exists() else ""
    async with connect(TARGET, api_key=API_KEY) as client:
        # A heartbeat has no event; the first one comes as soon as the stream is open, and says where it begins.
        async for message in client.matching.watch_matches(user_id=user_id, resume_token=token, heartbeats=True):
            if message.HasField("event"):
                print(matching_pb2.MatchEventKind.Name(message.event.kind), message.event.match.id, flush=True)
            # After the event is dealt with: a program that is killed in between sees it once more, and misses none.
            token_file.write_text(message.resume_token, "utf-8")
            if not token:
                print("watching", flush=True)
            token = message.resume_token


async def main() -> None:
    """Follow until Ctrl-C."""
    user_id, token_file = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "resume_token")
    try:
        await follow(user_id, token_file)
    except FailedPrecondition as error:
        # After a week away events are no longer kept: read the present state by list_matches, and watch anew.
        token_file.unlink()
        sys.exit(f"{error.reason}: list the matches and start again")


if __name__ == "__main__":
    asyncio.run(main())
