"""TRANSFORM as a whole: every record in exactly one of two files, the same bytes each time, all or nothing."""

import json
import resource
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unit.weekly_records import HOSTILE, INGESTED_AT, ORDINARY, WEEK, extract_of, record, values_of

from treadle.errors import ChecksumMismatch, InvalidInput, Unavailable, UnexpectedAnswer
from treadle.flows.weekly.contract import Rejected, judge
from treadle.flows.weekly.extract import Extracted
from treadle.flows.weekly.transform import EVENTS_FILE, REJECTS_FILE, RESULT_FILE, read_transformed, transform_week

ROOT = Path(__file__).parents[2]


def many(count: int, first: int = 0) -> list[bytes]:
    """Ordinary records of as many users."""
    return [record(user_id=f'"{number}"', price=f"{number % 1000}.{number % 100:02}") for number in range(first, first + count)]


def pages_with_defects() -> list[list[bytes]]:
    """More records than a chunk holds, hostile ones among them; 98 % are valid."""
    pages = [many(1000, 1000 * number) for number in range(35)]
    for number, page in enumerate(pages):
        page[number : number + 10] = HOSTILE[number % len(HOSTILE) :][:10]
    return pages


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"pages"}


def test_every_record_is_in_exactly_one_file_as_the_judge_decided(tmp_path):
    pages = pages_with_defects()
    done = transform_week(extract_of(tmp_path, pages), tmp_path)
    flat = [(number, raw, judge(raw, WEEK)) for number, page in enumerate(pages, 1) for raw in page]
    events, rejects = pl.read_parquet(done.events_path), pl.read_parquet(done.rejects_path)
    assert list(events.select(ORDINARY.keys()).iter_rows()) == [values for _, _, verdict in flat if (values := values_of(verdict))]
    rejected = [(row, number, raw, verdict) for row, (number, raw, verdict) in enumerate(flat) if isinstance(verdict, Rejected)]
    assert list(rejects.select("row_index", "page", "raw_record", "rule").iter_rows()) == [
        (row, number, raw, verdict.errors[0].rule) for row, number, raw, verdict in rejected
    ]
    assert (done.rows_fetched, done.rows_valid, done.rows_rejected) == (35_000, events.height, rejects.height)
    assert done.rejects_by_rule == Counter(error.rule for _, _, _, verdict in rejected for error in verdict.errors)
    assert done.reject_rate_pct == (Decimal(100 * rejects.height) / 35_000).quantize(Decimal("0.000001"))


def test_the_files_are_what_the_contract_says(tmp_path):
    done = transform_week(extract_of(tmp_path, [[*many(30), b"5"]]), tmp_path)
    file = pq.ParquetFile(done.events_path)
    moment, text = pa.timestamp("us", tz="UTC"), pa.string()
    assert [(field.name, field.type) for field in file.schema_arrow] == [
        ("event_time", moment),
        *((name, text) for name in ("event_type", "product_id", "category_id", "category_code", "brand")),
        ("price", pa.decimal128(38, 6)),
        *((name, text) for name in ("user_id", "user_session")),
        *((name, pa.date32()) for name in ("batch_week_start", "batch_week_end")),
        ("ingested_at", moment),
    ]
    assert {file.metadata.row_group(0).column(index).compression for index in range(12)} == {"SNAPPY"}
    row = pl.read_parquet(done.events_path).row(0, named=True)
    assert (row["batch_week_start"], row["batch_week_end"], row["ingested_at"]) == (WEEK.start, WEEK.end, INGESTED_AT)
    assert pq.ParquetFile(done.rejects_path).schema_arrow.names == [
        *("row_index", "page", "rule", "field", "value", "reason", "errors", "raw_record"),
        *("batch_week_start", "batch_week_end", "ingested_at"),
    ]


def test_the_same_extract_makes_the_same_bytes_and_their_hash_is_told(tmp_path):
    extracted = extract_of(tmp_path, pages_with_defects())
    first = transform_week(extracted, tmp_path)
    bytes_of_first = [path.read_bytes() for path in (first.events_path, first.rejects_path)]
    again = transform_week(extracted, tmp_path, force=True)
    assert again == first
    assert [path.read_bytes() for path in (again.events_path, again.rejects_path)] == bytes_of_first
    assert [len(content) for content in bytes_of_first] == [first.events_bytes, first.rejects_bytes]
    hashes = subprocess.run(["sha256sum", first.events_path, first.rejects_path], capture_output=True, text=True, check=True).stdout.split()
    assert hashes[::2] == [first.events_sha256, first.rejects_sha256]


def test_what_is_done_is_not_done_again_unless_the_extract_or_a_file_changed(tmp_path):
    extracted = extract_of(tmp_path, [many(50)])
    asked: list[int] = []

    def transform(of: Extracted = extracted, **options):
        asked.clear()
        return transform_week(of, tmp_path, on_progress=lambda _done, total: asked.append(total), **options)

    done = transform()
    assert (read_transformed(tmp_path), asked) == (done, [50])
    assert (transform(), asked) == (done, [])
    assert (transform(force=True), asked) == (done, [50])
    done.events_path.write_bytes(b"PAR1")
    assert (transform(), asked) == (done, [50])
    assert transform(extract_of(tmp_path, [many(50), many(1)])).rows_fetched == 51
    extract_of(tmp_path, [many(50)])
    (tmp_path / RESULT_FILE).write_text("{")
    assert read_transformed(tmp_path) is None
    assert (transform(), asked) == (done, [50])


def test_a_batch_with_too_few_valid_records_is_refused_and_its_rejects_are_kept(tmp_path):
    good = extract_of(tmp_path, [many(100)])
    transform_week(good, tmp_path)
    bad = extract_of(tmp_path, [[*many(94), *[record(price='"abc"')] * 6]])
    with pytest.raises(
        InvalidInput, match=r"6 of the 100 records of 2019-12-02…2019-12-08 break the contract \(not_a_number most often\)"
    ) as refused:
        transform_week(bad, tmp_path)
    assert names_in(tmp_path) == {REJECTS_FILE}
    assert pl.read_parquet(tmp_path / REJECTS_FILE)["row_index"].to_list() == list(range(94, 100))
    assert refused.value.details["rejects_by_rule"] == {"not_a_number": 6}
    assert refused.value.details["reject_rate_pct"] == "6.000000"


def test_ninety_five_percent_are_enough(tmp_path):
    assert transform_week(extract_of(tmp_path, [[*many(95), *[b"5"] * 5]]), tmp_path).rows_rejected == 5


def test_an_extract_without_records_makes_files_without_rows(tmp_path):
    done = transform_week(extract_of(tmp_path, []), tmp_path)
    assert (done.rows_fetched, done.reject_rate_pct) == (0, 0)
    assert pl.read_parquet(done.events_path).height == pl.read_parquet(done.rejects_path).height == 0


def test_progress_is_told_chunk_by_chunk_and_a_stop_leaves_nothing(tmp_path):
    extracted = extract_of(tmp_path, [many(1000) for _ in range(70)])
    told: list[tuple[int, int]] = []
    transform_week(extracted, tmp_path, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(32_000, 70_000), (64_000, 70_000), (70_000, 70_000)]
    for name in names_in(tmp_path):
        (tmp_path / name).unlink()

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transform_week(extracted, tmp_path, check=stop)
    assert names_in(tmp_path) == set()


def test_pages_that_are_not_what_was_counted_are_noticed(tmp_path):
    extracted = extract_of(tmp_path, [many(10), many(10, first=10)])
    first, second = extracted.pages
    miscounted = type(first)(first.number, first.path, 11, first.size_bytes, first.sha256)
    with pytest.raises(UnexpectedAnswer, match="hold 20 records, but 21 were counted"):
        transform_week(Extracted(WEEK, (miscounted, second), 21, None, WEEK.opens_at, WEEK.closes_at, INGESTED_AT), tmp_path)
    second.path.write_bytes(first.path.read_bytes())
    with pytest.raises(ChecksumMismatch):
        transform_week(extracted, tmp_path)
    assert names_in(tmp_path) == set()


def test_times_of_now_do_not_enter_the_files(tmp_path):
    """A resumed extract keeps the time at which it began; only that time is in the files."""
    extracted = extract_of(tmp_path, [many(10)])
    done = transform_week(extracted, tmp_path)
    later = Extracted(WEEK, extracted.pages, 10, 10, WEEK.opens_at, WEEK.closes_at, datetime(2020, 1, 1, tzinfo=UTC))
    assert transform_week(later, tmp_path).events_sha256 != done.events_sha256
    assert transform_week(extracted, tmp_path).events_sha256 == done.events_sha256


_CHILD = """
import os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.unit.weekly_records import extract_of
from tests.unit.test_weekly_transform import many
from treadle.flows.weekly.transform import transform_week
"""


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _CHILD.format(root=str(ROOT)) + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.mark.kills
def test_a_transform_that_was_killed_is_done_again_with_the_same_result(tmp_path):
    pages = [many(1000, 1000 * number) for number in range(150)]
    expected = transform_week(extract_of(tmp_path / "whole", pages), tmp_path / "whole")
    extracted = extract_of(tmp_path / "killed", pages)
    killed = child(
        """
folder = Path(sys.argv[1])
pages = [many(1000, 1000 * number) for number in range(150)]
def die_behind_a_row_group(done, total):
    if done > 131_072:
        os.kill(os.getpid(), 9)
transform_week(extract_of(folder, pages), folder, on_progress=die_behind_a_row_group)
""",
        tmp_path / "killed",
    )
    _, stderr = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, stderr
    assert names_in(tmp_path / "killed") == {f".{EVENTS_FILE}.new", f".{REJECTS_FILE}.new"}
    assert (tmp_path / "killed" / f".{EVENTS_FILE}.new").stat().st_size > 100_000
    done = transform_week(extracted, tmp_path / "killed")
    assert (done.events_sha256, done.rejects_sha256) == (expected.events_sha256, expected.rejects_sha256)
    assert names_in(tmp_path / "killed") == {EVENTS_FILE, REJECTS_FILE, RESULT_FILE}


def test_a_full_disk_is_told_and_replaces_nothing(tmp_path):
    """A limit on the size of files stands for the disk: the writes fail in the same place."""
    before = transform_week(extract_of(tmp_path, [many(10)]), tmp_path)
    extracted = extract_of(tmp_path, [many(1000, 1000 * number) for number in range(40)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(Unavailable, match="cannot be written") as full:
            transform_week(extracted, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert full.value.hint
    assert "nothing was replaced" in full.value.hint
    assert names_in(tmp_path) == {EVENTS_FILE, REJECTS_FILE, RESULT_FILE}
    assert read_transformed(tmp_path) == before
    assert pl.read_parquet(before.events_path).height == 10
    assert transform_week(extracted, tmp_path).rows_valid == 40_000


def test_a_folder_that_cannot_be_one_is_told(tmp_path):
    extracted = extract_of(tmp_path, [many(10)])
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InvalidInput, match="cannot be written"):
        transform_week(extracted, tmp_path / "taken")


def test_memory_does_not_grow_with_the_number_of_records(tmp_path):
    measuring = child(
        """
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
folder = Path(sys.argv[1])
page = many(1000)
small, large = extract_of(folder / "small", [page] * 130), extract_of(folder / "large", [page] * 520)
transform_week(small, folder / "small")
after_small = peak()
transform_week(large, folder / "large")
print(after_small, peak())
""",
        tmp_path,
    )
    stdout, stderr = measuring.communicate(timeout=240)
    assert measuring.returncode == 0, stderr
    after_small, after_large = map(float, stdout.split())
    assert after_large < after_small + 100, "four times the records"
    assert after_large < 700


def test_the_result_is_stored_as_json_beside_its_files(tmp_path):
    done = transform_week(extract_of(tmp_path, [[*many(30), b"5"]]), tmp_path)
    told = json.loads((tmp_path / RESULT_FILE).read_bytes())
    assert told["week"] == {"start": "2019-12-02", "end": "2019-12-08"}
    assert (told["events_path"], told["rejects_by_rule"], told["reject_rate_pct"]) == (EVENTS_FILE, {"not_an_object": 1}, "3.225806")
    moved = tmp_path.with_name("moved")
    tmp_path.rename(moved)
    found = read_transformed(moved)
    assert found is not None
    assert (found.events_path, found.events_sha256) == (moved / EVENTS_FILE, done.events_sha256)
