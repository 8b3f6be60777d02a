"""The protos pass `protos/lint.py`, and it notices if they did not."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from support.checkouts import Checkout, before_first_release
from support.protos import PROTOS

MATCHING = "protos/wingmanmatch/matching/v1/matching.proto"
MEETUP_SERVICE = "protos/wingmanmatch/meetup/v1/meetup_service.proto"
BASELINE = "protos/baseline.binpb"
FIELD = "int32 completed_count = 4;"
RENAMED_FIELD = "int32 finished_count = 4;"
ENUM_VALUE = "MATCH_STATE_ENDED = 6;"
REASON = "`Reputation.finished_count` takes the place of `completed_count`."


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A copy of the repository before its first release, whose files a test may change."""
    return before_first_release(tmp_path / "checkout")


def lint(checkout: Checkout) -> tuple[int, str]:
    """Return the exit code of the linter and everything it printed."""
    result = checkout.run("protos/lint.py")
    return result.returncode, result.stdout + result.stderr


def prepare_release(checkout: Checkout, version: str) -> None:
    """Release what the checkout holds, and commit it."""
    result = checkout.run("protos/release.py", version)
    assert result.returncode == 0, result.stdout + result.stderr
    checkout.commit()


def test_the_protos_are_linted_and_formatted() -> None:
    """The linter finds nothing to say about rules, comments, format or compatibility."""
    result = subprocess.run((sys.executable, str(PROTOS / "lint.py")), check=False, capture_output=True, text=True)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("  // The meet-up.\n", "", "should have a non-empty comment"),
        ("message GetMeetupResponse {\n", "message GetMeetupResponse  {\n", "diff"),
        ("string.uuid = true", "string.min_len = 9, (buf.validate.field).string.max_len = 8", "max_len"),
    ],
    ids=["comment", "format", "contradictory rule"],
)
def test_a_defect_is_found(checkout: Checkout, before: str, after: str, complaint: str) -> None:
    """A missing comment, a stray space and a rule that nothing satisfies are each refused, by name."""
    checkout.replace(MEETUP_SERVICE, before, after)
    code, output = lint(checkout)
    assert code == 1
    assert complaint in output


@pytest.mark.parametrize(
    ("before", "after", "complaints"),
    [
        (FIELD, RENAMED_FIELD, ('"completed_count"', '"finished_count"', '"Reputation"')),
        (FIELD, "int64 completed_count = 4;", ('"completed_count"', '"Reputation"', "int64")),
        (ENUM_VALUE, "MATCH_STATE_ENDED = 60;", ('enum value "6"', 'enum "MatchState"', "deleted")),
    ],
    ids=["renamed field", "retyped field", "renumbered enum value"],
)
def test_a_breaking_change_is_found(checkout: Checkout, before: str, after: str, complaints: tuple[str, ...]) -> None:
    """A change that breaks callers of the baseline fails, and the output names what broke."""
    checkout.replace(MATCHING, before, after)
    code, output = lint(checkout)
    assert code == 1
    assert "matching.proto" in output
    assert [complaint for complaint in complaints if complaint not in output] == []


def test_a_breaking_change_is_found_in_a_fresh_clone(checkout: Checkout, tmp_path: Path) -> None:
    """It makes no difference that the change is committed, and is what the clone's origin has."""
    checkout.replace(MATCHING, FIELD, RENAMED_FIELD)
    checkout.commit()
    subprocess.run(("git", "clone", "--quiet", checkout.root, tmp_path / "clone"), check=True)
    command = (sys.executable, "protos/lint.py")
    result = subprocess.run(command, cwd=tmp_path / "clone", check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert '"completed_count"' in result.stdout


def test_an_addition_passes(checkout: Checkout) -> None:
    """New fields, enum values and messages break no caller."""
    checkout.replace(MATCHING, f"{FIELD}\n", f"{FIELD}\n  // Added.\n  int32 added_count = 99;\n")
    checkout.replace(MATCHING, f"{ENUM_VALUE}\n", f"{ENUM_VALUE}\n  // Added.\n  MATCH_STATE_ADDED = 99;\n")
    checkout.replace(MATCHING, "// Something that", "// Added.\nmessage Added {}\n\n// Something that")
    assert lint(checkout) == (0, "")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "protos/baseline.binpb is missing"),
        (b"", "protos/baseline.binpb is not an image of protos"),
        (b"not a protobuf", "protos/baseline.binpb is not an image of protos"),
    ],
    ids=["missing", "empty", "garbage"],
)
def test_an_unusable_baseline_is_one_sentence(checkout: Checkout, content: bytes | None, complaint: str) -> None:
    """Without a usable baseline the linter fails and says how to restore it, and that remedy works."""
    image = checkout.root / BASELINE
    if content is None:
        image.unlink()
    else:
        image.write_bytes(content)
    assert lint(checkout) == (1, f"{complaint}: restore it with `git checkout HEAD -- {BASELINE}`.\n")
    checkout.git("checkout", "HEAD", "--", BASELINE)
    assert lint(checkout) == (0, "")


def test_a_damaged_baseline_is_found(checkout: Checkout) -> None:
    """An image that still parses, but has lost a file, is not the one that the changelog records."""
    image = checkout.root / BASELINE
    content = FileDescriptorSet.FromString(image.read_bytes())
    del content.file[-1]
    image.write_bytes(content.SerializeToString())
    code, output = lint(checkout)
    assert code == 1
    assert "where CHANGELOG.md records" in output


def test_a_renewed_baseline_is_recorded_with_its_reason(checkout: Checkout) -> None:
    """`make baseline` makes a breaking change pass, and its reason stands in the changelog exactly as given."""
    checkout.replace(MATCHING, FIELD, RENAMED_FIELD)
    result = checkout.make("baseline", f"REASON={REASON}")
    assert result.returncode == 0, result.stderr
    assert lint(checkout) == (0, "")
    assert f"recorded. (image `{digest_before(checkout)}`)\n- {REASON} (image `" in checkout.read("CHANGELOG.md")


def digest_before(checkout: Checkout) -> str:
    """Return the digest that the committed changelog records."""
    return checkout.git("show", "HEAD:CHANGELOG.md").rpartition("(image `")[2][:16]


def test_a_renewed_baseline_without_its_record_is_refused(checkout: Checkout) -> None:
    """An image that somebody replaced without a word in the changelog does not count."""
    checkout.replace(MATCHING, FIELD, RENAMED_FIELD)
    assert checkout.make("baseline", f"REASON={REASON}").returncode == 0
    checkout.git("checkout", "HEAD", "--", "CHANGELOG.md")
    code, output = lint(checkout)
    assert code == 1
    assert f"where CHANGELOG.md records {digest_before(checkout)}" in output
    assert "make baseline REASON=" in output


def test_a_baseline_is_not_renewed_without_a_reason(checkout: Checkout) -> None:
    """Without a reason `make baseline` fails in one sentence and changes nothing."""
    checkout.replace(MATCHING, FIELD, RENAMED_FIELD)
    before = checkout.status()
    result = checkout.make("baseline")
    assert result.returncode == 2
    assert "needs its reason" in result.stderr
    assert checkout.status() == before


def test_the_same_protos_give_the_same_image(checkout: Checkout, tmp_path: Path) -> None:
    """The image of a missing baseline is made again byte for byte, wherever the checkout lies."""
    other = before_first_release(tmp_path / "elsewhere" / "checkout")
    for one in (checkout, other):
        (one.root / BASELINE).unlink()
        assert one.run("protos/baseline.py", "--reason", REASON).returncode == 0
    assert (checkout.root / BASELINE).read_bytes() == (other.root / BASELINE).read_bytes()


def test_comments_are_no_part_of_the_image(checkout: Checkout) -> None:
    """Rewording a comment leaves nothing to renew."""
    assert checkout.run("protos/baseline.py", "--reason", REASON).returncode == 0
    checkout.commit()
    checkout.replace(MATCHING, "// Something that", "// Anything that")
    result = checkout.run("protos/baseline.py", "--reason", REASON)
    assert "already the image" in result.stdout
    assert checkout.status() == f" M {MATCHING}\n"


def test_a_released_baseline_is_not_renewed(checkout: Checkout) -> None:
    """Once 0.1.0 is released `make baseline` refuses, and lint offers no such remedy any more."""
    prepare_release(checkout, "0.1.0")
    checkout.replace(MATCHING, FIELD, RENAMED_FIELD)
    before = checkout.status()
    result = checkout.run("protos/baseline.py", "--reason", REASON)
    assert result.returncode == 1
    assert result.stderr == f"{BASELINE} is renewed by releases alone, because 0.1.0 has been released.\n"
    assert checkout.status() == before
    code, output = lint(checkout)
    assert code == 1
    assert "make baseline" not in output


def test_a_record_in_unreleased_does_not_renew_a_released_baseline(checkout: Checkout) -> None:
    """After a release an image of its own making is refused, even with a record in Unreleased."""
    checkout.replace(MATCHING, FIELD, RENAMED_FIELD)
    assert checkout.run("protos/baseline.py", "--reason", REASON).returncode == 0
    renewed = (checkout.root / BASELINE).read_bytes()
    entry = checkout.read("CHANGELOG.md").rpartition("\n- ")[2]
    checkout.git("checkout", "--", ".")
    prepare_release(checkout, "0.1.0")
    (checkout.root / BASELINE).write_bytes(renewed)
    checkout.replace("CHANGELOG.md", "## Unreleased\n", f"## Unreleased\n\n### Protos baseline\n\n- {entry}")
    code, output = lint(checkout)
    assert code == 1
    assert "where CHANGELOG.md records" in output


def test_a_release_before_the_first_stable_one_leaves_the_protos_free(tmp_path: Path) -> None:
    """A release below 0.1.0 promises nothing: the baseline can still be renewed."""
    checkout = before_first_release(tmp_path / "checkout", "0.0.1")
    prepare_release(checkout, "0.0.2")
    checkout.replace(MATCHING, FIELD, RENAMED_FIELD)
    assert checkout.run("protos/baseline.py", "--reason", REASON).returncode == 0
    assert lint(checkout) == (0, "")
