"""Write the parts of the Python client that follow from the protos and from one another.

    python protos/generate_client.py           write them
    python protos/generate_client.py --check   exit with 1 if one is not what it should be

`rpcs.py` and `aio/services.py` follow from the protos; which arguments a method needs is what the rules of its request
say. `sync/` is `aio/` without asyncio, word by word.
"""

import importlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from client_arguments import Comments, module_of
from client_faces import rpcs, service_faces
from generate import PROTOS, run_protoc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

CLIENT = PROTOS.parent / "clients" / "python" / "wingmanmatch_client"

# From asyncio to none, whole words.
WITHOUT_ASYNCIO = {
    r"`sync/` has the same without asyncio, derived from here": "Derived from `aio/`",
    r"from collections\.abc import AsyncGenerator, AsyncIterable, (.*)Iterable": (
        r"from collections.abc import \1Generator, Iterable"
    ),
    r"AsyncIterable\[(\w+)\] \| Iterable": r"Iterable",
    r"AsyncIterable\[([\w.]+)\] \| ": "",
    r"AsyncGenerator\[(.+?), None\]": r"Generator[\1, None, None]",
    r"AsyncGenerator": "Generator",
    r"async (def|for|with)": r"\1",
    r"await ": "",
    r"import asyncio\n": "",
    r"\n +except asyncio\.CancelledError.*\n.*": "",
    r"asyncio\.sleep": "time.sleep",
    r"aclosing": "closing",
    r"__aenter__": "__enter__",
    r"__aexit__": "__exit__",
    r'"stream_stream", requests': '"stream_stream", iter(requests)',
    r"\(grpc\.aio\.UsageError, ValueError\)": "ValueError",
    r"grpc\.aio\.": "grpc.",
    r"wingmanmatch_client\.aio": "wingmanmatch_client.sync",
    r"\bClient\b": "SyncClient",
    r"\bconnect\b": "connect_sync",
}


def services() -> tuple[list[ServiceDescriptor], Comments]:
    """Return our services, as a client names them, and what is said about them."""
    sources = sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.glob("wingmanmatch/*/v1/*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "protos"
        run_protoc(target, ("--descriptor_set_out={0}", "--include_source_info"), sources)
        files = list(FileDescriptorSet.FromString(target.read_bytes()).file)
    for file in files:
        importlib.import_module(module_of(file.name))
    pool = descriptor_pool.Default()
    found = [pool.FindServiceByName(f"{file.package}.{service.name}") for file in files for service in file.service]
    return sorted(found, key=lambda service: service.name), Comments(files)


def without_asyncio(text: str) -> str:
    """Return the synchronous twin of a module."""
    for pattern, replacement in WITHOUT_ASYNCIO.items():
        text = re.sub(pattern, replacement, text)
    return text


def formatted(name: str, text: str) -> str:
    """Return the text as ruff writes it."""
    ruff = Path(sys.executable).with_name("ruff")
    options = ["--stdin-filename", str(CLIENT / name), "-"]
    for command in (["check", "--select", "I,F401", "--fix", "--quiet"], ["format", "--quiet"]):
        run = subprocess.run(  # noqa: S603
            [ruff, *command, *options], input=text, capture_output=True, text=True, check=False
        )
        if run.returncode:
            raise SystemExit(f"{name}: {run.stdout}{run.stderr}")
        text = run.stdout
    return text


def render() -> dict[str, str]:
    """Return the text of each file below the client's folder that is written by this program."""
    found, comments = services()
    texts = {"rpcs.py": rpcs(found), "aio/services.py": service_faces(found, comments)}
    written = {
        name: (CLIENT / name).read_text("utf-8") for name in ("aio/calls.py", "aio/channels.py", "aio/client.py")
    }
    for name, text in (written | texts).items():
        if name.startswith("aio/"):
            texts[name.replace("aio", "sync", 1)] = without_asyncio(text)
    return {name: formatted(name, text) for name, text in texts.items()}


def main(arguments: list[str]) -> int:
    """Write the files, or compare them."""
    texts = render()
    if "--check" in arguments:
        stale = [
            name
            for name, text in texts.items()
            if not (CLIENT / name).exists() or (CLIENT / name).read_text("utf-8") != text
        ]
        print("\n".join(f"stale: {name}" for name in stale) or "the client is fresh")
        return 1 if stale else 0
    for name, text in texts.items():
        (CLIENT / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
