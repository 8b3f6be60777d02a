"""Redis or Valkey: what version, what it throws away when it is full, and what survives a restart."""

from typing import Any

from redis import exceptions

from wingmanmatch_server.doctor.given import Given
from wingmanmatch_server.doctor.report import Finding, Verdict
from wingmanmatch_server.drivers.redis import open_redis

OLDEST = (6, 2)


async def check(given: Given) -> list[Finding]:
    """Look at version, eviction and persistence."""
    if given.redis_url is None:
        return [Finding("Redis", Verdict.UNSET, "no REDIS_URL: the server starts its own Valkey")]
    try:
        async with open_redis(given.redis_url.get_secret_value()) as server:
            information: dict[str, Any] = await server.client.info()
            return [_version(information), _eviction(information), await _persistence(server.client, information)]
    except exceptions.ConnectionError as error:
        return [_judge_connection(error)]
    except exceptions.NoPermissionError:
        advice = "Allow this user the commands INFO and EVALSHA."
        return [Finding("Redis", Verdict.FAILED, "this user may not ask how the server is", advice)]
    except (exceptions.RedisError, ValueError) as error:
        said = f"cannot be used ({type(error).__name__})"
        advice = "REDIS_URL must read as docs/configuration.md has it; rediss:// is for TLS."
        return [Finding("Redis", Verdict.FAILED, said, advice)]


def _judge_connection(error: exceptions.ConnectionError) -> Finding:
    # A refused password shows itself only as the cause of a lost connection.
    if isinstance(error.__cause__ or error, exceptions.AuthenticationError):
        return Finding("Redis", Verdict.FAILED, "refuses the password", "Put the password in REDIS_URL right.")
    advice = "See whether address and port are right; for TLS it is rediss://."
    return Finding("Redis", Verdict.FAILED, f"cannot be reached ({type(error).__name__})", advice)


def _version(information: dict[str, Any]) -> Finding:
    name = "Valkey" if "valkey_version" in information else "Redis"
    version = str(information.get("valkey_version") or information["redis_version"])
    compatible = tuple(int(part) for part in str(information["redis_version"]).split(".")[:2])
    said = f"{name} {version}, {information.get('redis_mode', 'standalone')}"
    if compatible < OLDEST:
        return Finding("Redis", Verdict.FAILED, said, "Upgrade it to Redis 6.2 or any Valkey.")
    return Finding("Redis", Verdict.GOOD, said)


def _eviction(information: dict[str, Any]) -> Finding:
    policy = str(information.get("maxmemory_policy", "unknown"))
    if policy == "noeviction" or policy.startswith("volatile-"):
        return Finding("  eviction", Verdict.GOOD, policy)
    advice = "Set maxmemory-policy to noeviction: otherwise sessions and rate limits vanish when memory is full."
    return Finding("  eviction", Verdict.FAILED, policy, advice)


async def _persistence(client: Any, information: dict[str, Any]) -> Finding:
    if information.get("aof_enabled") == 1:
        return Finding("  persistence", Verdict.GOOD, "append-only file")
    said = "snapshots only" if await _takes_snapshots(client) else "no append-only file"
    advice = "Set appendonly to yes, or accept that a crash signs people out."
    return Finding("  persistence", Verdict.NOTE, said, advice)


async def _takes_snapshots(client: Any) -> bool:
    try:
        return bool((await client.config_get("save")).get(b"save"))
    except exceptions.RedisError:  # hosted servers keep CONFIG to themselves
        return False
