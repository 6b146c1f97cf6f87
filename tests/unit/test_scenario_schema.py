"""What a scenario says of itself, held against its tables: every fault is told together, each with its place and what to do."""

import csv
import io
import json
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.scenario_archives import MANIFEST, SCHEMA, SMALL, TELCO, small, tar_gz, telco

from treadle.flows.scenario.check import Checked, check_scenario
from treadle.flows.scenario.column_types import Reason
from treadle.flows.scenario.schema import GraphSchema, Manifest, ValueType
from treadle.flows.scenario.schema_files import read_graph_schema, read_manifest
from treadle.flows.scenario.tables import read_table


def check(archive: bytes, scratch: Path) -> Checked:
    return check_scenario(io.BytesIO(archive), scratch)


def told(found: Checked) -> list[tuple[str, str]]:
    return [(fault.code, fault.where) for fault in found.faults]


def types(found: Checked, table: str) -> dict[str, tuple[str, str]]:
    columns = next(item.columns for item in found.tables if item.name == table)
    return {column.name: (column.type.value, column.reason.value) for column in columns}


# The real scenario


def test_the_real_scenario_has_ten_tables_and_no_fault(tmp_path):
    found = check(telco("entities"), tmp_path)
    assert found.faults == ()
    assert found.scenario is not None
    assert {table.name: table.rows for table in found.tables} == {
        "DimCoreRouter": 3, "DimAggSwitch": 6, "DimBaseStation": 8, "DimTransportLink": 10, "DimMPLSPath": 5, "DimService": 10,
        "DimSLAPolicy": 5, "DimBGPSession": 3, "FactMPLSPathHops": 17, "FactServiceDependency": 15,
    }  # fmt: skip
    assert (len(found.schema.vertices), len(found.schema.edges)) == (8, 11)
    assert types(found, "DimSLAPolicy") == {
        "SLAPolicyId": ("String", "inferred"), "ServiceId": ("String", "inferred"), "AvailabilityPct": ("Double", "declared"),
        "MaxLatencyMs": ("BigInt", "declared"), "PenaltyPerHourUSD": ("BigInt", "declared"), "Tier": ("String", "inferred"),
    }  # fmt: skip
    assert types(found, "FactMPLSPathHops")["HopOrder"] == ("BigInt", "inferred")
    assert found.notes == (
        "connects_to (DimTransportLink.csv): Fabric's graph has no place for the fixed value of 'direction'; it is left out there.",
    )


def test_the_real_telemetry_is_checked_alone_or_with_the_graph(tmp_path):
    (tmp_path / "1").mkdir()
    alone = check(telco("telemetry"), tmp_path / "1")
    assert (alone.faults, {table.name: table.rows for table in alone.tables}) == ((), {"AlertStream": 3691, "LinkTelemetry": 8640})
    assert types(alone, "LinkTelemetry")["Timestamp"] == ("DateTime", "inferred")
    (tmp_path / "2").mkdir()
    both = check(telco("entities", "telemetry"), tmp_path / "2")
    assert (both.faults, len(both.tables)) == ((), 12)


def test_the_manifest_keeps_styles_questions_and_the_folded_description():
    manifest = read_manifest((TELCO / "scenario.yaml").read_bytes())
    assert isinstance(manifest, Manifest)
    assert (manifest.node_styles["CoreRouter"].size, manifest.node_styles["CoreRouter"].color) == (28, "#38BDF8")
    assert (len(manifest.example_questions), manifest.telemetry[1].id_field) == (6, None)
    assert manifest.description.endswith("remediation.")


# Where files may lie


@pytest.mark.parametrize("folder", ["data/entities", "entities", "", "elsewhere"])
def test_tables_are_found_where_people_put_them(tmp_path, folder):
    files = {path if "/" not in path else f"{folder}/{path.rpartition('/')[2]}".lstrip("/"): content for path, content in SMALL.items()}
    if folder == "elsewhere":
        files["scenario.yaml"] += "paths: {entities: elsewhere}\n"
    assert check(tar_gz(files), tmp_path).faults == ()


# Every fault in one pass


def test_everything_that_is_wrong_is_told_in_one_pass(tmp_path):
    found = check(
        small(
            scenario_yaml=None,
            graph_schema_yaml=SCHEMA.replace("properties: [City]", "properties: [City, Country]") + _edge("ships", "Parcel.csv"),
            Shop_csv="ShopId,City\nS1,Sydney\nS1,Perth\n,Cairns\n",
            Order_csv="OrderId,ShopId,Amount\nO1,S1,many\nO2,S9,2\n",
        ),
        tmp_path,
    )
    assert told(found) == [
        ("manifest_missing", "scenario.yaml"),
        ("csv_missing", "Parcel.csv"),
        ("column_missing", "Shop.csv"),
        ("type_wrong", "Order.csv column Amount"),
        ("id_missing", "Shop.csv column ShopId"),
        ("id_twice", "Shop.csv column ShopId"),
        ("edge_key_unknown", "Order.csv column ShopId"),
    ]
    assert all(fault.hint for fault in found.faults)
    assert found.scenario is None


def _edge(label: str, csv_file: str) -> str:
    ends = "source: {label: Order, property: OrderId, column: OrderId}, target: {label: Shop, property: ShopId, column: ShopId}"
    return f"  - {{label: {label}, csv_file: {csv_file}, {ends}}}\n"


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"graph_schema_yaml": None}, "schema_missing", "no schema"),
        ({"Shop_csv": None}, "csv_missing", "the archive does not have it"),
        ({"Shop_csv": "Shop,City\nS1,x\nS2,y\n"}, "column_missing", "'ShopId'"),
        ({"Shop_csv": "ShopId,City\nS1,x\nS2,y\nS1,z\n"}, "id_twice", "'S1'"),
        ({"Shop_csv": "ShopId,City\nS1,x\nS2,y\n,z\n"}, "id_missing", "1 row"),
        ({"Order_csv": "OrderId,ShopId,Amount\nO1,S7,1\n"}, "edge_key_unknown", "'S7'"),
        ({"Order_csv": "OrderId,ShopId,Amount\nO1,S1,1.5x\n"}, "type_wrong", "'1.5x'"),
        ({"Shop_csv": "ShopId;City\nS1;x\nS2;y\n"}, "csv_delimiter", "';'"),
        ({"Shop_csv": "ShopId\tCity\nS1\tx\nS2\ty\n"}, "csv_delimiter", "tabs"),
        ({"Shop_csv": "ShopId,City\nS1,x\nS2\n"}, "csv_ragged", "row 3 has 1"),
        ({"Shop_csv": 'ShopId,City\nS1,"x, y"\nS2,x,y\n'}, "csv_ragged", "row 3 has 3"),
        ({"Shop_csv": "ShopId,City\nS1," + "x" * 10_000_000 + "\nS2,y\n"}, "csv_unreadable", "longer than 1,048,576"),
        ({"Shop_csv": 'ShopId,City\nS1,"' + "x" * 10_000_000 + '"\nS2,y\n'}, "csv_unreadable", "longer than 1,048,576"),
        ({"Shop_csv": "ShopId,City\nS1," + "x" * 200_000 + "\nS2,y\n"}, "cell_too_large", "131,072"),
        ({"Shop_csv": 'ShopId,City\nS1,"never closed\nS2,y\n'}, "csv_unreadable", "unexpected end"),
        ({"Shop_csv": 'ShopId,City\nS1,x"y\nS2,z"w\n'}, "csv_unreadable", "quotes"),
        ({"Shop_csv": "ShopId,City,city\nS1,x,y\nS2,y,z\n"}, "csv_header", "for one"),
        ({"Shop_csv": "ShopId,City,\nS1,x,y\nS2,y,z\n"}, "csv_header", "without a name"),
        ({"Shop_csv": "ShopId,City,Post code\nS1,x,y\nS2,y,z\n"}, "column_name_refused", "'Post code'"),
        ({"Shop_csv": "ShopId,City,\x9b2J\nS1,x,y\nS2,y,z\n"}, "column_name_refused", "x9b"),
        ({"Shop_csv": ""}, "csv_unreadable", "empty"),
        ({"Shop_csv": "ShopId,City\nS1,Z\u00fcrich\n".encode("latin-1")}, "csv_unreadable", "not UTF-8"),
        ({"Shop_csv": "ShopId,City\nS1,x\n".encode("utf-16")}, "csv_unreadable", "UTF-16"),
        ({"Shop_csv": b"ShopId,City\nS1,\0\n"}, "csv_unreadable", "NUL"),
        ({"Shop_csv": b"ShopId,City\rS1,x\rS2,y\r"}, "csv_unreadable", "carriage return"),
    ],
)
def test_each_fault_of_a_table_is_told_in_words(tmp_path, changed, code, words):
    found = check(small(**changed), tmp_path)
    fault = next(fault for fault in found.faults if fault.code == code)
    assert words in fault.message
    assert fault.hint
    assert found.scenario is None


def test_of_an_archive_that_is_cut_off_nothing_is_said_to_be_missing(tmp_path):
    assert told(check(telco("entities")[:1500], tmp_path)) == [("archive_cut_off", "the end of the file")]


def test_a_schema_under_another_name_is_read_and_one_that_cannot_be_read_is_told(tmp_path):
    for name, codes in (("model/graph.yml", []), ("graph.txt", ["schema_missing"])):
        files = {path: content for path, content in SMALL.items() if path != "graph_schema.yaml"} | {name: SCHEMA}
        files["scenario.yaml"] = MANIFEST + f"data_sources: {{graph: {{schema_file: {name}}}}}\n"
        (tmp_path / str(len(codes))).mkdir()
        assert [fault.code for fault in check(tar_gz(files), tmp_path / str(len(codes))).faults] == codes


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    found = check(small(Shop_csv=b"\xef\xbb\xbf" + SMALL["data/entities/Shop.csv"].encode()), tmp_path)
    assert found.faults == ()
    assert list(types(found, "Shop")) == ["ShopId", "City"]


def test_an_empty_cell_is_no_key_and_a_table_without_rows_is_a_table(tmp_path):
    found = check(small(Order_csv="OrderId,ShopId,Amount\n"), tmp_path)
    assert (found.faults, [table.rows for table in found.tables]) == ((), [2, 0])


@pytest.mark.parametrize("name", ["123.csv", "my table.csv", "Öfen.csv", "a-b.csv"])
def test_a_table_name_that_fabric_refuses_is_told_before_anything_is_sent(tmp_path, name):
    schema = SCHEMA.replace("Shop.csv", f"'{name}'")
    files = {**SMALL, "graph_schema.yaml": schema, f"data/entities/{name}": SMALL["data/entities/Shop.csv"]}
    assert ("table_name_refused", name) in told(check(tar_gz(files), tmp_path))


MEASURED = "data_sources: {telemetry: {config: {database: %s, containers: [{name: %s, csv_file: Load.csv}]}}}\n"


def measured(tmp_path, *, database="plant", table="Load", header="At,Load"):
    manifest = MANIFEST + MEASURED % (json.dumps(database), json.dumps(table))
    return check(tar_gz({"scenario.yaml": manifest, "data/telemetry/Load.csv": f"{header}\n2026-01-02,5\n"}), tmp_path)


@pytest.mark.parametrize("database", ["../x", "a b", "-a", "", "a" * 124, "Größe"])
def test_a_database_name_that_a_build_refuses_is_told_with_its_line(tmp_path, database):
    fault, *_ = measured(tmp_path, database=database).faults  # what else the archive has is not known without its manifest
    assert (fault.code, fault.where) == ("schema_invalid", "scenario.yaml line 3")
    assert fault.message.startswith("data_sources.telemetry.config.database: must be letters, digits")


@pytest.mark.parametrize("table", ["T'] (x:string) | .drop database", "a/b", "a:b", 'a"b', "x" * 1025])
def test_a_table_name_that_kusto_refuses_is_told(tmp_path, table):
    (fault,) = measured(tmp_path, table=table).faults
    assert (fault.code, fault.where, "letters, digits, _" in fault.hint) == ("table_name_refused", "scenario.yaml", True)


def test_a_column_name_that_kusto_refuses_is_told(tmp_path):
    (fault,) = measured(tmp_path, header="At,m/s").faults
    assert (fault.code, fault.where, "'m/s'" in fault.message) == ("column_name_refused", "Load.csv", True)


def test_names_within_the_rules_are_no_faults(tmp_path):
    assert measured(tmp_path, database="plant_1.b-c", table="Größe 1.2-b_", header="At,Größe-1_").faults == ()


def test_a_filter_that_lets_nothing_through_and_one_that_the_ontology_cannot_say_are_told(tmp_path):
    def with_filter(value: str, *, negate: bool = False) -> bytes:
        return small(graph_schema_yaml=SCHEMA + f"    filter: {{column: Amount, value: '{value}', negate: {negate}}}\n")

    for folder in "123":
        (tmp_path / folder).mkdir()
    assert told(check(with_filter("nothing"), tmp_path / "1")) == [("filter_matches_nothing", "Order.csv column Amount")]
    found = check(with_filter("2"), tmp_path / "2")
    assert found.faults == ()
    assert "1 rows" in found.notes[0]
    assert "1 rows" in check(with_filter("2", negate=True), tmp_path / "3").notes[0]


# Types


def test_a_key_and_what_refers_to_it_have_one_type(tmp_path):
    schema = SCHEMA.replace("label: Shop\n", "label: Shop\n    property_types: {ShopId: BigInt}\n")
    good = small(graph_schema_yaml=schema, Shop_csv="ShopId,City\n1,x\n2,y\n", Order_csv="OrderId,ShopId,Amount\nO1,1,1\n")
    (tmp_path / "1").mkdir()
    assert types(check(good, tmp_path / "1"), "Order")["ShopId"] == ("BigInt", "inferred")
    codes = small(Shop_csv="ShopId,City\n1,x\n2,y\n007,z\n", Order_csv="OrderId,ShopId,Amount\nO1,1,1\n")
    (tmp_path / "2").mkdir()
    found = check(codes, tmp_path / "2")
    assert (types(found, "Order")["ShopId"], types(found, "Shop")["ShopId"]) == (("String", Reason.SHARED), ("String", "inferred"))
    (tmp_path / "3").mkdir()
    double = check(
        small(graph_schema_yaml=schema.replace("ShopId: BigInt", "ShopId: Double"), Shop_csv="ShopId,City\n1,x\n"), tmp_path / "3"
    )
    assert ("key_type_refused", "Shop.csv column ShopId") in told(double)


def test_a_property_name_of_two_entity_types_has_one_type_or_is_a_fault(tmp_path):
    schema = SCHEMA.replace("properties: [City]", "properties: [City, Amount]")
    (tmp_path / "1").mkdir()
    whole = check(small(graph_schema_yaml=schema, Shop_csv="ShopId,City,Amount\nS1,x,4\nS2,y,5\n"), tmp_path / "1")
    assert (whole.faults, types(whole, "Shop")["Amount"]) == ((), ("Double", "shared"))
    (tmp_path / "2").mkdir()
    text = check(small(graph_schema_yaml=schema, Shop_csv="ShopId,City,Amount\nS1,x,few\nS2,y,5\n"), tmp_path / "2")
    assert told(text) == [("types_differ", "column Amount")]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", "900719925474099312"], "BigInt"),
        (["1", "9223372036854775808"], "Double"),
        (["1.5", "2", "-3e-12", ".5"], "Double"),
        (["007", "1"], "String"),
        (["+61 2", "1"], "String"),
        (["+61", "12"], "String"),
        (["true", "FALSE"], "Boolean"),
        (["yes", "no"], "String"),
        (["2026-02-04T08:30:16.628Z", "2026-02-04"], "DateTime"),
        (["2026-02-30"], "String"),
        (["04/02/2026"], "String"),
        (["NaN", "1"], "String"),
        (["", ""], None),
    ],
)
def test_a_type_is_inferred_only_if_every_value_has_it(tmp_path, values, kind):
    path = tmp_path / "t.csv"
    path.write_text("k,v\n" + "".join(f"{place},{value}\n" for place, value in enumerate(values)))
    facts = read_table("t.csv", path, tmp_path).facts
    assert facts.columns["v"].inferred == (None if kind is None else ValueType(kind))


def test_a_value_far_down_the_table_counts_as_much_as_one_in_the_sample(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("v\n" + "1\n" * 5_000 + "x\n")
    assert read_table("t.csv", path, tmp_path).facts.columns["v"].inferred is ValueType.STRING


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.text(st.sampled_from('ab",\n;é '), max_size=6), min_size=2, max_size=2), max_size=12))
def test_what_a_csv_writer_writes_is_read_with_all_its_rows(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["k", "v"], *rows])
    look = read_table("t.csv", path, path.parent)
    assert look.faults == ()
    facts = look.facts
    assert facts.rows == len(rows)
    assert facts.columns["k"].filled == sum(row[0] != "" for row in rows)


def test_a_large_table_is_looked_into_in_bounded_memory_and_time(tmp_path):
    path = tmp_path / "t.csv"
    with path.open("w") as file:
        file.write("Id,Name,Load\n")
        file.writelines(f"N{number},some name of {number % 977},{number % 100}.5\n" for number in range(300_000))
    started = time.monotonic()
    facts = read_table("t.csv", path, tmp_path).facts
    assert (facts.rows, facts.columns["Load"].inferred) == (300_000, ValueType.DOUBLE)
    assert time.monotonic() - started < 20


# The YAML


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: !!python/object/apply:os.system ['true']\n", "tag"),
        ("name: !custom x\n", "tag"),
        (
            "a: &a [x,x]\n" + "".join(f"{c}: &{c} [{','.join(['*' + p] * 10)}]\n" for p, c in zip("abcdefghij", "bcdefghijk", strict=True)),
            "50,000 values",
        ),
        ("a: &a [*a]\n", "inside itself"),
        ("[" * 20_000, "nested deeper"),
        ("a: &a {b: c}\nd: {<<: *a}\n", "<<"),
        ("name: x\nname: y\n", "twice"),
        ("name: x\n---\nname: y\n", "second document"),
        ("? [a]\n: b\n", "key is not plain"),
        ("name: [x\n", "no YAML"),
        ("name: \x07\n", "no YAML"),
        ('name: x\ndisplay_name: "\\e[2J"\n', "control characters"),
        ('name: x\n"\\e[2J": y\n', "control characters"),
        ("- a\n- b\n", "keys with values"),
        ("name: ../../etc\n", "letters, digits"),
        ("display_name: x\n", "is missing"),
        ("name: x\ndata_sources: {graph: {connector: neo4j}}\n", "fabric-gql"),
        ("name: x\npaths: {entities: ../../etc}\n", "below the scenario's own"),
    ],
)
def test_yaml_of_strangers_is_refused_with_its_line_and_runs_nothing(text, words):
    faults = read_manifest(text.encode())
    assert isinstance(faults, tuple)
    assert any(words in f"{fault.message}" for fault in faults)
    assert all(fault.where.startswith("scenario.yaml") for fault in faults)


def test_yaml_that_is_not_utf_8_is_told():
    assert read_manifest("name: Zürich".encode("latin-1"))[0].code == "yaml_unreadable"


def test_a_word_stays_a_word_whatever_yaml_takes_it_for():
    """`NO` is no boolean, 1_000 no number and 2026-01-01 no date: a filter compares text."""
    for word in ("NO", "1_000", "2026-01-01", "0x1F", "1:30"):
        schema = read_graph_schema((SCHEMA + f"    filter: {{column: ShopId, value: {word}}}\n").encode())
        assert isinstance(schema, GraphSchema)
        assert schema.edges[0].filter.value == word


@pytest.mark.parametrize(
    ("old", "new", "words", "line"),
    [
        ("label: Shop,", "label: Shp,", "no vertex 'Shp'", 17),
        ("{label: Shop, property: ShopId", "{label: Shop, property: City", "not its id_column", 17),
        ("- label: Order", "- label: shop", "is there already", 8),
        ("csv_file: Shop.csv", "csv_file: ../Shop.csv", "plain name", 5),
        ("id_column: ShopId", "id: ShopId", "id_column: is missing", 4),
        ("{Amount: Double}", "{Amount: Money}", "'String'", 12),
        ("{Amount: Double}", "{Total: Double}", "Total", 8),
        ("data_dir: data/entities", "data_dir: /etc", "below the scenario's own", 2),
    ],
)
def test_a_schema_that_contradicts_itself_is_told_with_its_line(old, new, words, line):
    faults = read_graph_schema(SCHEMA.replace(old, new).encode())
    assert isinstance(faults, tuple)
    assert any(words in fault.message and fault.where == f"graph_schema.yaml line {line}" for fault in faults), faults


def test_the_small_scenario_is_what_the_other_tests_take_it_for(tmp_path):
    found = check(small(), tmp_path)
    assert (found.faults, found.notes, found.manifest.name) == ((), (), "shop")
    assert pl.read_csv(found.scenario.table("Shop.csv").path).height == 2
    assert MANIFEST.startswith("name: shop")


@pytest.mark.parametrize(("behind", "readable"), [(b"\n", True), (b"y", False)])
def test_a_carriage_return_that_ends_a_piece_is_judged_by_what_follows(tmp_path, behind, readable):
    piece = 512 * 1024  # bytes that are looked at together
    lines = b"Id\r\n" + b"x" * 1_000 + b"\r\n"
    lines += (b"x" * 998 + b"\r\n") * ((piece - len(lines)) // 1_000 - 1)
    (tmp_path / "long.csv").write_bytes(lines + b"x" * (piece - len(lines) - 1) + b"\r" + behind + b"z\r\n")
    found = read_table("long.csv", tmp_path / "long.csv", tmp_path)
    assert found.faults == () if readable else "carriage return" in found.faults[0].message
