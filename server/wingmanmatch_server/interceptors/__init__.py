"""The edge: what happens to every RPC around the method that serves it.

Outermost first, in the one order that `bootstrap/` writes down:

    in_flight counts the calls whose handlers run
    observe   counts, times and logs the call, whatever becomes of it
    errors    turns what was raised into a status; nothing else does
    deadline  ends a call whose client set no deadline
    identity  authenticates and authorizes the call, and ends a stream when its credential does (`open_streams`)
    capacity  refuses calls beyond what the process can hold
    throttle  charges the rate limit
    circuit   refuses a call whose dependency is known to be away
    validate  checks the request's fields, also for their kinds of text (`text_kinds`)

What handlers admit themselves (`admitted_by_handler`) takes its place and pays its charge in `Call.admit` instead.

`door` stands before them where credentials are asked for: it refuses bad ones before the request has arrived.
`requests` reads requests and gives up those that do not come; `peer_streams` bounds streams that need no credential.
`unknown` answers calls of methods that do not exist.

Each is bound to each method once, at start-up, and returns the next function itself where it has nothing to do.
"""
