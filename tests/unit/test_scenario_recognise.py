"""What an archive is, told from its content."""

import io
import shutil

import pytest
from tests.unit.scenario_archives import SCHEMA, small, tar_gz, telco

from treadle.flows.scenario.recognise import parts_of

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
    assert parts(tar_gz({"scenario.yaml": "name: [", "x.csv": "a\n"})) == ("graph",)


def test_what_cannot_be_read_is_left_to_the_check_of_a_graph(parts):
    assert parts(telco("entities")[:2000]) == ("graph",)
    assert parts(b"no gzip") == ("graph",)


def test_an_archive_of_texts_is_no_part(parts):
    assert parts(tar_gz({"runbooks/fibre.md": "# Fibre"})) == ()


def test_no_table_is_kept(parts, tmp_path):
    parts(telco("entities"))
    assert len(list((tmp_path / "scratch").iterdir())) == 2  # the manifest and the schema
