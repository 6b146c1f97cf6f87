"""The management commands of telemetry, and the types that a CSV file gets on its way to Parquet. Pure."""

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from treadle.errors import InvalidInput
from treadle.flows.scenario import telemetry
from treadle.flows.scenario.asked import Asked, asked_in, asked_payload, check_asked
from treadle.flows.scenario.column_types import Column, Reason
from treadle.flows.scenario.parquet import typed, write_parquet
from treadle.flows.scenario.scenario import Table
from treadle.flows.scenario.schema import ValueType

WORKSPACE = "0f8fad5b-d9cb-469f-a165-70867728950e"


def table(*columns: tuple[str, ValueType], path: Path = Path("none")) -> Table:
    return Table("T", "T.csv", path, "ab" * 32, 1, 1, tuple(Column(name, kind, Reason.INFERRED) for name, kind in columns))


def test_a_table_has_a_type_for_every_column():
    columns = [(kind.value, kind) for kind in ValueType]
    assert telemetry.create_table("Alerts", table(*columns)) == (
        ".create-merge table ['Alerts'] (['String']:string, ['BigInt']:long, ['Double']:real, ['Boolean']:bool, ['DateTime']:datetime, ['Object']:dynamic)"
    )


def test_names_are_quoted_whatever_they_hold():
    command = telemetry.create_table("it's a \\ table", table(("a'b", ValueType.STRING)))
    assert command == ".create-merge table ['it\\'s a \\\\ table'] (['a\\'b']:string)"


def test_the_mapping_names_columns_by_their_place():
    command = telemetry.create_mapping("T", table(("a", ValueType.STRING), ("b", ValueType.DOUBLE)))
    assert command.startswith(
        '.create-or-alter table [\'T\'] ingestion csv mapping \'treadle\' \'[{"Column": "a", "Properties": {"Ordinal": "0"}}'
    )
    assert '{"Column": "b", "Properties": {"Ordinal": "1"}}' in command


def test_an_ingestion_is_tagged_by_its_content_and_not_done_twice():
    command = telemetry.ingest_file("T", "https://lake/ws/lh/Files/T.csv;impersonate", "f1")
    assert "h'https://lake/ws/lh/Files/T.csv;impersonate'" in command, "the address is not hidden from Kusto's own logs"
    assert '"ingest-by:f1"' in command
    assert "ingestIfNotExists='[\"f1\"]'" in command
    assert "ignoreFirstRecord=true" in command


def test_only_what_treadle_ingested_and_not_this_content_is_dropped():
    command = telemetry.drop_older("T", "f1")
    assert command == ".drop extents <| .show table ['T'] extents where tags has 'drop-by:treadle' and tags !has 'ingest-by:f1'"


def test_what_a_database_holds_beside_its_tables_is_named():
    """Source: `.show database schema as json`."""
    described = {
        "Name": "telemetry",
        "Tables": {"Alerts": {"Name": "Alerts", "OrderedColumns": []}},
        "ExternalTables": {"Exports": {"Name": "Exports"}},
        "MaterializedViews": {"Latest": {"Name": "Latest"}},
        "EntityGroups": None,
        "Functions": {"Severe": {"Name": "Severe", "Body": "{ Alerts }"}, "Open": {}},
    }
    found = telemetry.beside_tables(json.dumps({"Plugins": [], "Databases": {"telemetry": described}}))
    assert found == ["function Severe", "function Open", "materialized view Latest", "external table Exports"]
    assert telemetry.beside_tables('{"Databases": {"telemetry": {"Name": "telemetry", "Tables": {}}}}') == []


@pytest.mark.parametrize(
    ("there", "differs"),
    [
        ("a:string,b:real", False),
        ("a:string, b:real, more:long", False),
        ("['a']:string,['b']:real", False),
        ("a:string", False),
        ("a:long,b:real", True),
        ("a:string,b:long", True),
    ],
)
def test_a_table_is_made_anew_only_where_a_type_differs(there, differs):
    assert telemetry.needs_another_table(there, table(("a", ValueType.STRING), ("b", ValueType.DOUBLE))) is differs


def test_file_names_of_tables_differ_as_the_tables_do():
    names = ["a b", "a_b", "a.b", "a/b", "ä", "a"]
    files = {telemetry.file_name(name) for name in names}
    assert len(files) == len(names)
    assert all(set(file) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-.") for file in files)


def test_texts_become_the_values_that_the_check_has_seen_in_them(tmp_path):
    source = tmp_path / "T.csv"
    source.write_text(
        "i,d,b,t,s\n+5,1.,true,2026-01-02,007\n-7,+.5,FALSE,2026-01-02 03:04,\n,1e3,,2026-01-02T03:04:05Z,x\n"
        '9223372036854775807,,True,2026-01-02T03:04:05.123456789+11:00,"a,b"\n0,-2.5E-1,false,2026-01-02T03:04:05.5-0130,\n'
    )
    kinds = [
        ("i", ValueType.BIG_INT),
        ("d", ValueType.DOUBLE),
        ("b", ValueType.BOOLEAN),
        ("t", ValueType.DATE_TIME),
        ("s", ValueType.STRING),
    ]
    size = write_parquet(table(*kinds, path=source), tmp_path / "T.parquet")
    assert size == (tmp_path / "T.parquet").stat().st_size
    rows = pl.read_parquet(tmp_path / "T.parquet").to_dict(as_series=False)
    assert rows["i"] == [5, -7, None, 9223372036854775807, 0]
    assert rows["d"] == [1.0, 0.5, 1000.0, None, -0.25]
    assert rows["b"] == [True, False, None, True, False]
    assert rows["s"] == ["007", None, "x", "a,b", None]
    assert rows["t"] == [
        datetime(2026, 1, 2, tzinfo=UTC),
        datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        datetime(2026, 1, 1, 16, 4, 5, 123456, tzinfo=UTC),
        datetime(2026, 1, 2, 4, 34, 5, 500000, tzinfo=UTC),
    ]


def test_a_value_that_does_not_fit_is_an_error_and_never_a_null():
    frame = pl.LazyFrame({"i": ["5", "five"]}).select(typed(Column("i", ValueType.BIG_INT, Reason.DECLARED)))
    with pytest.raises(pl.exceptions.InvalidOperationError):
        frame.collect()


def test_what_is_asked_goes_through_a_payload_unchanged():
    asked = Asked("telco-noc", "fabric-gql", WORKSPACE, "Net", overwrite=True)
    assert asked_in({**asked_payload(asked), "slots": {}}) == asked
    with pytest.raises(InvalidInput):
        asked_in({})


def test_an_unknown_slot_is_named():
    with pytest.raises(InvalidInput, match="no slot maps"):
        check_asked(Asked("a", None, WORKSPACE, ""), {"maps": None})
