"""A running environment, and the command line as a person or script calls it."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import canaries
from tests.nursery import WIDE, Nursery
from treadle.cli.local import LocalEnvironment, local_environment


@dataclass(frozen=True)
class Answer:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEnvironment]:
    with local_environment(tmp_path_factory.mktemp("surfaces")) as running:
        canaries.plant(running.cloud.credentials.client_secret)
        yield running
        assert canaries.found_in_database(running.postgres.admin_dsn) == []
        assert canaries.found_in_folder(running.state) == []


@pytest.fixture
def treadle(environment: LocalEnvironment, nursery: Nursery, tmp_path: Path) -> Callable[..., Answer]:
    """Run `treadle …` in an empty folder against the environment."""

    def call(*arguments: str, state: Path | None = environment.state, **environ: str) -> Answer:
        run = nursery.run if nursery.can_run(whole := _environ(state) | WIDE | environ) else _started
        ended = run(arguments, tmp_path, whole, 120)
        assert canaries.found_in_text(ended.stdout + ended.stderr) == []
        return Answer(ended.returncode, ended.stdout, ended.stderr)

    return call


@pytest.fixture
def screen(environment: LocalEnvironment, tmp_path: Path) -> Callable[..., list[str]]:
    """The lines that `treadle …` writes to the standard output of a terminal of 80 columns."""

    def show(*arguments: str) -> list[str]:
        ours, theirs = pty.openpty()
        environ = _environ(environment.state) | {"COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"}
        with subprocess.Popen(
            [sys.executable, "-m", "treadle", *arguments], cwd=tmp_path, env=environ, stdout=theirs, stderr=subprocess.DEVNULL
        ):
            os.close(theirs)
            shown = b"".join(iter(lambda: _read(ours), b"")).decode()
        os.close(ours)
        return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).splitlines()]

    return show


@pytest.fixture
def answers_at_a_terminal(environment: LocalEnvironment, tmp_path: Path) -> Callable[..., AbstractContextManager[Any]]:
    """`treadle …` with a terminal for everything: yields the process, and what waits until it has written something and returns all it wrote."""

    @contextmanager
    def asked(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[bytes], bytes]]]:
        ours, theirs = pty.openpty()
        environ = _environ(environment.state) | {"COLUMNS": "100", "TERM": "dumb"}
        shown = b""

        def said_until(awaited: bytes) -> bytes:
            nonlocal shown
            while awaited not in shown:
                more = _read(ours)
                assert more, f"{awaited!r} was never written, but {shown!r}"
                shown += more
            return shown

        command = [sys.executable, "-m", "treadle", *arguments]
        with subprocess.Popen(command, cwd=tmp_path, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            yield process, said_until
        os.close(ours)

    return asked


def _started(arguments: Sequence[str], cwd: Path, environ: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "treadle", *arguments]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=timeout, check=False)


def _environ(state: Path | None) -> dict[str, str]:
    """The environment variables of a command, with no settings but the state directory."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TREADLE_", "FABRIC_", "PG_"))}
    return clean | ({"TREADLE_STATE": str(state)} if state else {})


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says EIO when the other side is closed
        return b""
