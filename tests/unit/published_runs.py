"""Finished runs in a lakehouse folder, for tests of publication, and a process that is killed at its n-th step."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from treadle.flows.sales.files import entry_of
from treadle.flows.sales.lakehouse import DATA_FILES, run_path
from treadle.flows.sales.manifest import RunRecord
from treadle.flows.sales.publish import open_current, read_manifest, write_run_metadata

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
OLD, NEW, RESTORE = (UUID(int=number) for number in (1, 2, 3))

# Counts the process's own changes of the file system as Python announces them (sys.audit), and kills it without a word at the given one.
_KILLED_AT = """
import os, signal, sys
left = int(sys.argv[1])
def count(event, arguments):
    global left
    changes = event in {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.copyfile"} or (event == "open" and arguments[1] in {"wb", "w"})
    if changes and os.getpid() == me:
        left -= 1
        if left == 0:
            os.kill(me, signal.SIGKILL)
me = os.getpid()
exec(sys.argv[2])
sys.addaudithook(count)
work()
"""


def run_until_change(number: int, code: str) -> bool:
    """Run `code`, which defines `work()`, and kill the process just before its n-th change of the file system. Whether it was killed."""
    done = subprocess.run([sys.executable, "-c", _KILLED_AT, str(number), code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in {0, -9}, done.stderr
    return done.returncode == -9


def finished_run(lakehouse: Path, run_id: UUID, *, size: int = 100) -> RunRecord:
    """A run folder with four files that say whose they are, sealed."""
    folder = lakehouse / run_path(run_id)
    folder.mkdir(parents=True)
    for name in DATA_FILES:
        (folder / name).write_bytes(f"{name} of {run_id}\n".encode() * size)
    files = [entry_of(folder / name).as_json() for name in DATA_FILES]
    facts = {"run_id": run_id, "kind": "run", "input_file": f"{run_id}.csv", "finished_at": NOW, "files": files}
    return write_run_metadata(lakehouse, run_id, facts)


def runs_seen(lakehouse: Path) -> set[str]:
    """Read all files of the current result as a reader does, and return the runs that they are of."""
    manifest = read_manifest(lakehouse)
    assert manifest
    seen: set[str] = set()
    for name in DATA_FILES:
        with open_current(lakehouse, manifest, name) as file:
            seen |= {line.rsplit(" ", 1)[1].strip() for line in file.read().decode().splitlines()}
    return seen
