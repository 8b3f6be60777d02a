"""The protos that callers were built from: `protos/baseline.binpb`, a buf image that `protos/lint.py` compares with.

    python protos/baseline.py --reason "Match has invitee in place of partner."

makes it the image of the protos as they are, and records that with the reason in CHANGELOG.md. From release 0.1.0 on
only a release renews the image.
"""

import argparse
import hashlib
import re
import sys
import tempfile
from pathlib import Path

from changelog import CHANGELOG, Version, add_entry, latest_release, sections
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError
from workspace import PROTOS, buf, lay_out, our_paths

IMAGE = PROTOS / "baseline.binpb"
NAME = f"protos/{IMAGE.name}"
RESTORE = f"restore it with `git checkout HEAD -- {NAME}`"
STABLE_SINCE = Version(0, 1, 0)
GROUP = "Protos baseline"
RECORD = re.compile(r"\(image\s+`([0-9a-f]{16})`\)")


def stable(changelog: str) -> bool:
    """Whether a release has promised compatibility, so that no breaking change may be recorded any more."""
    released = latest_release(changelog)
    return released is not None and released >= STABLE_SINCE


def build() -> bytes:
    """Return the image of the protos as they are and of what they import, without comments.

    The same protos give the same bytes. Raise SystemExit if they do not compile; buf has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "protos"
        lay_out(workspace)
        image = workspace / IMAGE.name
        if not buf(workspace, "build", "--exclude-source-info", *our_paths(), "--output", str(image)):
            raise SystemExit("The protos do not compile, so there is no image of them.")
        return image.read_bytes()


def digest(image: bytes) -> str:
    """Return the name of an image in the changelog: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(image).hexdigest()[:16]


def recorded(changelog: str) -> str | None:
    """Return the digest that the changelog records last; None if there is none.

    Once the protos are stable, records in Unreleased do not count: a release makes them.
    """
    considered = sections(changelog)[1 if stable(changelog) else 0 :]
    records = (RECORD.findall(section.text) for section in considered)
    return next((found[-1] for found in records if found), None)


def record(changelog: str, reason: str, image: bytes) -> str:
    """Return the changelog with an entry that says why `image` is the baseline."""
    return add_entry(changelog, GROUP, f"{' '.join(reason.split())} (image `{digest(image)}`)")


def check(changelog: str) -> None:
    """Raise SystemExit with the remedy unless the image is there, intact, and the one that the changelog records."""
    if not IMAGE.is_file():
        raise SystemExit(f"{NAME} is missing: {RESTORE}.")
    image = IMAGE.read_bytes()
    if not _is_image(image):
        raise SystemExit(f"{NAME} is not an image of protos: {RESTORE}.")
    expected = recorded(changelog)
    if digest(image) != expected:
        remedy = RESTORE if stable(changelog) else f"{RESTORE}, or renew it with `make baseline REASON=…`"
        found = f"{NAME} is image {digest(image)} where CHANGELOG.md records {expected or 'none'}"
        raise SystemExit(f"{found}: {remedy}.")


def _is_image(content: bytes) -> bool:
    try:
        return len(FileDescriptorSet.FromString(content).file) > 0
    except DecodeError:
        return False


def renew(reason: str) -> str:
    """Make the image that of the protos as they are, and record it; return what happened, as a sentence.

    Raise SystemExit, with nothing changed, if the protos are stable, do not compile, or `reason` is blank.
    """
    changelog = CHANGELOG.read_text("utf-8")
    if stable(changelog):
        released = latest_release(changelog)
        raise SystemExit(f"{NAME} is renewed by releases alone, because {released} has been released.")
    if not reason.strip():
        raise SystemExit('A renewed image needs its reason for the changelog: `make baseline REASON="…"`.')
    image = build()
    if IMAGE.is_file() and IMAGE.read_bytes() == image and digest(image) == recorded(changelog):
        return f"{NAME} is already the image of the protos as they are."
    IMAGE.write_bytes(image)
    CHANGELOG.write_text(record(changelog, reason, image), "utf-8")
    return f"{NAME} is renewed and recorded in CHANGELOG.md: commit both with the protos."


def main(arguments: list[str]) -> int:
    """Parse the command line, renew the image, and return the exit code."""
    parser = argparse.ArgumentParser(description="Make protos/baseline.binpb the image of the protos as they are.")
    parser.add_argument("--reason", required=True, help="the changelog's entry: what broke, and what replaces it")
    print(renew(parser.parse_args(arguments).reason))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
