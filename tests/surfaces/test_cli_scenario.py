"""`treadle scenario check`: one look at an archive, without a cloud, a database or a state directory."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.scenario_archives import SCHEMA, TELCO, small, tar_gz, telco


@pytest.fixture
def check(tmp_path: Path):
    """Run `treadle scenario check` on these bytes, in an empty folder and with nothing in the environment that leads to a cloud."""

    def call(archive: bytes | Path, *options: str, columns: int = 200) -> subprocess.CompletedProcess[str]:
        file = archive if isinstance(archive, Path) else tmp_path / "scenario.tar.gz"
        if isinstance(archive, bytes):
            file.write_bytes(archive)
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COLUMNS": str(columns), "TMPDIR": str(scratch)}
        command = [sys.executable, "-m", "treadle", "scenario", "check", str(file), *options]
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False)

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    yield call
    assert list(scratch.iterdir()) == [], "something was left in the scratch folder"


def data(answer: subprocess.CompletedProcess[str]):
    return json.loads(answer.stdout)


def test_the_real_scenario_packed_with_tar_is_shown_with_tables_types_and_relationships(check, tmp_path):
    packed = tmp_path / "telco-noc.tar.gz"
    subprocess.run(["tar", "-C", str(TELCO.parent), "-czf", str(packed), "telco-noc"], check=True)
    shown = check(packed)
    assert shown.returncode == 0, shown.stderr
    for words in (
        "Can be built",
        "telco-noc",
        "FactServiceDependency",
        "CoreRouter",
        "CapacityGbps BigInt",
        "depends_on_BaseStation",
        "RouterId String*",
    ):
        assert words in shown.stdout
    assert "Faults" not in shown.stdout
    assert "property_types" in shown.stderr
    found = data(check(packed, "--json"))
    assert (found["buildable"], found["name"], found["faults"]) == (True, "telco-noc", [])
    assert {table["name"]: table["rows"] for table in found["tables"]}["FactMPLSPathHops"] == 17
    assert len(found["tables"]) == 12
    assert [entity["label"] for entity in found["entity_types"]][:2] == ["CoreRouter", "AggSwitch"]
    assert found["entity_types"][3]["properties"][2] == {"name": "CapacityGbps", "type": "BigInt", "reason": "declared"}
    [connects] = [item for item in found["relationship_types"] if item["label"] == "connects_to"]
    assert [rule["target_column"] for rule in connects["rules"]] == ["SourceRouterId", "TargetRouterId"]


def test_all_faults_are_shown_with_what_to_do_and_the_exit_code_is_2(check):
    archive = small(graph_schema_yaml=SCHEMA.replace("[City]", "[Town]"), Order_csv="OrderId,ShopId,Amount\nO1,S9,x\nO1,S1,2\n")
    shown = check(archive)
    assert shown.returncode == 2
    for words in ("Faults", "column_missing", "'Town'", "type_wrong", "id_twice", "edge_key_unknown", "Columns are: ShopId, City"):
        assert words in shown.stdout
    assert "cannot be built: 4 faults" in shown.stderr
    answer = check(archive, "--json")
    assert answer.returncode == 2
    assert [fault["code"] for fault in data(answer)["faults"]] == ["column_missing", "type_wrong", "id_twice", "edge_key_unknown"]
    assert not data(answer)["buildable"]


def test_the_page_fits_a_terminal_of_80_columns(check, tmp_path):
    (tmp_path / "s.tar.gz").write_bytes(telco("entities"))
    ours, theirs = pty.openpty()
    environ = os.environ | {"COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "treadle", "scenario", "check", str(tmp_path / "s.tar.gz")]
    with subprocess.Popen(command, env=environ, stdout=theirs, stderr=subprocess.DEVNULL):
        os.close(theirs)
        lines = b"".join(iter(lambda: _read(ours), b"")).decode().replace("\r", "").splitlines()
    os.close(ours)
    plain = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in lines]
    assert max(map(len, plain)) <= 80
    assert any(line.startswith("TransportLink  LinkId") for line in plain)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side is closed
        return b""


@pytest.mark.parametrize("content", [b"", b"no archive", telco("entities")[:900]])
def test_what_is_no_whole_archive_is_one_fault_and_no_traceback(check, content):
    shown = check(content)
    assert shown.returncode == 2
    assert "cannot be built: 1 fault." in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_hostile_name_cannot_paint_the_terminal(check):
    shown = check(tar_gz({"a/\x1b[2Jx.csv": "x", "a/[red]y[/].yaml": "a: [1"}))
    assert shown.returncode == 2
    assert "\x1b" not in shown.stdout + shown.stderr
    assert "\\x1b[2Jx.csv" in shown.stdout


def test_a_file_that_is_not_there_is_unusable_input(check, tmp_path):
    assert check(tmp_path / "nothing.tar.gz").returncode == 2
