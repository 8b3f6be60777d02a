"""Rate limits: token buckets that all replicas share in Redis.

policies.py        what each policy allows, with its overrides; the five that are built in
policy_file.py     the TOML file that changes them, checked line by line and read again when it changes
limiter.py         decides: the one thing that the edge, the service and Envoy's protocol all ask
batch.py           what is asked and answered, in columns where it is many
token_bucket.py    the buckets in Redis, by the script token_bucket.lua
clustered.py       the same on a cluster, where a script sees one slot
budget.py          how long a decision waits for Redis
denials.py         remembers denials, so that a denied caller costs Redis nothing
local_buckets.py   what decides while Redis is away
flood_bound.py     bounds calls that are answered before they are charged, in this process
recovery.py        finds out when Redis is back
service.py         wingmanmatch.ratelimit.v1.RateLimitService
envoy.py           envoy.service.ratelimit.v3.RateLimitService
metrics.py         decisions by policy and outcome
"""
