"""What an archive is, told from its content."""

import io
import shutil

import pytest
from tests.unit.scenario_archives import SCHEMA, small, tar_gz, telco

from treadle.flows.scenario.check import check_scenario
from treadle.flows.scenario.recognise import parts_of
from treadle.flows.scenario.schema_files import read_manifest

MANIFEST = """name: noc
display_name: NOC
description: x
data_sources:
  graph: {connector: fabric-gql, schema_file: graph_schema.yaml}
  telemetry: {config: {containers: [{name: Alerts, csv_file: Alerts.csv, numeric_fields: []}]}}
"""


@pytest.fixture
def parts(tmp_path):
    def told(archive: bytes):
        scratch = tmp_path / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        return parts_of(io.BytesIO(archive), scratch)

    return told


def test_the_real_scenario_has_both(parts):
    assert parts(telco("entities", "telemetry")) == ("graph", "telemetry")


def test_a_graph_alone_is_a_graph(parts):
    assert parts(small()) == ("graph",)
    assert parts(telco("entities")) == ("graph",)


def test_telemetry_alone_is_told_by_the_tables_that_the_manifest_names(parts):
    assert parts(tar_gz({"noc/scenario.yaml": MANIFEST, "noc/data/telemetry/Alerts.csv": "a\n1\n"})) == ("telemetry",)


def test_a_schema_without_its_tables_beside_telemetry_is_no_graph(parts):
    files = {"scenario.yaml": MANIFEST, "graph_schema.yaml": SCHEMA, "data/telemetry/Alerts.csv": "a\n1\n"}
    assert parts(tar_gz(files)) == ("telemetry",)
    assert parts(tar_gz(files | {"elsewhere/Shop.csv": "ShopId\n"})) == ("graph", "telemetry")


def test_a_manifest_whose_files_are_missing_is_left_to_the_check_of_a_graph(parts):
    assert parts(tar_gz({"scenario.yaml": MANIFEST})) == ("graph",)


def test_of_telemetry_whose_manifest_cannot_be_read_only_that_is_told(parts, tmp_path):
    """Nobody knows whether a schema is missing."""
    archive = tar_gz({"scenario.yaml": "name: [", "data/telemetry/x.csv": "a\n1\n"})
    assert parts(archive) == ("telemetry",)
    folder = tmp_path / "checked"
    folder.mkdir()
    found = check_scenario(io.BytesIO(archive), folder, only="telemetry").faults
    assert [fault.where.split(" ")[0] for fault in found] == ["scenario.yaml"]
    assert parts(tar_gz({"scenario.yaml": "name: [", "graph_schema.yaml": SCHEMA})) == ("graph",)


def test_two_telemetry_tables_of_one_name_are_a_fault(tmp_path):
    second = "{name: Alerts, csv_file: More.csv}, {name: alerts, csv_file: Other.csv}"
    manifest = MANIFEST.replace("numeric_fields: []}", f"numeric_fields: []}}, {second}")
    faults = read_manifest(manifest.encode())
    assert [(fault.code, fault.where) for fault in faults] == [("schema_invalid", "scenario.yaml line 6")]
    assert "'Alerts' is there already, of Alerts.csv; here it is of More.csv" in faults[0].message


def test_what_cannot_be_read_is_left_to_the_check_of_a_graph(parts):
    assert parts(telco("entities")[:2000]) == ("graph",)
    assert parts(b"no gzip") == ("graph",)


def test_an_archive_of_texts_is_no_part(parts):
    assert parts(tar_gz({"runbooks/fibre.md": "# Fibre"})) == ()


def test_no_table_is_kept(parts, tmp_path):
    parts(telco("entities"))
    assert len(list((tmp_path / "scratch").iterdir())) == 2  # the manifest and the schema
