"""What an area adds to the server."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from wingmanmatch_server.matching.erasure import Eraser
from wingmanmatch_server.matching.export import Source
from wingmanmatch_server.system.dependencies import Dependency


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """What serves its services, by their full names, and what the rest of the server needs of it.

    `erasers` and `sources` are for what it stores about people outside the database: how it is erased and exported.
    `dependencies` are what it asks whether they are there, `drains` end its streams before the server stops, and
    `routes` are its part of HTTP_LISTEN.
    """

    services: Mapping[str, object]
    erasers: Mapping[str, Eraser] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    dependencies: Sequence[Dependency] = ()
    drains: Sequence[Callable[[], None]] = ()
    routes: Sequence[web.RouteDef] = ()
