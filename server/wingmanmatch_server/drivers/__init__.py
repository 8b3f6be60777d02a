"""Adapters to what is outside the process; they import nothing of ours but errors and resilience."""
