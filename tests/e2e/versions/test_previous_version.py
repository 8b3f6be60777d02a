"""The previous version, from the repository's history alone, passes its own tests on the schema of this version."""

import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from support.checkouts import Checkout
from support.previous import (
    IMPORTED,
    NAMED_IN,
    PYTHON,
    HistoryMissing,
    PreviousVersion,
    lay_out,
    previous_commit,
    require_history,
)
from support.versions import LATER, MIGRATIONS, later_migrations
from wingmanmatch_server.drivers.migration_files import read_migrations

UNKNOWN = "0" * 40
# Together they call every SQL function that the server calls.
JOURNEYS = (
    "challenge",
    "client/test_services.py",
    "coaching/test_personal_data.py",
    "coaching/test_plan.py",
    "matching",
    "meetup",
    "notification",
    "session/test_sessions.py",
    "system/test_web.py",
)
# Over PostgreSQL's protocol all of them, over REST the journeys: twice as many would take twice as long.
CHOSEN = ("-k", "not rest or journey")
# What the previous version promised and this one's schema withdraws: a place that is used exactly, distances to a tenth
# of a mile, attackers who all measure from where they are, a candidate who does not exist told apart from others, and
# an email of each change of a meetup at once.
WITHDRAWN = (
    "matching/test_bad_input.py::test_unknown_people",
    "matching/test_journey.py::test_candidates_come_in_pages",
    "matching/test_privacy.py::test_attacker_that_can_measure_finds_a_precise_place",
    "matching/test_privacy.py::test_thousand_probes_find_no_more_than_the_city",
    "meetup/test_journey.py::test_from_agreement_to_reputation",
    "meetup/test_journey.py::test_cancelled",
)
FEWEST = 180
PATIENCE = 300.0  # seconds; they take less than a minute on a machine with two processors


def test_previous_code_is_imported(previous: PreviousVersion) -> None:
    """The previous version's packages come before those of this version, which are installed."""
    script = "import importlib, sys; [print(importlib.import_module(each).__file__) for each in sys.argv[1:]]"
    imported = subprocess.run(
        [*PYTHON, "-c", script, *IMPORTED], env=previous.environment, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert len(imported) == len(IMPORTED)
    assert all(Path(file).is_relative_to(previous.root) for file in imported)


@pytest.mark.timeout(PATIENCE + 30)
def test_previous_journeys_on_this_schema(previous: PreviousVersion, tmp_path: Path) -> None:
    """The previous version's own journeys, but for WITHDRAWN, pass on this schema with one migration more."""
    places = [f"tests/rpc/{each}" for each in JOURNEYS]
    schema = later_migrations(previous, tmp_path / "migrations")
    report = tmp_path / "report.xml"
    withdrawn = [f"--deselect=tests/rpc/{each}" for each in WITHDRAWN]
    arguments = (*places, *CHOSEN, *withdrawn, f"--junitxml={report}")
    result = previous.run_tests(*arguments, timeout=PATIENCE, TEST_MIGRATIONS=str(schema))
    assert result.returncode == 0, result.stdout
    (suite,) = ET.parse(report).getroot().iter("testsuite")
    ran = int(suite.attrib["tests"]) - int(suite.attrib["skipped"])
    print(f"{previous.commit[:12]}: {ran} tests passed in {float(suite.attrib['time']):.0f} s")
    assert ran >= FEWEST


def test_later_schema_has_what_no_version_knows(previous: PreviousVersion, tmp_path: Path) -> None:
    """These tests' schema is this version's, which has all of the previous one's files, and one file more."""
    names = [{file.name for file in folder.glob("*.sql")} for folder in (previous.migrations, MIGRATIONS)]
    later = {file.name for file in later_migrations(previous, tmp_path / "migrations").glob("*.sql")}
    assert names[0] <= names[1]
    assert later - names[1] == {LATER}


def test_migrations_allow_the_previous_version(previous: PreviousVersion) -> None:
    """No migration made since the previous version, not even the second, names a server that is newer than it."""
    known = read_migrations(previous.migrations)[-1].version
    made = read_migrations(MIGRATIONS)[len(read_migrations(previous.migrations)) :]
    excluding = [each.file for each in made if each.oldest_server is None or each.oldest_server > known]
    assert excluding == [], f"name the newest migration of the previous version: -- oldest-server: {known}"


def test_missing_history_is_named(tmp_path: Path) -> None:
    """Where the commit is not in the history, as in a shallow clone, tests are skipped, and fail in CI, naming it."""
    origin, shallow, outside = Checkout(tmp_path / "origin"), tmp_path / "shallow", tmp_path / "outside"
    first = origin.git("rev-parse", "HEAD").strip()
    origin.commit()
    assert (lay_out(first, tmp_path / "previous", origin.root).root / "Makefile").is_file()
    origin.git("clone", "--quiet", "--depth=1", f"file://{origin.root}", str(shallow))
    outside.mkdir()
    for place in (shallow, outside):
        with pytest.raises(HistoryMissing, match=first) as raised:
            lay_out(first, tmp_path / "none", place)
        with pytest.raises(pytest.skip.Exception, match=first):
            require_history(raised.value, ci=False)
        with pytest.raises(pytest.fail.Exception, match=f"{first}.*CI must fetch"):
            require_history(raised.value, ci=True)


def test_previous_version_is_one_hash() -> None:
    """The file names one full hash; a short one, a branch or two hashes are refused."""
    assert previous_commit(NAMED_IN.read_text("utf-8"))
    for text in ("", "# A comment.\n", "main\n", UNKNOWN[:12] + "\n", f"{UNKNOWN}\n{UNKNOWN}\n"):
        with pytest.raises(ValueError, match="previous_version must hold one full hash"):
            previous_commit(text)
