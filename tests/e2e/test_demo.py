"""`wingmanmatch demo` against a running server."""

import re
from pathlib import Path

from support.served import Served, command, refusal

STEPS = (
    *("Ben is invited", "MATCH_NOT_FOUND", "MATCH_STATE_ACCEPTED"),
    *("MEETUP_STATE_SCHEDULED", "version 0", "moves it an hour", "version 1"),
    *("24 hours before", "You meet Ben", "You meet Ada", "2 hours before", "You meet Ben", "You meet Ada"),
    *("MEETUP_NOT_STARTED", "MEETUP_STATE_SCHEDULED", "MEETUP_STATE_COMPLETED"),
    *("Ada's reputation is 1, green", "Chloe looks", "reputation 1", "Done"),
)


def test_demo_plays_the_journey(server: Served, served_data_dir: Path) -> None:
    """It tells each step, names mails that exist, ends with 0, and can be played again."""
    for _ in range(2):
        with command("demo", "--target", server.grpc, "--data-dir", str(served_data_dir)) as process:
            output, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        mails = [Path(path) for path in re.findall(r"\S+\.eml", output)]
        assert len(mails) == len(set(mails)) == 10
        assert all(mail.is_file() and mail.with_suffix(".html").is_file() for mail in mails)
        for expected in STEPS:
            assert expected in output
            output = output.partition(expected)[2]


def test_demo_without_a_server_says_so(tmp_path: Path) -> None:
    """Where nothing listens the demo ends with 1 and a sentence."""
    said = refusal("demo", "--target", "127.0.0.1:1", "--data-dir", str(tmp_path))
    assert "127.0.0.1:1" in said
    assert "UNAVAILABLE" in said
