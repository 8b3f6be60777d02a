"""Redis or Valkey: its version, what it drops when it is full, and what survives a restart and a failover."""

from typing import Any

from redis import exceptions

from wingmanmatch_server.doctor.given import Given
from wingmanmatch_server.doctor.report import Finding, Verdict
from wingmanmatch_server.drivers.redis import open_redis
from wingmanmatch_server.drivers.redis_connections import is_replica

OLDEST = (6, 2)


async def check(given: Given) -> list[Finding]:
    """Look at version, eviction, persistence and replication."""
    if given.redis_url is None:
        return [Finding("Redis", Verdict.UNSET, "no REDIS_URL: the server starts its own Valkey")]
    try:
        url, password_file = given.redis_url.get_secret_value(), given.redis_password_file
        async with open_redis(url, password_file=password_file) as server:
            information: dict[str, Any] = await server.client.info()
            return [
                _version(information),
                _eviction(information),
                await _persistence(server.client, information),
                *await _replication(server.client, information),
            ]
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
    if is_replica(error):
        advice = "REDIS_URL must lead to the primary: after a failover the address has to move, or name sentinels."
        return Finding("Redis", Verdict.FAILED, "is a replica", advice)
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


async def _replication(client: Any, information: dict[str, Any]) -> list[Finding]:
    """Return how it stands with acknowledged writes in a failover; nothing where there is no replica."""
    replicas = int(information.get("connected_slaves") or 0)
    if replicas == 0:
        return []
    needed = await _replicas_needed(client)
    if needed is None:
        said, advice = (
            f"{replicas} connected",
            "See that min-replicas-to-write is 1 or more, if your host lets you.",
        )
        return [Finding("  replicas", Verdict.NOTE, said, advice)]
    said = f"{replicas} connected, min-replicas-to-write {needed}"
    if needed > 0:
        return [Finding("  replicas", Verdict.GOOD, said)]
    advice = "Set min-replicas-to-write to 1, or accept that a failover loses writes that were acknowledged."
    return [Finding("  replicas", Verdict.NOTE, said, advice)]


async def _replicas_needed(client: Any) -> int | None:
    try:
        return int((await client.config_get("min-replicas-to-write"))["min-replicas-to-write"])
    except exceptions.RedisError:  # hosted servers keep CONFIG to themselves
        return None


async def _takes_snapshots(client: Any) -> bool:
    try:
        return bool((await client.config_get("save"))["save"])
    except exceptions.RedisError:  # hosted servers keep CONFIG to themselves
        return False
