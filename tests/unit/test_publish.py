import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

import pytest
from tests.unit.published_runs import NEW, NOW, OLD, RESTORE, finished_run, run_until_change, runs_seen

from treadle.errors import ChecksumMismatch, Conflict, NotFound, UnexpectedAnswer
from treadle.flows.sales.files import exclusively, write_bytes
from treadle.flows.sales.lakehouse import CURRENT, DATA_FILES, KPIS, MANIFEST, RUN_METADATA, current_path, run_path
from treadle.flows.sales.manifest import FileEntry, Manifest, choose_source, parse_manifest, parse_run_record
from treadle.flows.sales.publish import (
    publish_current,
    read_current,
    read_manifest,
    read_run_record,
    repair_current,
    verify_run,
    write_run_metadata,
)

PUBLISH_NEW = """
from pathlib import Path
from datetime import UTC, datetime
from uuid import UUID
from treadle.flows.sales.publish import publish_current, read_run_record
def work():
    root = Path({root!r})
    publish_current(root, read_run_record(root, UUID(int=2)), published_by=UUID(int=2), now=datetime.now(UTC))
"""


def publish(lakehouse, record, by=None):
    return publish_current(lakehouse, record, published_by=by or record.run_id, now=NOW)


def in_current(lakehouse):
    return sorted(path.name for path in (lakehouse / CURRENT).iterdir())


def test_publishing_fills_current_and_names_the_run(tmp_path):
    manifest = publish(tmp_path, finished_run(tmp_path, OLD))
    assert in_current(tmp_path) == sorted([*DATA_FILES, MANIFEST])
    assert read_manifest(tmp_path) == manifest
    assert (manifest.run_id, manifest.published_by_run, manifest.sequence) == (OLD, OLD, 1)
    assert runs_seen(tmp_path) == {str(OLD)}


def test_copies_that_are_there_already_are_moved_and_the_others_made(tmp_path):
    record = finished_run(tmp_path, OLD)
    made = {name: tmp_path / f"made-{name}" for name in DATA_FILES[:2]}
    for name, copy in made.items():
        shutil.copyfile(tmp_path / run_path(OLD, name), copy)
    numbers = {name: copy.stat().st_ino for name, copy in made.items()}
    publish_current(tmp_path, record, published_by=OLD, now=NOW, copies=made)
    assert {name: (tmp_path / current_path(name)).stat().st_ino for name in made} == numbers
    assert not any(copy.exists() for copy in made.values())
    assert runs_seen(tmp_path) == {str(OLD)}
    assert in_current(tmp_path) == sorted([*DATA_FILES, MANIFEST])


def test_each_publication_has_the_next_sequence_also_the_same_run_again(tmp_path):
    record = finished_run(tmp_path, OLD)
    assert [publish(tmp_path, record).sequence for _ in range(3)] == [1, 2, 3]


def test_a_restore_publishes_the_files_of_its_source_and_says_who_did(tmp_path):
    old, new = finished_run(tmp_path, OLD), finished_run(tmp_path, NEW)
    publish(tmp_path, old)
    publish(tmp_path, new)
    manifest = publish(tmp_path, old, by=RESTORE)
    assert (manifest.run_id, manifest.published_by_run, runs_seen(tmp_path)) == (OLD, RESTORE, {str(OLD)})


def test_before_the_first_publication_there_is_nothing_to_read(tmp_path):
    assert read_manifest(tmp_path) is None
    with pytest.raises(NotFound, match="Nothing is published"):
        read_current(tmp_path, KPIS)


def test_a_name_that_was_never_published_is_not_found(tmp_path):
    publish(tmp_path, finished_run(tmp_path, OLD))
    with pytest.raises(NotFound, match="secrets"):
        read_current(tmp_path, "secrets.json")


@pytest.mark.parametrize("name", DATA_FILES)
def test_a_damaged_source_file_is_named_and_current_stays_as_it_was(tmp_path, name):
    publish(tmp_path, finished_run(tmp_path, OLD))
    new = finished_run(tmp_path, NEW)
    damaged = tmp_path / run_path(NEW, name)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"X")
    with pytest.raises(ChecksumMismatch, match=name) as caught:
        publish(tmp_path, new)
    assert caught.value.details["folder"] == str(NEW)
    with pytest.raises(ChecksumMismatch, match=name):
        verify_run(tmp_path, NEW)
    assert runs_seen(tmp_path) == {str(OLD)}
    assert in_current(tmp_path) == sorted([*DATA_FILES, MANIFEST])


def test_a_missing_source_file_is_named(tmp_path):
    new = finished_run(tmp_path, NEW)
    (tmp_path / run_path(NEW, KPIS)).unlink()
    for attempt in (lambda: publish(tmp_path, new), lambda: verify_run(tmp_path, NEW)):
        with pytest.raises(ChecksumMismatch, match=f"{KPIS} .* missing"):
            attempt()


@pytest.mark.parametrize("change", ["other bytes", "other size", "gone"])
def test_a_file_in_current_that_disagrees_is_read_from_the_run_itself(tmp_path, change):
    publish(tmp_path, finished_run(tmp_path, OLD))
    path = tmp_path / current_path(KPIS)
    good = path.read_bytes()
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(good[:-1] + b"X" if change == "other bytes" else good + b"more")
    assert read_current(tmp_path, KPIS) == good
    assert repair_current(tmp_path) is True
    assert path.read_bytes() == good
    assert repair_current(tmp_path) is False


def test_when_both_copies_are_damaged_the_reader_is_told(tmp_path):
    publish(tmp_path, finished_run(tmp_path, OLD))
    for path in (current_path(KPIS), run_path(OLD, KPIS)):
        (tmp_path / path).write_bytes(b"rubbish")
    with pytest.raises(ChecksumMismatch, match=KPIS):
        read_current(tmp_path, KPIS)


def test_a_sealed_run_is_never_sealed_again(tmp_path):
    finished_run(tmp_path, OLD)
    before = (tmp_path / run_path(OLD, RUN_METADATA)).read_bytes()
    with pytest.raises(Conflict, match="never rewritten"):
        write_run_metadata(tmp_path, OLD, {"run_id": OLD})
    assert (tmp_path / run_path(OLD, RUN_METADATA)).read_bytes() == before


def test_a_run_that_is_not_there_and_one_that_did_not_finish_are_told_apart(tmp_path):
    (tmp_path / run_path(OLD)).mkdir(parents=True)
    with pytest.raises(NotFound, match="did not finish"):
        read_run_record(tmp_path, OLD)
    with pytest.raises(NotFound, match="not in the lakehouse"):
        read_run_record(tmp_path, NEW)


def test_metadata_of_another_run_is_refused(tmp_path):
    finished_run(tmp_path, OLD)
    content = (tmp_path / run_path(OLD, RUN_METADATA)).read_bytes()
    with pytest.raises(UnexpectedAnswer, match=str(OLD)):
        parse_run_record(content, NEW)


def a_manifest(**changes):
    entries = [{"name": name, "size_bytes": 1, "sha256": "0" * 64} for name in DATA_FILES]
    stored = {"run_id": str(OLD), "published_by_run": str(OLD), "published_at": NOW.isoformat(), "sequence": 1, "files": entries}
    return json.dumps(stored | changes).encode()


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b"[]",
            b"\xff\xfe",
            b"{}",
            a_manifest(run_id="x"),
            a_manifest(sequence=None),
            a_manifest(files=[]),
            a_manifest(published_at=5),
        ),
        a_manifest(files=[{"name": name, "size_bytes": 1, "sha256": "0"} for name in ("../../x", *DATA_FILES)]),
    ],
)
def test_a_manifest_that_is_none_is_refused(content):
    with pytest.raises(UnexpectedAnswer):
        parse_manifest(content)


def test_a_manifest_may_have_more_members_than_are_known():
    assert parse_manifest(a_manifest(colour="blue")).run_id == OLD


def test_publishing_mends_a_damaged_manifest(tmp_path):
    record = finished_run(tmp_path, OLD)
    publish(tmp_path, record)
    (tmp_path / current_path(MANIFEST)).write_bytes(b"{")
    publish(tmp_path, record)
    assert runs_seen(tmp_path) == {str(OLD)}


@pytest.mark.parametrize(
    ("size_bytes", "sha256", "source"),
    [
        (7, None, "current"),  # nothing but the size is known yet
        (7, "aa", "current"),
        (7, "bb", "run"),
        (8, "aa", "run"),
        (None, None, "run"),
    ],
)
def test_a_reader_goes_to_the_run_itself_as_soon_as_a_fact_disagrees(size_bytes, sha256, source):
    manifest = Manifest(OLD, RESTORE, NOW, 3, (FileEntry(KPIS, 7, "aa"),))
    expected = {"current": current_path(KPIS), "run": run_path(OLD, KPIS)}[source]
    assert choose_source(manifest, KPIS, size_bytes, sha256) == expected


def test_readers_never_see_two_runs_while_publishers_race(tmp_path):
    records = [finished_run(tmp_path, UUID(int=number), size=2000) for number in (1, 2, 3)]
    publish(tmp_path, records[0])
    ended = threading.Event()

    def read_on():
        reads = 0
        while not ended.is_set():
            assert len(runs_seen(tmp_path)) == 1
            reads += 1
        return reads

    with ThreadPoolExecutor(8) as threads:
        readers = [threads.submit(read_on) for _ in range(2)]
        publishers = [threads.submit(publish, tmp_path, record) for record in records * 5]
        sequences = sorted(publisher.result().sequence for publisher in publishers)
        ended.set()
        assert all(reader.result() for reader in readers)
    assert sequences == list(range(2, 17))
    manifest = read_manifest(tmp_path)
    assert runs_seen(tmp_path) == {str(manifest.run_id)}
    assert repair_current(tmp_path) is False


def test_one_publisher_at_a_time_and_the_other_is_told_who_is_in_the_way(tmp_path):
    with exclusively(tmp_path, wait_seconds=0), pytest.raises(Conflict, match="Another process"), exclusively(tmp_path, wait_seconds=0.1):
        pass
    with exclusively(tmp_path, wait_seconds=0):
        pass


@pytest.mark.kills
def test_a_publisher_killed_at_any_change_leaves_readers_with_one_whole_run(tmp_path):
    lakehouse = tmp_path / "lake"
    old, _ = finished_run(lakehouse, OLD), finished_run(lakehouse, NEW)
    publish(lakehouse, old)
    code = PUBLISH_NEW.format(root=str(lakehouse))
    kills, seen = 0, set()
    while run_until_change(kills + 1, code):
        kills += 1
        seen |= (runs := runs_seen(lakehouse))
        assert runs == {str(OLD)}
        torn = any((lakehouse / current_path(name)).read_bytes() != (lakehouse / run_path(OLD, name)).read_bytes() for name in DATA_FILES)
        assert repair_current(lakehouse) is torn
        assert in_current(lakehouse) == sorted([*DATA_FILES, MANIFEST])
        assert all((lakehouse / current_path(name)).read_bytes() == (lakehouse / run_path(OLD, name)).read_bytes() for name in DATA_FILES)
    assert kills >= 10
    assert runs_seen(lakehouse) == {str(NEW)}


@pytest.mark.kills
def test_publishing_again_after_a_kill_at_any_change_brings_the_new_run(tmp_path):
    lakehouse = tmp_path / "lake"
    old, new = finished_run(lakehouse, OLD), finished_run(lakehouse, NEW)
    publish(lakehouse, old)
    for number in (2, 5, 6, 7, 8, 9, 10):
        assert run_until_change(number, PUBLISH_NEW.format(root=str(lakehouse)))
        publish(lakehouse, new)
        assert runs_seen(lakehouse) == {str(NEW)}
        assert in_current(lakehouse) == sorted([*DATA_FILES, MANIFEST])
        publish(lakehouse, old)


def test_a_failed_copy_leaves_nothing_behind(tmp_path):
    record = finished_run(tmp_path, OLD)
    wrong = replace(record, files=(replace(record.files[0], sha256="0" * 64), *record.files[1:]))
    with pytest.raises(ChecksumMismatch):
        publish(tmp_path, wrong)
    assert in_current(tmp_path) == []


def test_writing_replaces_the_file_at_once_and_leaves_no_temporary(tmp_path):
    path = tmp_path / "x.json"
    for content in (b"one", b"two"):
        write_bytes(path, content)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"two", [path])
