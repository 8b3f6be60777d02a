"""Typed Python client of WingmanMatch."""
