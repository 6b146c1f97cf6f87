"""`treadle files profile --failing-rows`: the same rows, whether the file is here, in the lake, or was looked into already."""

import csv
import io
from pathlib import Path

import pytest


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    path = tmp_path / "faulty.csv"
    path.write_text("order_id,revenue,note\nA,1.50,x\nB,=much,y\n,-3,z\n")
    return path


def rows_in(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")))


def test_the_rows_are_written_as_csv_for_a_file_here_and_for_one_in_the_lake(treadle, faulty, tmp_path):
    here = treadle("files", "profile", str(faulty), "--failing-rows", "here.csv", state=None)
    assert here.code == 0, here.err
    assert "here.csv is written: " in here.err
    [head, *rows] = rows_in(tmp_path / "here.csv")
    assert head[:5] == ["file", "row", "column", "value", "check"]
    assert ["faulty.csv", "3", "revenue", "'=much", "values_readable"] in [row[:5] for row in rows]
    assert ["faulty.csv", "4", "revenue", "-3", "revenue_non_negative"] in [row[:5] for row in rows]
    treadle("files", "upload", str(faulty), "--name", "in-the-lake.csv")
    there = treadle("files", "profile", "in-the-lake.csv", "--failing-rows", "there.csv", "--json")
    assert there.code == 0, there.err
    assert [row[1:] for row in rows_in(tmp_path / "there.csv")] == [row[1:] for row in rows_in(tmp_path / "here.csv")]
    assert any(check.get("failing_rows") for check in there.data["validations"])


def test_a_file_in_which_nothing_fails_gives_a_table_without_rows_and_says_so(treadle, tmp_path):
    (tmp_path / "fine.csv").write_text("order_id,revenue\nA,1\nB,2\n")
    answer = treadle("files", "profile", "fine.csv", "--failing-rows", "none.csv", state=None)
    assert answer.code == 0, answer.err
    assert "no check failed on a row" in answer.err
    assert len(rows_in(tmp_path / "none.csv")) == 1
