"""What a server does with a record in Redis whose format version it does not know.

Each kind of record has its version where it is written; `docs/redis-records.md` lists them all.
"""

from wingmanmatch_server import errors

RETRY_AFTER = 0.1  # seconds; short, since nothing has to recover: the next attempt may reach a replica that knows it


def unknown_version(record: str) -> errors.Unavailable:
    """Return the error of a call that met a `record` of an unknown version; the call has changed nothing.

    It is no failure of Redis: raise it outside of Redis' circuit breaker and of this server's own retries.
    """
    message = f"the {record} is stored in a format that this version of the server does not know"
    return errors.Unavailable("RECORD_VERSION_UNKNOWN", message, {"record": record}, retry_after=RETRY_AFTER)
