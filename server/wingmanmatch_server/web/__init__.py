"""HTTP beside gRPC: a public address for webhooks and unsubscribe pages, an administrator's for metrics and probes.

limits.py      what one connection, and all of a listener's together, may cost
connection.py  holds each connection to them
requests.py    which requests reach a handler
server.py      one listener
listeners.py   the two that the settings name
exposition.py  metrics as text, rendered in a thread
admin.py       /metrics, /livez, /readyz and /healthz
metrics.py     how many connections there are, and how many were cut
"""
