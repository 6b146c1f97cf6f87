"""An extracting process killed at every step it takes on the disk, in mid-page and between pages, out of room, and watched for its memory."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests import canaries
from tests.flows.conftest import eventually
from treadle.clients.events_api import EventsApi
from treadle.flows.weekly.extract import MANIFEST, Extracted, extract_week, read_extract, read_page
from treadle.flows.weekly.week import week_of
from treadle.sandbox.events.routes import LIST_EVENTS
from treadle.sandbox.events.store import EventsStore
from treadle.sandbox.server import Sandbox

pytestmark = pytest.mark.kills

WEEK = week_of(date(2019, 12, 2))
NOW = datetime(2019, 12, 10, tzinfo=UTC)
ROWS, PAGE_SIZE = 100, 40

# Extracts the week as it is told on standard input. kill_at: the number of the step on the disk, below the folder, before which it kills itself.
CHILD = """
import json, os, resource, signal, sys
from datetime import datetime
from pathlib import Path
from treadle.clients.events_api import EventsApi
from treadle.errors import TreadleError
from treadle.flows.weekly.extract import extract_week
from treadle.flows.weekly.week import week_of

told = json.loads(sys.stdin.read())
folder = Path(told["folder"])
api = EventsApi(told["url"], api_key=told["key"], ca_file=Path(told["ca_file"]), max_retries=1)
steps = 0

def step(event, arguments):
    global steps
    if event not in {"open", "os.rename", "os.remove", "os.mkdir"} or not str(arguments[0]).startswith(str(folder)):
        return
    steps += 1
    if steps == told["kill_at"]:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(step)
if told["file_bytes"]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (told["file_bytes"], told["file_bytes"]))
    signal.signal(signal.SIGXFSZ, getattr(signal, told["when_full"]))
try:
    done = extract_week(api, week_of(datetime.fromisoformat(told["now"]).date().replace(day=2)), folder, now=datetime.fromisoformat(told["now"]),
                        page_size=told["page_size"], delay_seconds=0)
    print(json.dumps({"steps": steps, "rows": done.rows_fetched, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
except TreadleError as error:
    print(json.dumps({"error": type(error).__name__, "message": error.message, "hint": error.hint}))
"""


@pytest.fixture
def events(sandbox: Sandbox) -> Iterator[EventsStore]:
    sandbox.events.reset()
    canaries.plant(sandbox.events.api_key)
    sandbox.events.set_week(WEEK.start, rows=ROWS, defect_rate=0.1)
    yield sandbox.events
    sandbox.events.reset()


@pytest.fixture
def start(sandbox: Sandbox, events: EventsStore, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start an extracting process; what still runs at the end of the test is ended."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path, **changes: object) -> subprocess.Popen[str]:
        told = {
            "url": sandbox.endpoints.events_url,
            "key": events.api_key,
            "ca_file": str(sandbox.endpoints.ca_file),
            "folder": str(folder),
        }
        told |= {"now": NOW.isoformat(), "page_size": PAGE_SIZE, "kill_at": 0, "file_bytes": 0, "when_full": "SIG_IGN"} | changes
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        started.append(child)
        assert child.stdin
        child.stdin.write(json.dumps(told))
        child.stdin.close()
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


@pytest.fixture
def resume(sandbox: Sandbox, events: EventsStore) -> Iterator[Callable[[Path], Extracted]]:
    api = EventsApi(sandbox.endpoints.events_url, api_key=events.api_key, ca_file=sandbox.endpoints.ca_file)
    yield lambda folder: extract_week(api, WEEK, folder, now=NOW, page_size=PAGE_SIZE, delay_seconds=0)
    api.close()


def told_by(child: subprocess.Popen[str]) -> dict:
    """What it printed last; logs go before it."""
    assert child.stdout
    lines = child.stdout.read().splitlines()
    child.wait()
    return json.loads(lines[-1])


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_killed_before_any_step_on_the_disk_it_is_resumed_to_the_same_files(start, resume, sandbox, tmp_path):
    (tmp_path / "whole").mkdir()
    steps = told_by(start(tmp_path / "whole"))["steps"]
    assert steps >= 15, "the steps are not seen"
    whole = files_in(tmp_path / "whole")
    assert len(whole) == 4
    killed = {}
    for step in range(1, steps + 1):  # all at once would be too many processes for a small machine; two by two is as fast
        folder = tmp_path / str(step)
        folder.mkdir()
        killed[step] = start(folder, kill_at=step)
        if step % 2 == 0 or step == steps:
            assert [child.wait() for child in killed.values()][-1] == -signal.SIGKILL
    for step, child in killed.items():
        assert child.returncode == -signal.SIGKILL, f"step {step} did not come"
        folder = tmp_path / str(step)
        left = {name: content for name, content in files_in(folder).items() if not name.rpartition("/")[2].startswith(".")}
        assert {name: whole[name] for name in left if name != MANIFEST} == {name: left[name] for name in left if name != MANIFEST}
        sandbox.requests.clear()
        done = resume(folder)
        assert files_in(folder) == whole, f"killed before step {step}"
        assert done == read_extract(folder)
        assert len(sandbox.requests) <= 4 - sum(name != MANIFEST for name in left), "a page that was kept is not asked for again"


@pytest.mark.parametrize("page", [1, 2, 3])
def test_killed_while_a_page_is_on_its_way_it_goes_on_with_that_page(start, resume, sandbox, tmp_path, page):
    whole = files_of_a_whole_extract(resume, tmp_path)
    sandbox.faults.script(LIST_EVENTS, "slow", after=page - 1, seconds=5)
    child = start(tmp_path / "killed")
    eventually(lambda: not sandbox.faults.unused(), what=f"page {page} being asked for")
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert sum(name.endswith(".zst") for name in files_in(tmp_path / "killed")) == page - 1
    resume(tmp_path / "killed")
    assert files_in(tmp_path / "killed") == whole


def test_killed_in_the_middle_of_writing_a_page_it_leaves_no_part_of_it(start, resume, tmp_path):
    whole = files_of_a_whole_extract(resume, tmp_path)
    smallest = min(len(content) for name, content in whole.items() if name.endswith(".zst"))
    child = start(tmp_path / "killed", file_bytes=smallest - 100, when_full="SIG_DFL")
    assert child.wait() == -signal.SIGXFSZ
    left = files_in(tmp_path / "killed")
    assert set(left) == {MANIFEST, "pages/.page-000001.json.zst.new"}
    assert 0 < len(left["pages/.page-000001.json.zst.new"]) < smallest
    resume(tmp_path / "killed")
    assert files_in(tmp_path / "killed") == whole


def test_a_full_disk_is_told_and_leaves_nothing_half_written(start, resume, tmp_path):
    whole = files_of_a_whole_extract(resume, tmp_path)
    first, second = (len(whole[f"pages/page-{number:06d}.json.zst"]) for number in (1, 2))
    error = told_by(start(tmp_path / "full", file_bytes=min(first, second) - 50))
    assert error["error"] == "Unavailable"
    assert "There is no room for" in error["message"]
    assert "page-000001.json.zst" in error["message"]
    assert "Make room" in error["hint"]
    assert set(files_in(tmp_path / "full")) == {MANIFEST}
    resume(tmp_path / "full")
    assert files_in(tmp_path / "full") == whole


def test_memory_is_bounded_by_a_page(start, events, tmp_path):
    peaks = {}
    for rows in (5_000, 60_000):
        events.set_week(WEEK.start, rows=rows)
        told = told_by(start(tmp_path / str(rows), page_size=1000))
        assert told["rows"] == rows
        peaks[rows] = told["peak_mb"]
    assert peaks[60_000] < peaks[5_000] + 6, "the larger week has 14 MB more"


def files_of_a_whole_extract(resume: Callable[[Path], Extracted], tmp_path: Path) -> dict[str, bytes]:
    done = resume(tmp_path / "whole")
    assert all(read_page(page) for page in done.pages)
    return files_in(tmp_path / "whole")
