"""Checks archives in a process of its own, which is no root: `python -m tests.flows.hostile_trial FOLDER`, with *.tar.gz in FOLDER/archives.

Each is checked in FOLDER/work/<name>/inner/scratch. Prints a line of JSON for each: its name, the faults, and by how much the process had to grow, in bytes.
"""

import json
import os
import resource
import sys
from pathlib import Path

from tests.unit.scenario_archives import telco
from treadle.flows.scenario.check import check_scenario

NOBODY = 65534


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def check(archive: Path, work: Path) -> list[dict[str, str]]:
    scratch = work / archive.name.removesuffix(".tar.gz") / "inner" / "scratch"
    scratch.mkdir(parents=True)
    with archive.open("rb") as file:
        found = check_scenario(file, scratch)
    assert (found.scenario is None) == bool(found.faults)
    return [{"code": fault.code, "where": fault.where, "message": fault.message, "hint": fault.hint} for fault in found.faults]


def leave_root() -> None:
    """Archives of strangers are not opened as root."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    assert 0 not in {os.getuid(), os.geteuid(), os.getgid(), os.getegid()}


def main(folder: Path) -> None:
    warm = folder / "the-real-scenario.tar.gz"
    warm.write_bytes(telco("entities", "telemetry"))
    assert check(warm, folder / "work") == []  # everything that is loaded once is loaded now
    leave_root()
    for archive in sorted((folder / "archives").iterdir()):
        before = peak_bytes()
        faults = check(archive, folder / "work")
        print(json.dumps({"name": archive.name.removesuffix(".tar.gz"), "faults": faults, "grown": peak_bytes() - before}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
