"""A conversation with the coach, printed as it comes.

Run it: `WINGMANMATCH_TARGET=127.0.0.1:50051 python coach.py "How do I say hello?"`
"""

import asyncio
import os
import sys
import uuid

from wingmanmatch_client import Client, ResourceExhausted, connect

TARGET = os.environ.get("WINGMANMATCH_TARGET", "127.0.0.1:50051")
API_KEY = os.environ.get("WINGMANMATCH_API_KEY")


async def say(client: Client, user_id: str, message: str, conversation_id: str = "") -> str:
    """Print the answer while it comes, and return the id that continues the conversation."""
    async for part in client.coaching.chat(user_id=user_id, message=message, conversation_id=conversation_id):
        print(part.text_delta, end="", flush=True)
        if part.HasField("done"):
            conversation_id = part.done.conversation_id
    print()
    return conversation_id


async def main() -> None:
    """Say each argument, one after the other."""
    user_id, conversation_id = str(uuid.uuid4()), ""
    async with connect(TARGET, api_key=API_KEY) as client:
        try:
            for message in sys.argv[1:]:
                conversation_id = await say(client, user_id, message, conversation_id)
        except ResourceExhausted as error:
            sys.exit(f"{error.reason}: again in {error.retry_after or 0:.0f} s")


if __name__ == "__main__":
    asyncio.run(main())
