"""Several processes that serve, each on a port of its own, under one that serves nothing but HTTP.

supervisor.py  starts the workers, restarts those that end, and stops all
process.py     one worker as the supervisor sees it
assignment.py  what the two tell each other
backoff.py     how long to wait before a restart
front.py       the public HTTP address: requests handed on to a worker
admin.py       the administrator's address: all workers' metrics in one, and which of them are ready
metrics.py     makes one of several workers' metrics

A port shared by processes cannot be drained without failures, and a process cannot be forked once gRPC runs in it: so
each worker is a program started anew, and a load balancer knows every port.
"""
