"""The grpcurl cookbook: every block run as it stands, every answer compared, every RPC in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trustme

from support import webhooks
from support.claude_server import serving_claude
from support.credentials import ENTRY, KEY
from support.pages import ADDRESS, Block, Outcome, blocks, missing, run
from support.protos import REPOSITORY, methods
from support.served import served

PAGE = (REPOSITORY / "docs" / "grpcurl.md").read_text("utf-8")
BLOCKS = blocks(PAGE)
TLS_ADDRESS = "localhost:50443"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader's shell is: at the protos, and at the certificate of the authority."""
    folder = tmp_path_factory.mktemp("cookbook")
    (folder / "protos").symlink_to(REPOSITORY / "protos")
    return folder


def certificate(folder: Path, data: Path) -> dict[str, str]:
    """Write the authority's certificate and the server's files; return the settings that name these."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(data / "key.pem")
    issued.cert_chain_pems[0].write_to_path(data / "cert.pem")
    return {"TLS_CERT_FILE": str(data / "cert.pem"), "TLS_KEY_FILE": str(data / "key.pem")}


@pytest.fixture(scope="module")
async def addresses(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    """Where two servers are: one that coaches and takes in the provider's events, one with TLS that asks for a key."""
    data, tls_data = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("tls-data")
    async with serving_claude() as claude, AsyncExitStack() as servers:
        settings = {
            "ANTHROPIC_API_KEY": "sk-ant-test",
            "ANTHROPIC_BASE_URL": claude.url,
            "RESEND_WEBHOOK_SECRET": webhooks.SECRET,
        }
        tls_settings = {"API_KEYS": ENTRY.line()} | certificate(folder, tls_data)
        plain, tls = await asyncio.gather(
            asyncio.to_thread(servers.enter_context, served(data, **settings)),
            asyncio.to_thread(servers.enter_context, served(tls_data, **tls_settings)),
        )
        yield {ADDRESS: plain.grpc, TLS_ADDRESS: f"localhost:{tls.grpc.rpartition(':')[2]}"}


@pytest.fixture(scope="module")
async def outcomes(folder: Path, addresses: dict[str, str]) -> dict[int, Outcome]:
    """What became of each block, all of them pasted into one shell."""
    # In a thread: the Claude that the server asks runs in this loop.
    found = await asyncio.to_thread(run, BLOCKS, folder, addresses, WINGMANMATCH_API_KEY=KEY)
    return dict(zip((block.number for block in BLOCKS), found, strict=True))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_block_does_what_the_page_says(block: Block, outcomes: dict[int, Outcome]) -> None:
    """A block succeeds, or is refused where the page shows an error, and answers what the page shows."""
    outcome = outcomes[block.number]
    assert (outcome.status != 0) == block.fails, outcome.output
    assert missing(block.answer, outcome.output) == [], outcome.output


def test_every_rpc_is_in_the_page() -> None:
    """No method is without an example that runs."""
    commands = "".join(block.commands for block in BLOCKS)
    names = [f"{method.containing_service.full_name}/{method.name}" for method in methods()]
    assert [name for name in names if f" {name}" not in commands] == []
