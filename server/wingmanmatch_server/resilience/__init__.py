"""How the server lives with dependencies that fail."""
