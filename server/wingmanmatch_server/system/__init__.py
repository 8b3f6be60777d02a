"""The process itself: its health."""
