"""Joins user sessions."""

import secrets
from datetime import timedelta
from functools import partial

from wingmanmatch_server.bootstrap.area import Area
from wingmanmatch_server.bootstrap.core import Core
from wingmanmatch_server.session.export import export_sessions
from wingmanmatch_server.session.service import SessionService
from wingmanmatch_server.session.store import SessionStore


def make_sessions(core: Core) -> Area:
    """Make what serves user sessions."""
    store = SessionStore(
        core.redis,
        core.breakers["redis"],
        core.retries["redis"],
        max_age=timedelta(days=core.settings.session_max_age_days),
        random_bytes=secrets.token_bytes,
    )
    service = SessionService(store, core.pages, timeout=timedelta(hours=core.settings.session_timeout_hours))
    return Area(
        services={"wingmanmatch.session.v1.SessionService": service},
        erasers={"sessions": store.erase},
        sources={"SESSION": partial(export_sessions, store)},
    )
