"""Sessions of signed-in people, without asyncio.

Run it: `WINGMANMATCH_TARGET=127.0.0.1:50051 python user_sessions.py`
"""

import os
import uuid
from datetime import timedelta

from google.protobuf.json_format import MessageToDict

from wingmanmatch_client import Aborted, SyncClient, Unauthenticated, connect_sync

TARGET = os.environ.get("WINGMANMATCH_TARGET", "127.0.0.1:50051")
API_KEY = os.environ.get("WINGMANMATCH_API_KEY")


def put_into_basket(client: SyncClient, token: str, item: str) -> None:
    """Add an item to the session's data; where another request was faster, read them again."""
    while True:
        session = client.session.get_session(token=token).session
        data = MessageToDict(session.data)
        data["basket"] = [*data.get("basket", []), item]
        try:
            client.session.update_session(token=token, data=data, expected_version=session.version)
        except Aborted:
            continue
        return


def main() -> None:
    """Sign in, use the session, sign out."""
    with connect_sync(TARGET, api_key=API_KEY) as client:
        user_id = str(uuid.uuid4())
        opened = client.session.create_session(user_id=user_id, data={"theme": "dark"}, ttl=timedelta(hours=1))
        put_into_basket(client, opened.token, "umbrella")
        data = MessageToDict(client.session.get_session(token=opened.token, touch=True).session.data)
        print(f"{data['theme']}, with {', '.join(data['basket'])} in the basket")
        print(f"{len(list(client.session.iter_sessions(user_id=user_id)))} session")
        client.session.delete_user_sessions(user_id=user_id)
        try:
            client.session.get_session(token=opened.token)
        except Unauthenticated as error:
            print(error.reason)


if __name__ == "__main__":
    main()
