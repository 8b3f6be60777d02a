"""A server program as a child process: tied to us, under a suitable account, never twice on one folder."""

import fcntl
import os
import pwd
import signal
import stat
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

_LOG_LINES = 8
_LOCK_POLL_INTERVAL = 0.01

_CAP_DAC_READ_SEARCH = 2  # from <linux/capability.h>
_LAUNCH = Path(__file__).with_name("embedded_launch.py")


class EngineError(Exception):
    """An engine cannot run. The text is for the user: one sentence, then the end of the engine's log."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who the engines run as, and own their folders."""

    name: str
    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        """Whether the engines run as the very user that this process runs as."""
        return self.uid == os.geteuid()


@dataclass(frozen=True, slots=True)
class Home:
    """Where the engines keep things. `sockets` is short enough to hold a socket; `account` owns what engines write."""

    folder: Path
    sockets: Path
    account: Account


def engine_account() -> Account:
    """Return our own account, or that of `nobody` for root, whom PostgreSQL refuses. Raises EngineError."""
    uid = os.geteuid()
    try:
        entry = pwd.getpwnam("nobody") if uid == 0 else pwd.getpwuid(uid)
    except KeyError:
        if uid == 0:
            raise EngineError("PostgreSQL refuses to run as root, and this machine has no user nobody.") from None
        return Account(str(uid), uid, os.getegid())
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def closed_parent(path: Path) -> Path | None:
    """Return the uppermost parent of `path` that other users may not pass, or None if the way is open to all."""
    parents = reversed(path.resolve().parents)
    return next((parent for parent in parents if not parent.stat().st_mode & stat.S_IXOTH), None)


def may_lend_search() -> bool:
    """Return whether a child under another account can be given the right to pass folders closed to it."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    permitted = next(line.split()[1] for line in status.splitlines() if line.startswith("CapPrm:"))
    return bool(int(permitted, 16) >> _CAP_DAC_READ_SEARCH & 1)


def owner_name(path: Path) -> str:
    """Return the name of the user whom `path` belongs to, or the number of one without a name."""
    try:
        return f"the user {path.owner()}"
    except KeyError:
        return f"user number {path.stat().st_uid}"


def own_folder(path: Path, account: Account) -> Path:
    """Make the folder `path` unless it exists, private to `account`. Raises EngineError if it is another user's."""
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid == os.geteuid() != account.uid and not any(path.iterdir()):
        os.chown(path, account.uid, account.gid)
    if path.stat().st_uid != account.uid:
        raise EngineError(f"{path} belongs to {owner_name(path)}: run as that user or choose another DATA_DIR.")
    return path


def take_lock(path: Path) -> int | None:
    """Return a descriptor that holds the exclusive lock on the file `path`, or None if another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    return descriptor


def wait_for_lock(path: Path, timeout: float) -> int:
    """Return a descriptor that holds the lock on the file `path`. Raises EngineError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while (descriptor := take_lock(path)) is None:
        if time.monotonic() > deadline:
            raise EngineError(f"Process {noted_process(path) or '(unknown)'} still holds {path}: stop it.")
        time.sleep(_LOCK_POLL_INTERVAL)
    return descriptor


def note_process(descriptor: int, pid: int) -> None:
    """Write into a lock file which process works under the lock."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(pid).encode(), 0)


def noted_process(path: Path) -> int | None:
    """Return the process that `note_process` wrote, or None if none is written."""
    text = path.read_text()
    return int(text) if text.isdecimal() else None


class Engine(ABC):
    """One server program on one folder. `poll`, or `advance`, drives it; the other methods may follow in any order.

    From the first step on, the program and all its children hold an inherited lock, so that "nothing runs on this
    folder any more" is certain after any crash, where process ids written into files are not: they get reused.
    """

    title: ClassVar[str]
    name: ClassVar[str]
    shutdown_signal: ClassVar[signal.Signals]

    def __init__(self, home: Home) -> None:
        self.home = home
        self.log = home.folder / "log" / f"{self.name}.log"
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._lock_path = home.folder / f"{self.name}.lock"
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._steps: deque[Callable[[], subprocess.Popen[bytes]]] = deque()
        self._predecessor_told = False
        self._begun_again = False

    @abstractmethod
    def steps(self) -> Iterable[Callable[[], subprocess.Popen[bytes]]]:
        """Return what starts each process in turn; the last one is the server. Nothing else runs on the folder now."""

    @abstractmethod
    def accepts_connections(self) -> bool:
        """Return whether the server, whose process lives, answers. May block for a second, and in any thread."""

    @property
    def pid(self) -> int:
        """The process of the present step. Raises EngineError if none was started yet."""
        if self._process is None:
            raise EngineError(f"{self.title} was not started.")
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process that was started last has ended, if there was any."""
        return self._process is None or self._process.poll() is not None

    @property
    def exit_status(self) -> int | None:
        """How that process ended: its status, or a signal's number below 0; None while it runs."""
        return self._process.poll() if self._process else None

    def poll(self) -> bool:
        """Go on as far as possible without waiting; return whether the server answers. Raises EngineError."""
        return self.advance() and self.accepts_connections()

    def advance(self) -> bool:
        """Start the process that is next, if none runs; return whether the server's runs. Raises EngineError."""
        if self._lock is None and not self._begin():
            return False
        status = self._process.poll() if self._process else 0
        if status is None:
            return not self._steps
        if status or not self._steps:
            raise EngineError(self.failure(f"stopped with status {status} instead of starting"))
        self._next_step()
        return False

    def failure(self, what: str) -> str:
        """Return the sentence that `what` happened to this engine, and the last lines it logged since our start."""
        try:
            with self.log.open("rb") as log:
                log.seek(self._log_start)
                lines = log.read().decode(errors="replace").splitlines()[-_LOG_LINES:]
        except OSError:
            lines = []
        return "\n    ".join([f"{self.title} {what}; its log is {self.log}", *lines])

    def overdue(self, timeout: float) -> str:
        """Return why the engine does not answer after `timeout` seconds."""
        if self._lock is None:
            earlier = noted_process(self._lock_path)
            return f"An earlier {self.title} (process {earlier}) still runs on {self.home.folder}."
        return self.failure(f"did not answer within {timeout:g} s")

    def begin_again(self) -> None:
        """Let `advance` start an engine anew that has ended, on the data that are there."""
        self.finish_stop(0.0)
        self._steps.clear()
        self._begun_again = True
        # Our own process has ended, and its id may be somebody else's by now.
        self._predecessor_told = True
        self._log_start = self.log.stat().st_size if self.log.exists() else 0

    def request_stop(self) -> None:
        """Ask the process to end in good order, without waiting."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(self.shutdown_signal)

    def finish_stop(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the end, then kill. Afterwards `poll` would start anew."""
        if self._process:
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._lock is not None:
            os.close(self._lock)
        self._process = self._lock = None

    def spawn(self, *arguments: str | Path, stdin: int | IO[bytes] = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a process of this engine, in its own session so that the terminal's Ctrl-C does not reach it."""
        require_main_thread()
        try:
            with self.log.open("ab") as log:
                return subprocess.Popen(  # noqa: S603 - programs of the wheels, arguments of ours
                    [*_launcher(self.home.account, self.shutdown_signal), *arguments],
                    stdin=stdin,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.home.folder,
                    # Our own environment holds secrets that are none of the engine's business.
                    env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                    start_new_session=True,
                    pass_fds=() if self._lock is None else (self._lock,),
                )
        except OSError as error:
            raise EngineError(f"{self.title} cannot be started: {error}") from error

    def _begin(self) -> bool:
        self._lock = take_lock(self._lock_path)
        if self._lock is None:
            self._dismiss_predecessor()
            return False
        self._steps = deque(self.steps())
        return True

    def _next_step(self) -> None:
        self._process = self._steps.popleft()()
        if self._lock is not None:
            note_process(self._lock, self._process.pid)

    def _dismiss_predecessor(self) -> None:
        # Whoever holds the lock is an orphan, since its parent no longer holds the folder.
        pid = noted_process(self._lock_path)
        if pid is None or self._predecessor_told:
            return
        self._predecessor_told = True
        try:
            os.kill(pid, self.shutdown_signal)
        except (ProcessLookupError, PermissionError):
            return


def require_main_thread() -> None:
    """Raise RuntimeError in any thread but the main one: an engine ends with the thread that started it."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("an engine would end with this thread: start it in the main thread")


def _launcher(account: Account, death_signal: signal.Signals) -> list[str]:
    """Return the words before a command by which it runs under the account and ends with us: embedded_launch.py.

    Code of ours between fork and exec would do the same, but can wait for ever for a lock that another thread held.
    """
    lend_search = not account.is_ours and may_lend_search()
    place = "" if account.is_ours else f"{account.uid}:{account.gid}"
    told = (str(os.getpid()), str(int(death_signal)), place, "search" if lend_search else "")
    return [sys.executable, "-I", "-S", str(_LAUNCH), *told]
