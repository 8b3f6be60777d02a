"""Pages of the documentation whose commands are run as they stand, and what they say the answers are."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.served import BIN

ADDRESS = "127.0.0.1:50051"
ELLIPSIS = "…"
BLOCK = re.compile(
    r"^```sh\n(?P<commands>.+?)^```\n(?:\n```(?:json|text)\n(?P<answer>.+?)^```\n)?", re.DOTALL | re.MULTILINE
)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """Commands as a reader pastes them, and the answer that the page shows below them."""

    section: str
    number: int
    commands: str
    answer: str

    @property
    def name(self) -> str:
        """What a test calls it."""
        return f"{self.number:02} {self.section}"

    @property
    def fails(self) -> bool:
        """Whether the page says that the last command is refused."""
        return self.answer.lstrip().startswith("ERROR:")


@dataclass(frozen=True)
class Outcome:
    """What became of a block."""

    status: int
    output: str


def blocks(page: str, *, mark: str = "") -> list[Block]:
    """Return the page's shell blocks in their order; with a `mark` only those whose fence follows it."""
    return [block for block in _blocks(page) if not mark or f"{mark}\n```sh\n{block.commands}" in page]


def _blocks(page: str) -> Iterator[Block]:
    for number, found in enumerate(BLOCK.finditer(page), start=1):
        section = HEADING.findall(page, 0, found.start())[-1]
        yield Block(section, number, found["commands"], found["answer"] or "")


def run(blocks: Sequence[Block], folder: Path, addresses: Mapping[str, str], **environment: str) -> list[Outcome]:
    """Paste the blocks into one shell, in `folder`, and return what became of each.

    What stands in the page for an address is replaced by where a server really is. A block's status is that of its
    last command that failed, or 0.
    """
    script = ["trap 'failed=$?' ERR", "set -o pipefail -o errtrace"]
    for block in blocks:
        commands = block.commands
        for written, real in addresses.items():
            commands = commands.replace(written, real)
        script += ["failed=0", f"exec >{block.number}.out 2>&1", commands, f'echo "$failed" >{block.number}.status']
    path = f"{BIN}:{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=folder, env=os.environ | {"PATH": path} | environment, timeout=100
    )
    return [_outcome(folder, block) for block in blocks]


def _outcome(folder: Path, block: Block) -> Outcome:
    status, output = folder / f"{block.number}.status", folder / f"{block.number}.out"
    return Outcome(
        int(status.read_text()) if status.exists() else -1, output.read_text("utf-8") if output.exists() else ""
    )


def missing(answer: str, output: str) -> list[str]:
    """Return the lines of an answer that an output does not have, in their order; an ellipsis stands for anything."""
    lines = iter(line.strip().rstrip(",") for line in output.splitlines())
    wanted = [line.strip().rstrip(",") for line in answer.splitlines()]
    patterns = [".*".join(map(re.escape, line.split(ELLIPSIS))) for line in wanted if line not in {"", ELLIPSIS}]
    return [pattern for pattern in patterns if not any(re.fullmatch(pattern, line) for line in lines)]
