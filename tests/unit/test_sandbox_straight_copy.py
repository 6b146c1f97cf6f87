"""Which tables a refresh of the sandbox's graph loads straight from their files, and which it looks at row by row."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from treadle.sandbox.fabric.graph.straight_copy import straight_copy

COLUMNS = {"Id": ["a", "b"], "Count": [1, 2], "At": [datetime(2026, 1, 1, tzinfo=UTC)] * 2}


def open_table(folder: Path, frame: pl.DataFrame, **options) -> DeltaTable:
    write_deltalake(str(folder), frame, **options)
    return DeltaTable(str(folder))


def wanted(**changes):
    source = {"filter": None, "keys": [["Id"]], "columns": {"p0": "Count", "p1": "At"}} | changes
    return {"table": "n0", "columns": [["p0", "INT"], ["p1", "ZONED DATETIME"]], "sources": [source]}


def test_a_table_whose_columns_have_the_types_of_the_properties_is_loaded_straight(tmp_path):
    table = open_table(tmp_path / "t", pl.DataFrame(COLUMNS))
    (file,) = table.file_uris()
    assert straight_copy(wanted(), table) == (
        f"COPY n0 FROM (LOAD FROM ['{file}'] WHERE `Id` IS NOT NULL RETURN CAST(`Id` AS STRING), `Count`, `At`)"
    )


@pytest.mark.parametrize(
    ("changes", "frame"),
    [
        ({"filter": {"operator": "Equal", "columnName": "Id", "value": "a"}}, COLUMNS),
        ({"keys": [["Id", "Count"]]}, COLUMNS),
        ({"keys": [["Nowhere"]]}, COLUMNS),
        ({"columns": {"p0": "Count"}}, COLUMNS),
        ({}, COLUMNS | {"Count": ["1", "2"]}),
        ({}, COLUMNS | {"it's `mine`": [3, 4]}),
    ],
)
def test_whatever_needs_a_look_at_each_row_is_not_loaded_straight(tmp_path, changes, frame):
    assert straight_copy(wanted(**changes), open_table(tmp_path / "t", pl.DataFrame(frame))) is None


def test_a_partitioned_table_or_one_whose_path_is_not_plain_is_not_loaded_straight(tmp_path):
    assert straight_copy(wanted(), open_table(tmp_path / "t", pl.DataFrame(COLUMNS), partition_by=["Count"])) is None
    assert straight_copy(wanted(), open_table(tmp_path / "it's", pl.DataFrame(COLUMNS))) is None
