"""What whoever is on the network of a production server reads, or learns of its methods."""

from pathlib import Path

import grpc
from grpc_reflection.v1alpha import reflection_pb2
from pydantic import SecretStr

from support.credentials import KEY, SETTINGS, bearer
from support.served import refusal
from support.server import serving_application, supabase_settings
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

REQUIRED = {
    "ENVIRONMENT": "production",
    "ANTHROPIC_API_KEY": "sk-ant-x",
    "SUPABASE_URL": "https://127.0.0.1:1",
    "SUPABASE_SERVICE_KEY": "service",
    "SUPABASE_ANON_KEY": "anon",
    "SIGNING_SECRET": "x" * 32,
}
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def test_calls_are_not_read_on_the_way(tmp_path: Path) -> None:
    """A production server does not start where keys and tokens would pass unencrypted."""
    said = refusal("serve", **REQUIRED, DATA_DIR=str(tmp_path), GRPC_LISTEN="0.0.0.0:0")
    assert "GRPC_LISTEN must be a loopback address in production without TLS" in said
    assert "INSECURE_BEHIND_PROXY=true" in said


def test_supabase_is_not_reached_unencrypted(tmp_path: Path) -> None:
    """A production server does not send the project's secret key, nor fetch signing keys, by plain HTTP."""
    said = refusal("serve", **REQUIRED | {"SUPABASE_URL": "http://10.0.0.1"}, DATA_DIR=str(tmp_path))
    assert "SUPABASE_URL must begin with https:// in production" in said


async def test_methods_are_not_listed(fresh_database_dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """Reflection is off in production, even for those who have a key."""
    settings = SETTINGS | supabase_settings("https://127.0.0.1:1")
    required = {"anthropic_api_key": SecretStr("sk-ant-x"), "signing_secret": SecretStr("x" * 32)}
    async with (
        serving_application(
            fresh_database_dsn, engines.redis_url, tmp_path, environment="production", **required, **settings
        ) as client,
        grpc.aio.insecure_channel(client.target) as channel,
    ):
        request = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
        call = channel.stream_stream(REFLECT)(iter([request]), timeout=10, metadata=bearer(KEY))
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
