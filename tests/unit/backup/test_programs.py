"""How PostgreSQL's programs are run: what they are given, and what is said of their failures."""

import io
from pathlib import Path

import pytest

from wingmanmatch_server.backup.archive import BackupError
from wingmanmatch_server.backup.programs import Programs, target_of

URL = "postgresql://ann:p%40ss@db.example.org:5433/people?sslmode=require"


def program(folder: Path, script: str) -> Programs:
    """Return a folder of programs with one, `act`, and an environment with more than it concerns."""
    (folder / "act").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "act").chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "PGHOSTADDR": "192.0.2.1", "PGSSLROOTCERT": "root.crt", "API_KEYS": "k"}
    return Programs(folder, environment)


@pytest.mark.parametrize(
    ("dsn", "address", "password"),
    [
        (URL, "postgresql://ann@db.example.org:5433/people?sslmode=require", "p@ss"),
        ("postgresql://ann@h/d", "postgresql://ann@h/d", None),
        ("postgresql://h/d", "postgresql://h/d", None),
        ("postgresql://ann:@h/d", "postgresql://ann@h/d", None),
        ("postgresql://a:x:y@h1:1,h2:2/d", "postgresql://a@h1:1,h2:2/d", "x:y"),
        (
            "postgresql://a@/d?host=%2Ftmp%2Fx%20y&password=se%26cret",
            "postgresql://a@/d?host=%2Ftmp%2Fx%20y",
            "se&cret",
        ),
        ("postgresql://a:one@h/d?password=two", "postgresql://a@h/d", "two"),
        ("postgresql://a:x@[::1]:5432/d?pooler=session", "postgresql://a@[::1]:5432/d", "x"),
    ],
)
def test_password_is_taken_out_of_the_address(dsn: str, address: str, password: str | None) -> None:
    """Wherever it stands it is found, and the rest of the address stays."""
    target = target_of(dsn)
    assert (target.address, target.password) == (address, password)
    assert password is None or password not in repr(target)


def test_program_has_the_password_in_its_environment_alone(tmp_path: Path) -> None:
    """The command line has the address without it; of our environment only what proves who we are is handed on."""
    written = io.BytesIO()
    program(tmp_path, 'echo "$@"; env').read("act", URL, "--option", into=written)
    arguments, *environment = written.getvalue().decode().splitlines()
    assert arguments == "--no-password --dbname=postgresql://ann@db.example.org:5433/people?sslmode=require --option"
    assert {"PGPASSWORD=p@ss", "PGSSLROOTCERT=root.crt", "LC_ALL=C"} <= set(environment)
    assert not {line.partition("=")[0] for line in environment} & {"PGHOSTADDR", "API_KEYS"}


def test_failure_is_the_first_complaint_without_rows(tmp_path: Path) -> None:
    """Of a failed program the error is told, and not the details, which quote what is stored."""
    act = program(tmp_path, "echo 'act: note' >&2; echo 'act: error: it failed' >&2; echo 'DETAIL: ann' >&2; exit 1")
    with pytest.raises(BackupError) as caught:
        act.read("act", URL, into=io.BytesIO())
    assert str(caught.value) == "act failed: it failed"


@pytest.mark.parametrize(("script", "status"), [("exit 3", "status 3"), ("kill -9 $$", "status -9")])
def test_failure_without_a_complaint(tmp_path: Path, script: str, status: str) -> None:
    """A program that says nothing is reported by its status, also if it did not read its input."""
    with pytest.raises(BackupError, match=f"act failed: {status}"):
        program(tmp_path, script).feed("act", URL, source=io.BytesIO(b"x" * 1_000_000))


def test_program_that_is_missing(tmp_path: Path) -> None:
    """It is named, with the system's reason."""
    with pytest.raises(BackupError, match=r"act cannot be started: No such file or directory\."):
        Programs(tmp_path, {}).read("act", URL, into=io.BytesIO())


def test_program_is_ended_when_its_output_cannot_be_kept(tmp_path: Path) -> None:
    """An error of the file that is written ends the program, which would otherwise wait for ever."""

    class Full(io.BytesIO):
        def write(self, _data: object) -> int:
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        program(tmp_path, 'echo $$ > "$0.pid"; exec cat /dev/zero').read("act", URL, into=Full())
    assert not Path(f"/proc/{(tmp_path / 'act.pid').read_text().strip()}").exists()
