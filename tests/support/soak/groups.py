"""All faults, in the order in which they are caused, by the site that they need."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.soak import database_faults, isolation_faults, mail_faults, redis_faults, strangers
from support.soak.fault import Fault
from support.soak.main_site import main_site
from support.soak.other_sites import (
    KILLED,
    MOVED,
    PROMOTED,
    SWITCHED,
    UNREAD,
    cluster_site,
    embedded_site,
    hosts_site,
    sentinel_site,
    unread_site,
)

Open = Callable[[Path], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True)
class Group:
    """Faults that are brought to one site, one after the other."""

    open: Open
    faults: Sequence[Fault]


GROUPS = (
    Group(
        main_site,
        (
            *database_faults.FAULTS,
            *isolation_faults.FAULTS,
            *redis_faults.FAULTS,
            *strangers.FAULTS,
            *mail_faults.FAULTS,
        ),
    ),
    Group(hosts_site, (PROMOTED,)),
    Group(sentinel_site, (SWITCHED,)),
    Group(cluster_site, (MOVED,)),
    Group(unread_site, (UNREAD,)),
    Group(embedded_site, KILLED),
)
