"""A running environment, and the command line as a person or script calls it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import canaries
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
def treadle(environment: LocalEnvironment, tmp_path: Path) -> Callable[..., Answer]:
    """Run `treadle …` in an empty folder against the environment."""

    def call(*arguments: str, state: Path | None = environment.state, **environ: str) -> Answer:
        place = {"TREADLE_STATE": str(state)} if state else {}
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("TREADLE_", "FABRIC_", "PG_"))}
        ended = subprocess.run(
            [sys.executable, "-m", "treadle", *arguments],
            cwd=tmp_path,
            env={**clean, "COLUMNS": "200", **place, **environ},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert canaries.found_in_text(ended.stdout + ended.stderr) == []
        return Answer(ended.returncode, ended.stdout, ended.stderr)

    return call
