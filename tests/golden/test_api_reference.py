"""docs/api is what the protos say, whole, and its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor

from support.protos import PROTOS, REPOSITORY, methods, policy
from wingmanmatch.error.v1 import error_reason_pb2

API = REPOSITORY / "docs" / "api"
PAGES = sorted(API.glob("*.md"))
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(page: Path) -> list[str]:
    """Return the anchors of a page's headings, as repository browsers make them."""
    return [
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(page.read_text("utf-8"))
    ]


def test_pages_are_fresh() -> None:
    """`docs/api` is byte for byte what the generator makes of the protos, without a network."""
    command = (sys.executable, str(PROTOS / "generate_api.py"), "--check")
    completed = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert completed.returncode == 0, completed.stdout + completed.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_one_heading(page: Path) -> None:
    """Every link of a page leads to a file, and to the only heading of that name in it."""
    for link in LINK.findall(page.read_text("utf-8")):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), link
        assert not anchor or anchors(target).count(anchor) == 1, link


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.full_name)
def test_each_rpc_is_in_the_index_and_on_its_page_with_its_policy(method: MethodDescriptor) -> None:
    """The index leads to each RPC, whose section names its messages, its rate limit and its deadline."""
    area = method.containing_service.file.name.split("/")[1]
    assert f"[{method.name}]({area}.md#{method.name.lower()})" in (API / "README.md").read_text("utf-8")
    section = (API / f"{area}.md").read_text("utf-8").split(f"\n### {method.name}\n")[1].split("\n### ")[0]
    assert f"Takes {'stream of ' * method.client_streaming}[{method.input_type.name}](" in section
    assert f"answers {'stream of ' * method.server_streaming}[{method.output_type.name}](" in section
    said, deadline = policy(method), policy(method).default_deadline.ToTimedelta().total_seconds()
    assert f"| rate limit | {f'`{said.rate_limit}` of' if said.rate_limit else 'none of its own'}" in section
    assert f"| {f'{deadline:g} s' if deadline else 'none: it may stay open'} |" in section


def test_every_reason_is_explained() -> None:
    """The page of errors has each reason with what it means."""
    page = (API / "error.md").read_text("utf-8")
    for name, number in error_reason_pb2.ErrorReason.items():
        assert re.search(rf"^\| `{name}` \| {number} \| \S.+ \|$", page, re.MULTILINE), name
