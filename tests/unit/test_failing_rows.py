"""Where the checks of a file fail: the row as a person counts it, the value as it stood, and why; the first ones of however many there are."""

import csv
import io
from datetime import UTC, date, datetime

import polars as pl
import pytest
import xlsxwriter

from treadle.flows.sales import failing_rows, profile, scan
from treadle.flows.sales.failing_rows import Cell, FailedCheck, FailingRows, cell, from_members, joined, kept_of, to_members
from treadle.flows.sales.profile import FileFacts, compute_inspection, compute_profile
from treadle.flows.sales.reading import failing_cells
from treadle.flows.sales.reading.read import read_clean_table
from treadle.portal.failing_csv import failing_rows_csv

TODAY = date(2026, 11, 21)
FILE = FileFacts("f.csv", 1, datetime(2026, 11, 20, tzinfo=UTC))
GOOD = [f"G{n},{n}.50,2026-01-02,x{n}" for n in range(3)]


@pytest.fixture
def inspect(tmp_path):
    """Look into a text or a file; returns the profile, and check → its failing cells as plain tuples."""

    def inspecting(source, name="f.csv"):
        path = tmp_path / name
        if isinstance(source, str | bytes):
            path.write_bytes(source.encode() if isinstance(source, str) else source)
        found, failed = compute_inspection(read_clean_table(path, scratch=tmp_path, inspecting=True), FILE, TODAY)
        return found, {one.check: [(kept.row, kept.column, kept.value) for kept in one.cells] for one in failed}

    return inspecting


def lines(*rows, header="order_id,Revenue,order_date,note"):
    return "\n".join([header, *GOOD, *rows]) + "\n"


@pytest.mark.parametrize(
    ("row", "check", "expected"),
    [
        ("A,abc,2026-01-01,n", "values_readable", (5, "Revenue", "abc")),
        ("A,abc,2026-01-01,n", "revenue_numeric", (5, "Revenue", "abc")),
        ("A,  ,2026-01-01,n", "revenue_present", (5, "Revenue", "  ")),
        (",1,2026-01-01,n", "order_id_present", (5, "order_id", None)),
        ("A,-1.50,2026-01-01,n", "revenue_non_negative", (5, "Revenue", "-1.50")),
        ("A,1.1234567,2026-01-01,n", "column_reading", (5, "Revenue", "1.1234567")),
        ("A,1,31.31.2026,n", "dates_parse", (5, "order_date", "31.31.2026")),
        ("A,1,2026-11-22,n", "dates_not_in_future", (5, "order_date", "2026-11-22")),
        ("G2,1,2026-01-01,n", "order_id_unique", (5, "order_id", "G2")),
        (GOOD[0], "duplicate_rows", (5, "", "G0 | 0.50 | 2026-01-02 | x0")),
        ("A,1", "short_rows", (5, "", "A,1")),
    ],
)
def test_a_check_that_fails_says_on_which_row_with_what_stood_there(inspect, row, check, expected):
    found, failed = inspect(lines(row, "Z,9,2026-01-09,z"))
    assert failed[check] == [expected]
    told = [validation["failing_rows"] for validation in found["validations"] if validation["check"] == check]
    assert told == [{"count": 1, "kept": 1}]


def test_rows_are_counted_as_a_spreadsheet_does_blank_ones_and_those_above_the_header_too(inspect):
    text = 'A title,,,\n,,,\norder_id,revenue,order_date,note\nA,1,2026-01-01,"two\nlines"\n,,,\nB,x,2026-01-01,\n'
    assert inspect(text)[1]["values_readable"] == [(6, "revenue", "x")]
    assert inspect(text)[1]["no_null_rows"] == [(5, "", None)]


def test_rows_with_more_fields_than_names_are_told_whole(inspect):
    text = "order_id,revenue\n" + "".join(f"{n},1,5\n" for n in range(5))
    assert inspect(text)[1]["unnamed_fields"][0] == (2, "", "0 | 1 | 5")


def test_a_workbook_shows_its_numbers_days_and_errors_as_it_does_itself(tmp_path, inspect):
    with xlsxwriter.Workbook(tmp_path / "f.xlsx") as book:
        sheet = book.add_worksheet()
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_row(1, 1, ["order_id", "Sales", "revenue", "ship date"])
        for row, (order, amount) in enumerate([(7, 5), (8, -3), (None, 4)], start=2):
            sheet.write_row(row, 1, [order, "s", amount])
            sheet.write_datetime(row, 4, datetime(2031, 5, 4), day)  # noqa: DTZ001 - a workbook has no zones
        sheet.write_formula("C4", "=1/0", None, "#DIV/0!")
        sheet.merge_range("B9:C9", "x")
    failed = inspect(None, "f.xlsx")[1]
    assert failed["revenue_non_negative"] == [(4, "revenue", "-3")]
    assert failed["dates_not_in_future"][0] == (3, "ship date", "2031-05-04")
    assert failed["order_id_present"][0] == (5, "order_id", None)
    assert failed["formula_errors"] == [(4, "Sales", "#DIV/0!")]
    assert failed["merged_cells"] == [(9, "order_id", "B9:C9")]


def test_of_many_rows_the_first_are_kept_and_the_number_of_all_is_told(inspect, monkeypatch):
    monkeypatch.setattr(profile, "ROWS_A_CHECK", 7)
    monkeypatch.setattr(profile, "ROWS_IN_ALL", 12)
    found, failed = inspect(lines(*(f"B{n},much,2026-01-02,n" for n in range(50))))
    assert failed["values_readable"] == [(row, "Revenue", "much") for row in range(5, 12)]
    assert len(failed["revenue_present"]) == 5, "no more than ROWS_IN_ALL of all checks"
    assert "revenue_numeric" not in failed
    told = {validation["check"]: validation.get("failing_rows") for validation in found["validations"]}
    assert told["values_readable"] == {"count": 50, "kept": 7}
    assert told["revenue_numeric"] is None


def test_where_very_many_columns_lose_values_the_cells_stay_bounded(inspect, monkeypatch):
    monkeypatch.setattr(failing_cells, "ROWS_IN_ALL", 5)
    names = [f"amount_{n}" for n in range(4)]
    rows = [f"A{n},1,{','.join('5' if n < 6 else 'x' for _ in names)}" for n in range(9)]
    table = inspect("\n".join([",".join(["order_id", "revenue", *names]), *rows]) + "\n")[0]
    lost = [one["failing_rows"] for one in table["validations"] if one["check"] == "values_readable" and "failing_rows" in one]
    assert [one["kept"] for one in lost] == [3, 2]
    assert {one["count"] for one in lost} == {3}


@pytest.mark.parametrize("near", [2, 1_000])
@pytest.mark.parametrize("in_memory", [2, 1_000])
def test_repeats_are_found_in_the_order_of_the_file_part_by_part_too(inspect, monkeypatch, near, in_memory):
    monkeypatch.setattr(scan, "_NEAR_ROWS", near)
    monkeypatch.setattr(scan, "GROUPS_IN_MEMORY", in_memory)
    text = "order_id,revenue,note\n" + "".join(f"{order},1,{n}\n" for n, order in enumerate(["A", "B", "", "A", "C", "B", "", "A"]))
    assert inspect(text)[1]["order_id_unique"] == [(5, "order_id", "A"), (7, "order_id", "B"), (9, "order_id", "A")]


def test_a_run_keeps_no_rows_and_its_profile_has_none(tmp_path):
    (tmp_path / "f.csv").write_text(lines("A,abc,2026-01-01,n"))
    table = read_clean_table(tmp_path / "f.csv", scratch=tmp_path)
    assert table.source is None
    assert all(finding.failing is None for finding in table.findings)
    assert not any("failing_rows" in validation for validation in compute_profile(table, FILE, TODAY)["validations"])


def test_a_file_in_another_encoding_shows_its_letters(inspect):
    assert inspect(lines("A,für 5 €,2026-01-01,n").encode("cp1252"))[1]["values_readable"] == [(5, "Revenue", "für 5 €")]


@pytest.mark.parametrize(
    "value", ["=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "\t=x", "-1+2", "＝1", 'a"b\nc', "**x** <b>", "٣", "\U0001f9f6", "a\0b"]
)
def test_no_value_becomes_a_formula_or_breaks_the_table(value):
    failed = [FailedCheck(0, "values_readable", "warning", "It could not be read.", 3, (cell(5, value, value), cell(6, "", None)))]
    content = failing_rows_csv(value, failed)
    assert content.startswith(b"\xef\xbb\xbf"), "so that a spreadsheet program knows that it is UTF-8"
    [head, first, second] = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    assert head == ["file", "row", "column", "value", "check", "severity", "reason", "listed"]
    safe = f"'{value}" if value[0] in "=+@\t-＝" else value
    assert (first[0], first[1], first[2], first[3]) == (safe, "5", safe, safe)
    assert (second[1:4], second[7]) == (["6", "", ""], "first 2 of 3 rows")


def test_a_negative_number_stays_one():
    content = failing_rows_csv("f", [FailedCheck(0, "c", "warning", "r", 1, (cell(2, "revenue", "-12.50"),))])
    assert '"-12.50"' in content.decode("utf-8-sig")


def test_nothing_that_is_kept_is_long():
    kept = cell(2, "c" * 5_000, "v" * 5_000)
    assert (len(kept.column), len(kept.value)) == (100, failing_rows.VALUE_LENGTH)


def test_what_is_kept_comes_back_as_it_was():
    failed = [FailedCheck(3, "a", "error", "because", 5, (Cell(2, "x", None), Cell(9, "", "y")))]
    assert from_members(to_members(failed)) == failed


@pytest.mark.parametrize(
    ("count", "kept", "told"), [(1, 1, "1 row"), (1234, 1234, "1,234 rows"), (4321, 1000, "first 1,000 of 4,321 rows")]
)
def test_how_many_are_there_is_told_in_words(count, kept, told):
    assert kept_of(count, kept) == told


def test_rows_of_several_columns_are_one_check_in_the_order_of_the_file():
    parts = [FailingRows("r", 2, (Cell(3, "a", "1"), Cell(9, "a", "2"))), FailingRows("r", 1, (Cell(5, "b", "3"),))]
    together = joined("why", parts)
    assert (together.reason, together.count, [one.row for one in together.cells]) == ("why", 3, [3, 5, 9])
    assert joined("why", []) is None


def test_parquet_rows_count_as_if_a_header_stood_above_them(tmp_path, inspect):
    pl.DataFrame({"order_id": ["A", None], "revenue": [1.0, -2.5]}).write_parquet(tmp_path / "f.parquet")
    failed = inspect(None, "f.parquet")[1]
    assert (failed["order_id_present"], failed["revenue_non_negative"]) == ([(3, "order_id", None)], [(3, "revenue", "-2.5")])
