"""Joins the database with what guards its callers from it, and it from them."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from prometheus_client import CollectorRegistry

from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.database_shares import Share, ShareLimits, Shares
from wingmanmatch_server.drivers.guarded_database import GuardedDatabase
from wingmanmatch_server.drivers.postgres import open_postgres
from wingmanmatch_server.drivers.supabase import open_supabase
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.resilience.prober import Probe
from wingmanmatch_server.resilience.retry import Retry
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.telemetry.database_metrics import DatabaseMetrics

PROBES = 2  # connections that pings and probes may have, so that they wait for no call


def open_database(settings: Settings, database_url: str | None) -> AbstractAsyncContextManager[Database]:
    """Open `database_url`, or without one Supabase's REST interface. Raises errors.Unavailable."""
    if database_url is not None:
        return open_postgres(
            database_url,
            max_connections=settings.database_pool_size,
            password_file=settings.database_password_file,
        )
    url, service_key, anonymous_key = settings.supabase_url, settings.supabase_service_key, settings.supabase_anon_key
    assert url and service_key and anonymous_key  # noqa: PT018 - settings ask for all three or none
    return open_supabase(
        url,
        service_key.get_secret_value(),
        anonymous_key.get_secret_value(),
        max_connections=settings.database_pool_size + PROBES,
    )


def guard(
    database: Database,
    settings: Settings,
    breakers: Mapping[str, Breaker],
    retry: Retry,
    registry: CollectorRegistry,
) -> GuardedDatabase:
    """Return the database behind its breakers and bulkheads, whose use the registry shows."""
    metrics = DatabaseMetrics(registry)
    limits = ShareLimits.of(
        settings.database_pool_size,
        function_share=settings.database_function_share,
        background_share=settings.database_background_share,
        user=settings.database_calls_per_user,
    )
    shares = Shares(limits, on_refusal=metrics.refused)
    for share in Share:
        metrics.watch(share, in_use=shares.in_use, waiting=shares.waiting)
    return GuardedDatabase(database, breakers["database"], breakers["database_writes"], retry, shares)


def database_probes(database: Database) -> dict[str, Probe]:
    """Return what the probers of the two breakers ask: whether the database answers, and whether it takes changes."""

    async def answers() -> None:
        await database.ping()

    async def accepts_changes() -> None:
        await database.probe()
        # Those of meanwhile may lead to a server that goes on refusing changes.
        await database.replace_connections()

    return {"database": answers, "database_writes": accepts_changes}
