"""The client without asyncio: `aio/`, derived by protos/generate_client.py."""
