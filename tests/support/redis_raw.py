"""What a database of Redis holds, byte by byte."""

from typing import NamedTuple

from wingmanmatch_server.drivers.redis import RedisServer

SAME_MOMENT = 3  # milliseconds by which two looks at one expiry may differ: Redis tells it relative to its clock

_LOOK = """
local clock, left = redis.call('TIME'), redis.call('PTTL', KEYS[1])
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
return {redis.call('DUMP', KEYS[1]), left < 0 and left or now + left}
"""


class RawValue(NamedTuple):
    """A key's value in Redis's own form, and when it ends in milliseconds since 1970; -1 if never."""

    dump: bytes
    end: int

    def is_still(self, later: "RawValue") -> bool:
        """Tell whether nothing of it has changed."""
        return self.dump == later.dump and abs(self.end - later.end) <= SAME_MOMENT


async def raw_value(redis: RedisServer, key: str | bytes) -> RawValue:
    """Return what a key holds."""
    return RawValue(*await redis.client.eval(_LOOK, 1, key))


async def raw_contents(redis: RedisServer, pattern: str = "*") -> dict[bytes, RawValue]:
    """Return what the keys of a pattern hold."""
    return {key: await raw_value(redis, key) for key in await redis.client.keys(pattern)}


async def changed_keys(redis: RedisServer, before: dict[bytes, RawValue], pattern: str = "*") -> set[bytes]:
    """Return the keys that came, went or are not as they were."""
    after = await raw_contents(redis, pattern)
    same = {key for key in before.keys() & after.keys() if before[key].is_still(after[key])}
    return (before.keys() | after.keys()) - same
