"""CSV for spreadsheets: no cell is a formula, and everything else stays what it is."""

import csv
import io
from datetime import date
from decimal import Decimal

import polars as pl
import pytest

from treadle.portal.safe_csv import safe_csv, safe_csv_of_parquet, safe_text

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠x", '=cmd|"/c calc"!A0']


@pytest.mark.parametrize("formula", FORMULAS)
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(formula):
    assert safe_text(formula) == f"'{formula}"
    [_, [cell]] = list(csv.reader(io.StringIO(safe_csv(pl.DataFrame({"x": [formula]})), newline="")))
    assert cell == f"'{formula}"


@pytest.mark.parametrize("text", ["", "West", "a=b", " =1", "'=1", "Zürich", "مرحبا", "🙂", "a-b", "1-2"])
def test_other_text_stays_as_it_is(text):
    assert safe_text(text) == text
    [_, [cell]] = list(csv.reader(io.StringIO(safe_csv(pl.DataFrame({"x": [text]})), newline="")))
    assert cell == text


def test_numbers_and_dates_stay_numbers_and_dates():
    frame = pl.DataFrame({"n": [-5], "m": [Decimal("-1.50")], "f": [-0.5], "d": [date(2026, 1, 2)], "b": [True]})
    assert safe_csv(frame).splitlines()[1].replace('"', "") == "-5,-1.50,-0.5,2026-01-02,true"
    assert "'" not in safe_csv(frame)
    assert safe_csv(frame).splitlines()[1].startswith("-5,-1.50,-0.5,"), "numbers are not even quoted"


def test_a_column_name_is_made_safe_too():
    assert safe_csv(pl.DataFrame({"=x()": [1], "y": [2]})).splitlines()[0].replace('"', "") == "'=x(),y"


def test_categories_are_text():
    frame = pl.DataFrame({"c": pl.Series(["=1", "a", None], dtype=pl.Categorical)})
    rows = list(csv.reader(io.StringIO(safe_csv(frame))))
    assert [row[0] if row else "" for row in rows] == ["c", "'=1", "a", ""]


def test_a_semicolon_in_text_begins_no_cell_of_its_own():
    assert '"a;=1+1"' in safe_csv(pl.DataFrame({"x": ["a;=1+1"]}))


def test_a_parquet_file_becomes_the_same_csv_with_the_mark_that_excel_knows_utf_8_by():
    frame = pl.DataFrame({"city": ["Zürich", "=1", None], "revenue": [Decimal("1.50"), None, Decimal(-2)]})
    file = io.BytesIO()
    frame.write_parquet(file)
    file.seek(0)
    made = safe_csv_of_parquet(file)
    assert made.startswith(b"\xef\xbb\xbf")
    assert made.decode("utf-8-sig") == safe_csv(frame)
