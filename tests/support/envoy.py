"""The real Envoy, with a sample configuration of ours whose ports alone are replaced."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[2] / "deploy" / "envoy"
ENVOY = Path(sys.executable).parent / "envoy"

needs_envoy = pytest.mark.skipif(not ENVOY.exists(), reason="no Envoy for this platform")


@asynccontextmanager
async def running_envoy(sample: str, ports: Mapping[int, int], listens: int, folder: Path) -> AsyncIterator[None]:
    """Run Envoy with a sample, each port of `ports` replaced by its value; yield once it answers at `listens`."""
    text = (SAMPLES / sample).read_text()
    for shipped, actual in ports.items():
        assert text.count(f"port_value: {shipped}") == 1
        text = text.replace(f"port_value: {shipped}", f"port_value: {actual}")
    file = folder / sample
    file.write_text(text)
    options = ("-c", file, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error")
    process = await asyncio.create_subprocess_exec(
        ENVOY, *options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        await _listens(listens, process)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def free_ports(count: int) -> list[int]:
    """Return as many ports that nothing listens on."""
    with ExitStack() as stack:
        reserved = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in reserved]


async def _listens(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(20):
        while True:
            assert process.returncode is None
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
