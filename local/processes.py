"""Servers as child processes: an account that is not root, a log file, and no server that outlives its parent."""

from __future__ import annotations

import os
import pwd
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.runtime.errors import DrumtowerError
from local.errors import SetupError
from local.packages import ServiceBinaries, service_binaries

_UNPRIVILEGED = "nobody"
# Stops a child whose parent died between the fork and the kernel's promise to signal it, and lifts the limit on
# open files, which is far below the number of boxes one broker serves.
_CHILD_SCRIPT = '[ "$PPID" = "$1" ] || exit 1; shift; ulimit -n "$(ulimit -H -n)" 2>/dev/null; exec "$@"'


class ServiceError(DrumtowerError):
    """A local server could not be set up, started or stopped."""


@contextmanager
def setup_told() -> Iterator[None]:
    """What is missing of the set-up comes out as a ServiceError, which commands tell in two lines."""
    try:
        yield
    except SetupError as error:
        raise ServiceError("service.not_set_up", error.message, error.hint) from error


def installed_binaries() -> ServiceBinaries:
    """Where the two servers are; raises ServiceError before the set-up."""
    with setup_told():
        return service_binaries()


@dataclass(frozen=True)
class Account:
    """Whom a server runs as, and what lets that account reach files below a directory closed to it.

    `uid` None means the account of this process, unchanged. `capability` is the one privilege kept, if any.
    """

    uid: int | None = None
    gid: int | None = None
    capability: str | None = None

    def command_prefix(self) -> list[str]:
        """The arguments of setpriv that switch to this account; all other privileges are dropped with it."""
        if self.uid is None:
            return []
        switched = ["--reuid", str(self.uid), "--regid", str(self.gid), "--clear-groups"]
        if self.capability is not None:
            switched += [f"--inh-caps=-all,+{self.capability}", f"--ambient-caps=+{self.capability}"]
            # PostgreSQL looks for its programs with access(2), which else leaves capabilities out of account.
            switched += ["--securebits", "+no_setuid_fixup"]
        else:
            switched += ["--inh-caps=-all"]
        return switched

    def own(self, path: Path) -> None:
        """Give `path` and everything below it to this account."""
        if self.uid is None or self.gid is None:
            return
        for directory, _, files in os.walk(path):
            os.chown(directory, self.uid, self.gid)
            for name in files:
                os.chown(Path(directory) / name, self.uid, self.gid, follow_symlinks=False)
        if not path.is_dir():
            os.chown(path, self.uid, self.gid)


def service_account(program: Path, directory: Path) -> Account:
    """The account to run `program` as, with its files in `directory` (which must exist).

    Both servers refuse to work as root or should not, so root switches to `nobody`. That account cannot enter a
    clone below /root (mode 0700); it then keeps the one capability that opens directories: to read and search
    where the kernel grants that one, else (a container's default) to override permissions. Raises ServiceError.
    """
    if os.geteuid() != 0:
        _require_account_name()
        return Account()
    if shutil.which("setpriv") is None:
        raise ServiceError(
            "service.no_setpriv", "setpriv is not on the PATH", "install the package util-linux"
        )
    entry = pwd.getpwnam(_UNPRIVILEGED)
    for capability in (None, "dac_read_search", "dac_override"):
        account = Account(entry.pw_uid, entry.pw_gid, capability)
        account.own(directory)
        tried = [
            "setpriv",
            *account.command_prefix(),
            "sh",
            "-c",
            'test -x "$1" && test -w "$2" && test -x "$2"',
        ]
        if (
            subprocess.run([*tried, "sh", program, directory], capture_output=True, check=False).returncode
            == 0
        ):
            return account
    raise ServiceError(
        "service.directory_closed",
        f"the account {_UNPRIVILEGED}, which the servers run as, cannot reach {directory}",
        "set DRUMTOWER_DATA to a directory outside /root, for example /var/tmp/drumtower",
    )


def _require_account_name() -> None:
    """Raise ServiceError where this user id has no entry in the account database (PostgreSQL looks it up)."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError as error:
        raise ServiceError(
            "service.no_account",
            f"the user id {os.geteuid()} has no account on this machine, and PostgreSQL needs one",
            "run as a user that /etc/passwd lists (in a container: as root, or add the user)",
        ) from error


# Command, log, what is added to the environment, and where the started child is handed back.
_Order = tuple[list[str], Path, Mapping[str, str] | None, Future[subprocess.Popen[bytes]]]


class _Spawner:
    """Starts children from one thread that lives as long as the process.

    The kernel sends the parent-death signal when the *thread* that forked ends, so a server started from a
    short-lived thread would be stopped with it.
    """

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._start_lock = threading.Lock()
        self._owner_pid = 0

    def spawn(
        self, command: list[str], log: Path, environment: Mapping[str, str] | None
    ) -> subprocess.Popen[bytes]:
        with self._start_lock:
            if self._owner_pid != os.getpid():  # first use, or a fork that lost the thread
                self._owner_pid = os.getpid()
                self._orders = queue.SimpleQueue()
                threading.Thread(
                    target=self._serve, args=(self._orders,), name="spawner", daemon=True
                ).start()
        started: Future[subprocess.Popen[bytes]] = Future()
        self._orders.put((command, log, environment, started))
        return started.result()

    @staticmethod
    def _serve(orders: queue.SimpleQueue[_Order]) -> None:
        while True:
            command, log, environment, started = orders.get()
            try:
                with log.open("ab") as output:
                    process = subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        # Ctrl-C in the terminal is for us: we stop the servers in order.
                        start_new_session=True,
                        cwd="/",
                        # Secrets go this way: an argument would show in the list of processes.
                        env=None if environment is None else {**os.environ, **environment},
                    )
            except OSError as error:
                started.set_exception(error)
            else:
                started.set_result(process)


_SPAWNER = _Spawner()


class ServiceProcess:
    """One child that ends with us: its output goes to `log`, `stop_signal` asks it to stop in order."""

    def __init__(self, name: str, log: Path, stop_signal: signal.Signals) -> None:
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(
        self,
        command: Sequence[str | Path],
        account: Account,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start `command` as `account`, `environment` added to ours; raises ServiceError if it runs already."""
        if self.pid is not None:
            raise ServiceError(
                "service.running", f"{self.name} runs already, pid {self.pid}", "stop it first"
            )
        guarded = [
            *(
                "setpriv",
                *account.command_prefix(),
                "--pdeathsig",
                self._stop_signal.name.removeprefix("SIG"),
            ),
            *("sh", "-c", _CHILD_SCRIPT, "sh", str(os.getpid())),
            *map(str, command),
        ]
        self._process = _SPAWNER.spawn(guarded, self.log, environment)

    def exit_code(self) -> int | None:
        """How the last start ended, None while it runs or before any."""
        return self._process.poll() if self._process is not None else None

    def send(self, chosen: signal.Signals) -> None:
        """Send a signal; does nothing if it does not run."""
        if self._process is not None:
            self._process.send_signal(chosen)

    def stop(self, timeout_seconds: float = 30.0) -> None:
        """Ask it to stop, wait, and kill it where it does not in time; does nothing if it does not run."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
            try:
                self._process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._process = None

    def kill(self) -> None:
        """SIGKILL it and reap it; does nothing if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log_tail(self, lines: int = 8) -> str:
        """The last lines of its output, on one line each."""
        if not self.log.exists():
            return "(no output)"
        text = self.log.read_bytes()[-16384:].decode("utf-8", errors="replace")
        return "\n".join(text.strip().splitlines()[-lines:]) or "(no output)"
