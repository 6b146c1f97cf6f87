"""CSV for Bulk API 2.0: what the csv module reads back is what was meant, in files that never exceed their limit."""

import csv
import hashlib
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from treadle.errors import InvalidInput
from treadle.flows.weekly.bulk_csv import write_bulk_csv

COLUMNS = {"Key__c": pl.String, "Text__c": pl.String, "Kept__c": pl.String}
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text(alphabet="\",\n\r;' #N/A\t", max_size=12)
cells = (st.none() | texts).filter(lambda text: text != "#N/A")


def _read(parts):
    rows = []
    for part in parts:
        with part.path.open(encoding="utf-8", newline="") as file:
            header, *body = list(csv.reader(file, strict=True))
        assert header == list(COLUMNS)
        assert len(body) == part.rows
        rows += [tuple(row) for row in body]
    return rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts.filter(bool), cells, cells).filter(lambda row: row[0] != "#N/A"), max_size=40), st.integers(150, 1_000))
def test_no_record_is_cut_and_every_cell_is_read_back(tmp_path, rows, limit_bytes):
    parts = write_bulk_csv(
        pl.DataFrame(rows, COLUMNS, orient="row"), tmp_path / "csv", clears=frozenset({"Text__c"}), limit_bytes=limit_bytes
    )
    assert _read(parts) == [(key, text or "#N/A", kept or "") for key, text, kept in rows]
    assert all(part.size_bytes == part.path.stat().st_size <= limit_bytes for part in parts)
    assert [hashlib.sha256(part.path.read_bytes()).hexdigest() for part in parts] == [part.sha256 for part in parts]
    assert {path.name for path in (tmp_path / "csv").iterdir()} == {part.path.name for part in parts}


def test_values_are_written_as_salesforce_reads_them(tmp_path):
    row = {
        "Spend__c": [Decimal("1234.50"), None],
        "Count__c": [7, None],
        "Day__c": [date(2019, 12, 2), None],
        "At__c": [datetime(2019, 12, 8, 23, 59, 59, 123456, tzinfo=UTC), None],
        "Flag__c": [True, None],
    }
    frame = pl.DataFrame(row).with_columns(pl.col("Spend__c").cast(pl.Decimal(38, 2)))
    (part,) = write_bulk_csv(frame, tmp_path, clears=frozenset(row))
    assert part.path.read_text(encoding="utf-8") == (
        "Spend__c,Count__c,Day__c,At__c,Flag__c\n1234.50,7,2019-12-02,2019-12-08T23:59:59.123Z,true\n#N/A,#N/A,#N/A,#N/A,#N/A\n"
    )
    (part,) = write_bulk_csv(frame[:1], tmp_path, clears=frozenset(row))
    assert part.path.read_text(encoding="utf-8").splitlines()[1] == "1234.50,7,2019-12-02,2019-12-08T23:59:59.123Z,true"


def test_a_text_that_is_the_mark_itself_is_refused_and_nothing_stays(tmp_path):
    with pytest.raises(InvalidInput, match="Text__c"):
        write_bulk_csv(pl.DataFrame([("1", "#N/A", "")], COLUMNS, orient="row"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_row_longer_than_a_file_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="One row takes"):
        write_bulk_csv(pl.DataFrame([("1", "x" * 500, "")], COLUMNS, orient="row"), tmp_path, limit_bytes=300)


def test_files_end_after_whole_batches_and_fill_the_limit(tmp_path):
    frame = pl.DataFrame({"Key__c": [f"{number:09}" for number in range(123_456)]})
    parts = write_bulk_csv(frame, tmp_path, limit_bytes=350_000)
    assert [part.rows for part in parts] == [30_000, 30_000, 30_000, 33_456]
    assert all(part.size_bytes <= 350_000 for part in parts)


def test_a_lazy_frame_gives_the_same_files_however_it_is_stored(tmp_path):
    frame = pl.DataFrame({"Key__c": [f"{number:09}" for number in range(123_456)], "Text__c": ["é,"] * 123_456})
    written = write_bulk_csv(frame, tmp_path / "eager", limit_bytes=700_000)
    for group in (1_000, 77_777):
        frame.write_parquet(tmp_path / "rows.parquet", row_group_size=group)
        lazily = write_bulk_csv(pl.scan_parquet(tmp_path / "rows.parquet"), tmp_path / "lazy", limit_bytes=700_000)
        assert [part.sha256 for part in lazily] == [part.sha256 for part in written]


def test_files_of_an_earlier_longer_writing_are_gone(tmp_path):
    frame = pl.DataFrame({"Key__c": [f"{number:09}" for number in range(40_000)]})
    assert len(write_bulk_csv(frame, tmp_path, limit_bytes=150_000)) == 4
    assert len(write_bulk_csv(frame[:10_000], tmp_path, limit_bytes=150_000)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["part-000001.csv"]
    assert write_bulk_csv(frame[:0], tmp_path) == []
    assert list(tmp_path.iterdir()) == []
