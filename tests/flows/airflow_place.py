"""Airflow in an environment of its own, with a home of the test's; and stand-ins of Slack and Teams that keep what is posted to them."""

import fcntl
import hashlib
import json
import os
import secrets
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uv

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "airflow" / "dags"
DAG_FILE = DAGS / "reverse_etl_customer_weekly.py"
TRIAL = Path(__file__).with_name("airflow_trial.py")
LOCK = ROOT / "requirements" / "airflow.lock"
INSTALL_SECONDS, RUN_SECONDS = 240, 240


@dataclass(frozen=True)
class Airflow:
    """An installed Airflow and its home."""

    python: Path
    home: Path

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run `python …` there, with this process's environment less what is Treadle's, and the given variables."""
        foreign = ("AIRFLOW", "TREADLE", "PYTHON", "VIRTUAL_ENV", "API_", "STATE_DIR")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        settings = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(self.home / "plugins"),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.home / "logs"),
            "NO_PROXY": "127.0.0.1,localhost",
            "PYTHONPYCACHEPREFIX": str(
                self.python.parents[1] / "pycache"
            ),  # not into the repository; without any, each start compiles for seconds
        }
        return subprocess.run(
            [str(self.python), *command], env=inherited | settings | environ, cwd=self.home, capture_output=True, text=True,
            timeout=RUN_SECONDS, check=False,
        )  # fmt: skip

    def tasks_of(self, run_id: str) -> dict[str, tuple[str, int]]:
        """Task → its state and number of tries, asked of Airflow's database."""
        with sqlite3.connect(self.home / "airflow.db") as database:
            rows = database.execute("SELECT task_id, state, try_number FROM task_instance WHERE run_id = ?", [run_id]).fetchall()
        return {task: (state, tries) for task, state, tries in rows}

    def newest_run(self) -> tuple[str, str]:
        """Run id and state of the newest DAG run."""
        with sqlite3.connect(self.home / "airflow.db") as database:
            return database.execute("SELECT run_id, state FROM dag_run ORDER BY id DESC LIMIT 1").fetchone()


@pytest.fixture(scope="session")
def airflow_python() -> Path:
    """The interpreter of an environment that has what requirements/airflow.lock names; made once for each lock, outside of the repository."""
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "treadle"
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / f"airflow-{digest}"
    done = place / "complete"
    with (cache / f"{place.name}.lock").open("w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)  # several workers may want it
        if not done.exists():
            program = uv.find_uv_bin()
            make = [program, "venv", "--quiet", "--clear", "--no-python-downloads", "--python", sys.executable, str(place)]
            fill = [program, "pip", "install", "--quiet", "--require-hashes", "--python", str(place), "--requirement", str(LOCK)]
            for command in (make, fill):
                subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
            done.touch()
    return place / "bin" / "python"


@pytest.fixture(scope="session")
def airflow(airflow_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """One per worker process, with an SQLite database of its own."""
    installed = Airflow(airflow_python, tmp_path_factory.mktemp("airflow"))
    made = installed.run("-m", "airflow", "db", "migrate")
    assert made.returncode == 0, made.stderr
    return installed


@dataclass
class Channels:
    """What was posted to Slack and to Teams. refuse: the channels that answer 500."""

    port: int
    slack: list[dict[str, Any]] = field(default_factory=list)
    teams: list[dict[str, Any]] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    secret: str = field(default_factory=lambda: secrets.token_hex(16))  # whoever knows the address can post there

    def connections(self) -> dict[str, str]:
        """The environment variables by which Airflow knows them."""
        return {f"AIRFLOW_CONN_TREADLE_{name.upper()}": self.connection(name) for name in ("slack", "teams")}

    def connection(self, name: str, port: int | None = None) -> str:
        return json.dumps({"conn_type": "generic", "password": f"http://127.0.0.1:{port or self.port}/{name}/{self.secret}"})


@pytest.fixture
def channels() -> Iterator[Channels]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            _, name, secret = self.path.split("/")
            assert secret == known.secret
            {"slack": known.slack, "teams": known.teams}[name].append(body)
            self.send_response(500 if name in known.refuse else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known = Channels(server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield known
    server.shutdown()
    server.server_close()
