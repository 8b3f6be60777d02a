"""The client by asyncio."""
