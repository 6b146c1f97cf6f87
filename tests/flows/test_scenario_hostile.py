"""The corpus of hostile archives through the check, the plan and a whole build: told together, nothing outside the scratch folder, memory bounded.

The check runs in a process that is no root, also where the tests are.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.hostile_archives import ABSOLUTE, CORPUS, HONEST, archive_of
from tests.flows.hostile_trial import NOBODY
from tests.flows.scenario_place import open_place, place
from treadle.errors import InvalidInput
from treadle.flows.scenario.slots import Slot, list_documents

__all__ = ["open_place", "place"]  # fixtures

ROOT = Path(__file__).parents[2]
GROWN_BYTES = 64 * 1024**2
TRIAL_SECONDS = 240


class Trial:
    """What came of checking the whole corpus in one child process, one archive after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.work = folder, folder / "work"
        (folder / "archives").mkdir()
        for name in [*CORPUS, *HONEST]:
            work = self.work / _slug(name)
            (work / "inner").mkdir(parents=True)
            for canary in self.canaries(name):
                canary.write_text("untouched")
            (folder / "archives" / f"{_slug(name)}.tar.gz").write_bytes(archive_of(name))
        if os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        ran = subprocess.run(
            [sys.executable, "-m", "tests.flows.hostile_trial", str(folder)],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "POLARS_MAX_THREADS": "2"},
            capture_output=True,
            text=True,
            timeout=TRIAL_SECONDS,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-4000:]
        self.told = {line["name"]: line for line in map(json.loads, ran.stdout.splitlines())}

    def canaries(self, name: str) -> list[Path]:
        """Where hostile archives aim: beside the scratch folder, one above, and beside that."""
        work = self.work / _slug(name)
        return [work / "inner" / "canary", work / "canary", work / "inner" / "canary.csv"]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    folder = Path(tempfile.mkdtemp(prefix="treadle-hostile-"))  # not pytest's own, in which only its owner may walk
    try:
        yield Trial(folder)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_archive_ends_in_faults_that_say_where_and_what_to_do(trial, name):
    faults = trial.told[_slug(name)]["faults"]
    assert {fault["code"] for fault in faults} >= CORPUS[name][1]
    for fault in faults:
        assert fault["where"]
        assert fault["hint"]
        assert fault["where"].isprintable()
        assert fault["message"].isprintable()
        assert len(fault["message"]) < 2_000


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_archive_with_small_oddities_has_no_faults(trial, name):
    assert trial.told[_slug(name)]["faults"] == []


@pytest.mark.parametrize("name", [*CORPUS, *HONEST])
def test_no_file_is_touched_outside_the_scratch_folder_and_none_within_has_a_name_of_the_archives(trial, name):
    assert [canary.read_text() for canary in trial.canaries(name)] == ["untouched"] * 3
    work = trial.work / _slug(name)
    scratch = work / "inner" / "scratch"
    outside = {path for path in work.rglob("*") if scratch not in path.parents}
    assert outside == {work / "inner", scratch, *trial.canaries(name)}
    assert all(path.is_file() and not path.is_symlink() and re.fullmatch(r"\d{5}\.csv", path.name) for path in scratch.iterdir())
    assert not Path(ABSOLUTE).exists()


def test_no_archive_makes_the_process_grow_beyond_bounds(trial):
    assert {name: line["grown"] // 1024**2 for name, line in trial.told.items() if line["grown"] > GROWN_BYTES} == {}


def test_everything_that_does_not_end_the_reading_is_told_together(trial):
    faults = trial.told["all-small-sins-at-once"]["faults"]
    assert [fault["code"] for fault in faults] == ["name_refused"] * 3 + ["kind_refused", "names_collide", "name_twice"]


NO_GZIP = {"a ZIP", "nothing"}
OF_ARCHIVES = {"kind_refused", "name_refused", "name_twice", "names_collide", "too_many_members", "ratio_too_high"} | {
    "archive_cut_off", "tar_damaged", "gzip_damaged", "not_gzip",
}  # fmt: skip


def stream(name: str) -> io.BytesIO:
    return io.BytesIO(archive_of(name))


def nothing_was_made(place) -> bool:
    return place.items() == {} and place.scratch_left() == [] and not Path(ABSOLUTE).exists()


def test_the_plan_of_each_hostile_archive_is_its_faults_and_changes_nothing(place):
    for name, (_, codes) in CORPUS.items():
        plan = place.plan({Slot.GRAPH: stream(name)})
        assert {fault.code for fault in plan.faults} >= codes, name
        assert plan.changes == (), name
        assert not plan.can_be_applied
    assert nothing_was_made(place)


def test_a_build_of_each_hostile_archive_fails_at_once_with_all_faults_and_makes_nothing(place):
    asked = {}
    for name in CORPUS:
        if name in NO_GZIP:
            with pytest.raises(InvalidInput):
                place.request({Slot.GRAPH: stream(name)})
        else:
            asked[name] = place.request({Slot.GRAPH: stream(name)})
    assert place.worker().run_until_idle(timeout_seconds=240)
    for name, job in asked.items():
        ended = place.job(job)
        assert (ended.state, ended.attempt) == ("FAILED", 1), name
        assert {fault["code"] for fault in ended.error_details["faults"]} >= CORPUS[name][1], name
        assert ended.error_hint, name
    assert nothing_was_made(place)


def test_a_hostile_archive_of_telemetry_fails_as_one_of_a_graph_does(place):
    names = [name for name, (_, codes) in CORPUS.items() if codes <= OF_ARCHIVES and name not in NO_GZIP]
    asked = {name: place.request({Slot.TELEMETRY: stream(name)}) for name in names}
    assert place.worker().run_until_idle(timeout_seconds=240)
    for name, job in asked.items():
        ended = place.job(job)
        assert ended.state == "FAILED", name
        assert {fault["code"] for fault in ended.error_details["faults"]} >= CORPUS[name][1], name
    assert nothing_was_made(place)


def test_a_hostile_archive_of_runbooks_fails_the_same_way_and_stores_no_document(place):
    names = [name for name, (_, codes) in CORPUS.items() if codes <= OF_ARCHIVES and name not in NO_GZIP]
    asked = {name: place.request({Slot.RUNBOOKS: stream(name)}) for name in names}
    assert place.worker().run_until_idle(timeout_seconds=240)
    for name, job in asked.items():
        ended = place.job(job)
        assert ended.state == "FAILED", name
        told = {fault["code"] for fault in ended.error_details["faults"]}
        assert told >= CORPUS[name][1] or told == {"member_too_large"}, name  # no document is as large as a table
    assert list_documents(place.services.documents, "telco-noc") == []
    assert nothing_was_made(place)


def test_after_all_of_it_an_honest_archive_with_oddities_is_built_in_the_same_place(place):
    for name in ("leads out", "200 KB for 200 MB", "a tag that runs code"):
        assert place.work(place.request({Slot.GRAPH: stream(name)})).state == "FAILED"
    for name in HONEST:
        job = place.build({Slot.GRAPH: stream(name)}, scenario_name="shop")
        assert job.result["scenario_name"] == "shop"
        assert place.delta_rows() == {"Order": 3, "Shop": 2}
