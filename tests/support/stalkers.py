"""Somebody who wants to know where another person lives, with as many accounts of their own as they like."""

import math
import random
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from support.credentials import SETTINGS, bearer, user_token
from support.databases import fresh_database
from support.edge import Failure
from support.places import Place, cell_of, miles
from support.requests import TIMEOUT, profile
from support.server import serving_application
from support.stubs import Stubs
from support.valkey import own_valkey
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2

MILES_PER_DEGREE = 69.0934
REACH = 40.0  # miles: as far as the attacker looks
PRECISION = 1e-9  # miles, to which a radius is narrowed down: some 35 calls, of which an account has a hundred
VOLATILE = (
    "next_page_token",
    *("profile.create_time", "profile.update_time"),
    *("match.id", "match.create_time", "match.expire_time", "match.respond_time"),
)


@asynccontextmanager
async def world(admin_dsn: str, folder: Path, **settings: Any) -> AsyncIterator[Stubs]:
    """Serve a database and a Redis in which nobody has been yet, to people with tokens, at the shipped limits."""
    folder.mkdir(exist_ok=True)
    with own_valkey(folder) as valkey:
        async with (
            fresh_database(admin_dsn) as dsn,
            serving_application(dsn, valkey.url, folder, **SETTINGS | settings) as client,
        ):
            yield client


@dataclass
class Person:
    """An account, which calls with its own token."""

    client: Stubs
    user_id: str
    place: Place
    metadata: tuple[tuple[str, str], ...] = field(init=False)

    def __post_init__(self) -> None:
        self.metadata = bearer(user_token(self.user_id))

    async def call(self, method: str, request: Message) -> Any:
        """Call a method of matching as this person. Raises grpc.aio.AioRpcError."""
        return await getattr(self.client.matching, method)(request, timeout=TIMEOUT, metadata=self.metadata)

    async def settle(self, place: Place | None = None, **fields: Any) -> Any:
        """Store the profile, at another place if one is given."""
        self.place = place or self.place
        location = {"latitude": self.place[0], "longitude": self.place[1]}
        sent = profile(**{"user_id": self.user_id, "location": location, "max_travel_miles": 500} | fields)
        return await self.call("UpsertProfile", matching_service_pb2.UpsertProfileRequest(profile=sent))

    async def look(self, **fields: Any) -> matching_service_pb2.ListCandidatesResponse:
        """List candidates."""
        request = matching_service_pb2.ListCandidatesRequest(user_id=self.user_id, **fields)
        page: matching_service_pb2.ListCandidatesResponse = await self.call("ListCandidates", request)
        return page

    async def ask(self, **fields: Any) -> matching_service_pb2.RequestMatchResponse:
        """Request a match."""
        request = matching_service_pb2.RequestMatchRequest(user_id=self.user_id, **fields)
        answer: matching_service_pb2.RequestMatchResponse = await self.call("RequestMatch", request)
        return answer


def new_id(source: random.Random) -> str:
    """Return a user_id that is the same in every run."""
    return str(uuid.UUID(int=source.getrandbits(128), version=4))


def moved(place: Place, north: float, east: float) -> Place:
    """Return the place so many miles away."""
    latitude = place[0] + north / MILES_PER_DEGREE
    return latitude, place[1] + east / MILES_PER_DEGREE / math.cos(math.radians(latitude))


def answer_bytes(answer: Message | Failure) -> bytes:
    """Return all that an answer says, but for ids, times and tokens that differ in any two runs."""
    if isinstance(answer, Failure):
        metadata = {name: text for name, text in answer.metadata.items() if name != "match_id"}
        rest = [each for each in answer.details if not each.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
        return repr((answer.code, answer.message, answer.reason, metadata, rest)).encode()
    seen = type(answer)()
    seen.CopyFrom(answer)
    for path in VOLATILE:
        *parents, name = path.split(".")
        if all(parent in seen.DESCRIPTOR.fields_by_name for parent in parents):
            at = getattr(seen, parents[0]) if parents else seen
            if name in at.DESCRIPTOR.fields_by_name:
                at.ClearField(name)
    more = bool(getattr(answer, "next_page_token", ""))
    return seen.SerializeToString(deterministic=True) + bytes([more])


class Stalker:
    """Tries everything on one person, knowing their id and, within miles, where to begin."""

    def __init__(self, client: Stubs, target: str, near: Place, source: random.Random) -> None:
        self._client = client
        self._target = target
        self._near = near
        self._source = source
        self.calls = 0
        self.heard: list[bytes] = []
        self.measured: list[tuple[Place, float]] = []

    async def attack(self, calls: int) -> Place:
        """Make about so many calls, and return the place that fits best to what was measured."""
        bearings = iter(range(10_000))
        for _ in range(3):
            await self.narrow_down(await self.account(next(bearings)))
        await self.invite(await self.account(next(bearings)))
        while self.calls < calls:
            account = await self.account(next(bearings))
            await self.read_distance(account)
            await self.turn_pages(account)
        await self.meet(await self.account(next(bearings)))
        return trilaterated(self.measured, self._near)

    async def account(self, number: int) -> Person:
        """Open another account, around where the search began; each of the first is in another direction."""
        direction = 2.4 * number
        reach = self._source.uniform(4, 12)
        place = moved(self._near, reach * math.sin(direction), reach * math.cos(direction))
        person = Person(self._client, new_id(self._source), place)
        await self.hear(person.settle())
        return person

    async def hear(self, call: Any) -> Any:
        """Await a call, keep what it answers, and return it: the response, or how it failed."""
        self.calls += 1
        answer: Any
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            answer = Failure(error)
        self.heard.append(answer_bytes(answer))
        return answer

    async def narrow_down(self, account: Person) -> None:
        """Find the radius at which the person just appears: the distance to the attacker's own stand-in."""
        inside, outside = REACH, 0.0
        while inside - outside > PRECISION:
            radius = (inside + outside) / 2
            page = await self.hear(account.look(radius_miles=radius, page_size=100))
            if any(each.user_id == self._target for each in page.candidates):
                inside = radius
            else:
                outside = radius
        self.measured.append((cell_of(account.place).stand_in(account.user_id), inside))

    async def read_distance(self, account: Person) -> None:
        """Read the distance that is shown, and the order beside the attacker's other accounts."""
        await self.hear(account.look(radius_miles=REACH, page_size=100))

    async def turn_pages(self, account: Person) -> None:
        """Walk through the list person by person, and spoil the tokens on the way."""
        token = ""
        for _ in range(8):
            page = await self.hear(account.look(radius_miles=REACH, page_size=1, page_token=token))
            token = page.next_page_token
            if not token:
                break
            await self.hear(account.look(radius_miles=REACH + 1, page_size=1, page_token=token))
            await self.hear(account.look(radius_miles=REACH, page_size=1, page_token=token[:-4] + "AAAA"))

    async def invite(self, account: Person) -> None:
        """Ask for a match where the answer should be no: by name too near, by name nobody, and anybody too near."""
        await self.hear(account.ask(candidate_user_id=self._target, radius_miles=0.5))
        await self.hear(account.ask(candidate_user_id=self._target, radius_miles=2))
        await self.hear(account.ask(candidate_user_id=new_id(self._source), radius_miles=REACH))
        await self.hear(account.ask(radius_miles=0.001))

    async def meet(self, account: Person) -> None:
        """Ask for the person by name, and be told how far away they are."""
        await self.hear(account.ask(candidate_user_id=self._target, radius_miles=REACH))


def trilaterated(measured: Sequence[tuple[Place, float]], start: Place) -> Place:
    """Return the place whose distances fit best to those measured: Gauss-Newton on least squares."""
    north = east = 0.0
    for _ in range(60):
        matrix, vector = [[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]
        for place, distance in measured:
            guess = moved(start, north, east)
            error = miles(place, guess) - distance
            slopes = [
                (miles(place, moved(start, north + 1e-5, east)) - distance - error) / 1e-5,
                (miles(place, moved(start, north, east + 1e-5)) - distance - error) / 1e-5,
            ]
            for row in range(2):
                vector[row] += slopes[row] * error
                for column in range(2):
                    matrix[row][column] += slopes[row] * slopes[column]
        determinant = matrix[0][0] * matrix[1][1] - matrix[0][1] * matrix[1][0]
        step_north = (vector[0] * matrix[1][1] - vector[1] * matrix[0][1]) / determinant
        step_east = (vector[1] * matrix[0][0] - vector[0] * matrix[1][0]) / determinant
        north, east = north - step_north, east - step_east
        if math.hypot(step_north, step_east) < 1e-9:
            break
    return moved(start, north, east)


PRIVACY = {
    False: matching_pb2.LOCATION_PRIVACY_APPROXIMATE,
    True: matching_pb2.LOCATION_PRIVACY_CITY_ONLY,
}
