from dataclasses import replace
from datetime import UTC, date, datetime

import polars as pl
import pytest
from tests.unit.sales_tables import clean_table

from treadle.flows.sales import artifacts
from treadle.flows.sales.artifacts import CSV, PARQUET, list_warnings, over_the_fastest
from treadle.flows.sales.files import entry_of
from treadle.flows.sales.lakehouse import COPIES
from treadle.flows.sales.profile import FileFacts
from treadle.flows.sales.table import Finding

COLUMNS = {
    "order_id": ["007", "008", "009"],
    "revenue": ["1.5", None, "-2"],
    "note": ['say "hi", you', "", None],
    "order_date": [date(2024, 1, 2)] * 3,
}


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("written_by_reading", [True, False])
def test_both_files_hold_the_table_however_it_came(tmp_path, monkeypatch, short, written_by_reading):
    table = clean_table(COLUMNS)
    if written_by_reading:
        table.frame.collect().write_parquet(tmp_path / "scratch.parquet")
        table = replace(table, frame=pl.scan_parquet(tmp_path / "scratch.parquet"), parquet=tmp_path / "scratch.parquet")
    expected = table.frame.collect()
    monkeypatch.setattr(artifacts, "_IN_MEMORY_ROWS", 10 if short else 0)
    over = over_the_fastest(table, tmp_path)
    entries = artifacts._write_tables(over, tmp_path)
    assert over.frame.collect().equals(expected)
    assert pl.read_parquet(tmp_path / PARQUET).equals(expected)
    assert (tmp_path / CSV).read_text(encoding="utf-8") == (
        'order_id,revenue,note,order_date\n007,1.500000,"say ""hi"", you",2024-01-02\n008,,"",2024-01-02\n009,-2.000000,,2024-01-02\n'
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([COPIES, CSV, PARQUET])
    assert (
        entries
        == [entry_of(tmp_path / PARQUET), entry_of(tmp_path / CSV)]
        == [entry_of(tmp_path / COPIES / name) for name in (PARQUET, CSV)]
    )


def test_a_profile_that_fails_is_a_warning_and_still_a_profile():
    table = clean_table(COLUMNS)
    broken = replace(table, frame=table.frame.with_columns(pl.col("note").cast(pl.Int64, strict=True).cast(pl.String)))
    profile, findings = artifacts._profile(broken, FileFacts("x.csv", 1, datetime(2026, 1, 1, tzinfo=UTC)), date(2026, 1, 1))
    assert [(finding.check, finding.severity) for finding in findings] == [("profile", "warning")]
    assert [column["column"] for column in profile["schema"]] == list(COLUMNS)


def test_warnings_are_told_once_and_information_and_passed_checks_are_not():
    warning = Finding("a", passed=False, detail="bad", severity="warning")
    validations = [
        {"check": "a", "passed": False, "detail": "bad", "severity": "warning"},
        {"check": "b", "passed": False, "detail": "worse", "severity": "error"},
        {"check": "c", "passed": False, "detail": "so it is", "severity": "info"},
        {"check": "d", "passed": True, "detail": "good", "severity": "warning"},
    ]
    assert list_warnings([warning], validations) == ["bad", "worse"]
