"""The mirror of the checkpoint and the queue of what the database could not take: nothing lost, nothing recorded twice."""

import json
import multiprocessing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from treadle.errors import Conflict, OutcomeUnknown, Unavailable
from treadle.flows.weekly.checkpoint_mirror import CheckpointMirror, Replayed, write_atomically
from treadle.flows.weekly.record import PIPELINE, Checkpoint, RunEnd, RunStatus
from treadle.flows.weekly.week import week_of

WEEK = week_of(date(2019, 12, 2))
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def mirror(tmp_path) -> CheckpointMirror:
    return CheckpointMirror(tmp_path / "state")


def end_of(number: int) -> RunEnd:
    return RunEnd(
        UUID(int=number), WEEK, RunStatus.SUCCESS, 10, 9, 1, Decimal("10.123456"), "events", "rejects", stage_rows=4, advance=True
    )


def test_the_mirror_says_what_the_checkpoint_says(mirror):
    assert mirror.read() is None
    mirror.write(PIPELINE, Checkpoint(WEEK.next, WEEK, NOW))
    assert mirror.read() == {
        "pipeline_name": "reverse_etl_customer_weekly",
        "last_successful_week_start": "2019-12-02",
        "last_successful_week_end": "2019-12-08",
        "next_week_start": "2019-12-09",
        "next_week_end": "2019-12-15",
        "updated_at_utc": "2026-01-01T12:00:00Z",
        "pending": False,
    }
    assert sorted(path.name for path in mirror.folder.iterdir()) == ["extractor_state.json"]
    mirror.mirror_file.write_text("{torn")
    assert mirror.read() is None


def test_an_end_waits_in_the_queue_and_is_played_back_as_it_was(mirror):
    end, seen = end_of(1), []
    mirror.queue(end, NOW)
    mirror.queue(end, NOW + timedelta(minutes=1))
    assert mirror.waiting() == 1
    assert mirror.replay(seen.append) == Replayed(recorded=1)
    assert seen == [end]
    assert not mirror.pending_file.exists()
    assert mirror.replay(seen.append) == Replayed()


@pytest.mark.parametrize("away", [Unavailable("The database is away."), OutcomeUnknown("Lost in a commit.")])
def test_what_fails_again_stays_and_the_others_are_recorded(mirror, away):
    for number in (1, 2, 3):
        mirror.queue(end_of(number), NOW)
    seen: list[int] = []

    def record(end: RunEnd) -> None:
        if end.run_id.int == 2:
            raise away
        seen.append(end.run_id.int)

    assert mirror.replay(record) == Replayed(recorded=2, waiting=1)
    assert seen == [1, 3]
    assert mirror.replay(lambda end: seen.append(end.run_id.int)) == Replayed(recorded=1)
    assert seen == [1, 3, 2]


def test_what_cannot_be_read_or_is_refused_is_put_aside_and_never_lost(mirror):
    mirror.queue(end_of(1), NOW)
    bad = ["not json", '{"run_id": "x"}', "[1, 2]", json.dumps({**json.loads(mirror.pending_file.read_text()), "status": "MAYBE"})]
    mirror.pending_file.write_text("\n".join([*bad, mirror.pending_file.read_text().strip()]) + "\n\n")
    mirror.queue(end_of(2), NOW)

    def record(end: RunEnd) -> None:
        if end.run_id.int == 2:
            raise Conflict("It ended otherwise.")

    assert mirror.replay(record) == Replayed(recorded=1, aside=5)
    aside = [json.loads(line) for line in mirror.aside_file.read_text().splitlines()]
    assert [entry["line"] for entry in aside[:4]] == bad
    assert aside[4]["reason"] == "It ended otherwise."
    assert json.loads(aside[4]["line"])["run_id"] == str(UUID(int=2))
    assert mirror.waiting() == 0


def test_a_failure_nobody_foresaw_leaves_the_queue_whole(mirror):
    mirror.queue(end_of(1), NOW)
    before = mirror.pending_file.read_text()

    def record(_end: RunEnd) -> None:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError):
        mirror.replay(record)
    assert mirror.pending_file.read_text() == before


def _queue_many(folder: Path, ids: list[UUID]) -> None:
    for run_id in ids:
        CheckpointMirror(folder).queue(RunEnd(run_id, WEEK, RunStatus.FAILED, error_message="x"), NOW)


def test_processes_that_queue_at_once_lose_nothing(mirror):
    ids = [[uuid4() for _ in range(10)] for _ in range(3)]
    spawn = multiprocessing.get_context("spawn")
    children = [spawn.Process(target=_queue_many, args=(mirror.folder, mine)) for mine in ids]
    for child in children:
        child.start()
    for child in children:
        child.join()
    seen: set[UUID] = set()
    assert mirror.replay(lambda end: seen.add(end.run_id)).recorded == 30
    assert seen == {run_id for mine in ids for run_id in mine}


@pytest.mark.parametrize("place", ["/proc/nope", "file/child"])
def test_a_folder_that_cannot_be_used_is_told_by_the_name_of_its_setting(tmp_path, place):
    (tmp_path / "file").write_text("")
    mirror = CheckpointMirror(tmp_path / place)
    for use in (lambda: mirror.replay(lambda _end: None), lambda: mirror.queue(end_of(1), NOW)):
        with pytest.raises(Unavailable, match=r"STATE_DIR, .*(nope|child), cannot be used"):
            use()
    with pytest.raises(Unavailable, match="cannot be written"):
        mirror.write(PIPELINE, Checkpoint(WEEK.next, WEEK, NOW))
    if place == "file/child":
        for look in (mirror.waiting, mirror.read):
            with pytest.raises(Unavailable, match="STATE_DIR"):
                look()


def test_a_full_disk_leaves_the_older_file(tmp_path, monkeypatch):
    target = tmp_path / "state.json"
    write_atomically(target, "old")
    monkeypatch.setattr("os.fsync", lambda _file: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(Unavailable, match="No space left"):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
