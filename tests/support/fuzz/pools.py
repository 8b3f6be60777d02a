"""What requests name: people, and whatever the server made, as its answers tell of it."""

import random
import uuid
from collections import defaultdict, deque
from typing import Any

from google.protobuf.message import Message

PEOPLE = 40
SIZE = 100  # the newest of each kind
# Where answers hold what later requests name: by message and field, the fields of requests.
SOURCES = {
    ("Match", "id"): "match_id",
    ("Meetup", "id"): "meetup_id",
    ("Challenge", "id"): "challenge_id",
    ("UserChallenge", "id"): "user_challenge_id",
    ("ShareLink", "id"): "share_link_id",
    ("ShareLink", "token"): "share_token",
    ("CreateSessionResponse", "token"): "session_token",
    ("Notification", "id"): "notification_id",
    ("ChatDone", "conversation_id"): "conversation_id",
    ("RateLimitPolicy", "name"): "policy",
}

OWNERS = ("user_id", "requester_id", "invitee_id")


class Pools:
    """The newest values of each kind. Deterministic as long as the answers are: nothing depends on when they came."""

    def __init__(self, seed: int) -> None:
        names = random.Random(f"people {seed}")
        self.people = [str(uuid.UUID(int=names.getrandbits(128), version=4)) for _ in range(PEOPLE)]
        self._values: dict[str, deque[Any]] = defaultdict(lambda: deque(maxlen=SIZE))
        self._owners: dict[str, list[str]] = {}

    def choose(self, name: str, random_: random.Random) -> Any:
        """Return a value for a field of a name; None if none is known."""
        if name == "user_id" or name.endswith("_user_id"):
            return random_.choice(self.people)
        values = self._values.get(name)
        return random_.choice(values) if values else None

    def owners(self, value: str) -> list[str]:
        """Return who has a part in what is named so, as far as answers told."""
        return self._owners.get(value, [])

    def harvest(self, answer: Message) -> None:
        """Take in what an answer holds, at any depth."""
        kind = answer.DESCRIPTOR.name
        for field, value in answer.ListFields():
            name = SOURCES.get((kind, field.name))
            if name is not None:
                self._add(name, value)
                self._owners[value] = [each for each in (getattr(answer, owner, "") for owner in OWNERS) if each]
            elif field.name in ("next_page_token", "resume_token"):
                self._add(field.name.removeprefix("next_"), value)
            elif field.message_type is not None and not field.message_type.full_name.startswith("google."):
                for each in value if field.is_repeated else (value,):
                    self.harvest(each)

    def _add(self, name: str, value: Any) -> None:
        if value and value not in self._values[name]:
            self._values[name].append(value)
