"""Page tokens as a server of the tests makes them."""

import time

from wingmanmatch_server.paging import PageTokens

SIGNING_SECRETS = ["a signing secret of the tests' own"]
PAGES = PageTokens(SIGNING_SECRETS, time.time)
