"""The process itself: its health, and what it depends on.

health.py        the standard health service
dependencies.py  asks everything outside, now and then, whether it is there
availability.py  turns that into the health of each service
service.py       the report for people
reflection.py    what grpcurl reads
"""
