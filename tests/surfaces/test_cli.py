"""The command line: data on standard output, messages on standard error, exit codes that say what to do."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import psutil
import pytest

from treadle.sandbox.postgres import EmbeddedPostgres

SUPERSTORE = Path(__file__).parents[2] / "samples" / "superstore.xlsx"


@pytest.fixture
def workbook(tmp_path: Path) -> Path:
    path = tmp_path / "orders.csv"
    path.write_text("order_id,revenue,region\n001,10.50,North\n002,2.25,South\n")
    return path


def test_a_run_of_superstore_prints_its_known_figures_as_json(treadle):
    answer = treadle("run", "start", str(SUPERSTORE), "--map", "Sales=revenue", "--wait", "--json")
    assert answer.code == 0, answer.err
    run = answer.data
    assert (run["status"], run["kpis"]["orders"]) == ("SUCCEEDED", 5009)
    assert run["kpis"]["total_revenue"] == pytest.approx(2_297_200.86, abs=0.01)
    assert len(run["artifacts"]) == 5
    assert "SANDBOX" in answer.err


def test_the_mapping_is_remembered_beside_the_file(treadle):
    treadle("run", "start", str(SUPERSTORE), "--map", "Sales=revenue", "--wait", "--json")
    again = treadle("run", "start", SUPERSTORE.name, "--wait", "--json")
    assert again.code == 0, again.err
    assert again.data["kpis"]["orders"] == 5009


def test_a_run_that_fails_leaves_with_7_and_says_why(treadle, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("order,amount\n1,2\n")
    answer = treadle("run", "start", str(bad), "--wait", "--json")
    assert answer.code == 7
    assert answer.data["status"] == "FAILED"
    assert "revenue" in answer.data["error_message"]
    assert treadle("lock", "show", "--json").data["run_id"] is None


def test_a_whole_day_of_work(treadle, workbook):
    """Upload, look, run twice, list, show, follow, compare, restore, look at the history."""
    assert treadle("files", "upload", str(workbook)).code == 0
    assert "orders.csv" in [file["name"] for file in treadle("files", "ls", "--json").data]
    profile = treadle("files", "profile", "orders.csv", "--json").data
    assert [item["column"] for item in profile["schema"]] == ["order_id", "revenue", "region"]
    first = treadle("run", "start", "orders.csv", "--wait", "--json").data
    workbook.write_text("order_id,revenue,region\n001,100.00,North\n")
    second = treadle("run", "start", str(workbook), "--wait", "--json").data
    listed = treadle("run", "ls", "--file", "orders.csv", "--json").data["runs"]
    assert [run["run_id"] for run in listed[:2]] == [second["run_id"], first["run_id"]]
    assert treadle("run", "show", first["run_id"][:8], "--json").data["kpis"]["total_revenue"] == 12.75
    compared = {row["name"]: row for row in treadle("run", "compare", first["run_id"], second["run_id"], "--json").data["rows"]}
    assert compared["total_revenue"]["change"] == 87.25
    restored = treadle("restore", first["run_id"][:8], "--user", "grace", "--json")
    assert restored.code == 0, restored.err
    history = treadle("restores", "--json").data
    assert (history[0]["source_run_id"], history[0]["restored_by"]) == (first["run_id"], "grace")
    told = " ".join(event["message"] for event in treadle("run", "events", restored.data["run_id"], "--json").data)
    assert "grace restores run" in told


def test_a_profile_without_the_needed_columns_shows_what_could_be_mapped(treadle):
    answer = treadle("files", "profile", str(SUPERSTORE), "--json")
    assert answer.code == 2, "a run would refuse it"
    assert "required_columns" in answer.err
    (check,) = [check for check in answer.data["validations"] if check["check"] == "required_columns"]
    assert check["passed"] is False
    assert '--map "Sales=revenue"' in check["detail"]


def test_commands_for_people_print_tables_on_standard_output_and_no_traceback_anywhere(treadle, workbook):
    run = treadle("run", "start", str(workbook), "--wait")
    assert "SUCCEEDED" in run.out
    run_id = treadle("run", "ls", "--json").data["runs"][0]["run_id"]
    assert treadle("restore", run_id).code == 0
    for command in (
        ("files", "ls"),
        ("run", "ls"),
        ("run", "show", run_id),
        ("run", "events", run_id),
        ("lock", "show"),
        ("restores",),
        ("doctor",),
    ):
        answer = treadle(*command)
        assert answer.code == 0, answer.err
        assert answer.out.strip()
        assert "Traceback" not in answer.err


def test_an_empty_list_says_so_on_standard_error(treadle):
    answer = treadle("run", "ls", "--file", "no such file")
    assert (answer.code, answer.out) == (0, "")
    assert "No run matches" in answer.err


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("run", "show", "ffffffff"), 3, "ffffffff"),
        (("run", "show", "xyz"), 2, "xyz"),
        (("run", "start", "nowhere.xlsx"), 3, "nowhere.xlsx"),
        (("run", "start", "../../secrets.xlsx"), 2, "slash"),
        (("run", "start", "a.docx"), 2, "known kind"),
        (("run", "start", "x" * 300 + ".csv"), 2, "longer than"),
        (("run", "start", "orders.csv", "--map", "nonsense"), 2, "SOURCE=name"),
        (("run", "ls", "--after", "tampered"), 2, "cursor"),
        (("lock", "release", "--reason", "why not"), 4, "free"),
        (("run", "cancel", "ffffffff"), 3, "ffffffff"),
        (("restore", "ffffffff"), 3, "ffffffff"),
        (("files", "profile", "nowhere.xlsx"), 3, "nowhere.xlsx"),
    ],
)
def test_each_mistake_has_its_exit_code_and_a_message_that_names_it(command, code, said, treadle):
    answer = treadle(*command)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_with_json_an_error_is_json_on_standard_error(treadle):
    answer = treadle("run", "show", "ffffffff", "--json")
    told = json.loads(answer.err.splitlines()[-1])
    assert told["error"] == "NotFound"
    assert told["hint"]


def test_a_mistyped_path_is_told_as_one(treadle):
    answer = treadle("run", "start", "samples/superstor.xlsx")
    assert (answer.code, answer.out) == (3, "")
    assert "is no file on this machine" in answer.err


def test_a_file_above_the_upload_limit_starts_nothing(treadle, tmp_path):
    big = tmp_path / "big.csv"
    big.write_text("order_id,revenue\n" + "1,2\n" * 300_000)
    answer = treadle("run", "start", str(big), TREADLE_UPLOAD_LIMIT_MB="1")
    assert answer.code == 2
    assert "uploads end at" in answer.err


def test_a_terminal_without_the_signs_still_gets_its_answer(treadle, workbook):
    answer = treadle("run", "start", str(workbook), "--wait", PYTHONIOENCODING="ascii")
    assert answer.code == 0, answer.err
    assert "SUCCEEDED" in answer.out


def test_the_sample_workbook_is_written_where_asked(treadle, tmp_path):
    answer = treadle("files", "sample", str(tmp_path), "--json")
    assert answer.code == 0, answer.err
    assert (tmp_path / "sales_orders_fact.xlsx").stat().st_size == answer.data["size_bytes"]


def test_an_unusable_state_directory_is_told_without_a_traceback(treadle, tmp_path):
    (tmp_path / "file").write_text("")
    answer = treadle("up", "--state", str(tmp_path / "file" / "state"))
    assert (answer.code, answer.out) == (2, "")
    assert "Traceback" not in answer.err


def test_a_killed_up_takes_its_worker_with_it(tmp_path):
    state = tmp_path / "state"
    child = subprocess.Popen([sys.executable, "-m", "treadle", "up", "--state", str(state)], stderr=subprocess.DEVNULL)
    pause = threading.Event()
    for _ in range(600):
        if (state / "worker.pid").exists() and (state / "worker.pid").read_text():
            break
        pause.wait(0.05)
    worker = psutil.Process(int((state / "worker.pid").read_text()))
    child.kill()
    child.wait()
    psutil.wait_procs([worker], timeout=20)
    assert _has_ended(worker), "the worker outlived what started it"
    with EmbeddedPostgres(state / "postgres"):  # its server outlives it, is found again, and stops with its last user
        pass


def _has_ended(process: psutil.Process) -> bool:
    """An orphan that has ended may stay a zombie for as long as process 1 does not ask about it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_without_settings_all_missing_ones_are_named(treadle):
    answer = treadle("run", "ls", state=None)
    assert answer.code == 2
    for name in ("FABRIC_TENANT_ID", "FABRIC_CLIENT_SECRET", "PG_HOST"):
        assert name in answer.err


def test_doctor_tells_what_is_wrong_without_settings(treadle):
    answer = treadle("doctor", "--json", state=None)
    assert answer.code == 1
    assert answer.data[0]["passed"] is False


def test_doctor_finds_a_wrong_secret(treadle, environment, tmp_path):
    copy = tmp_path / "state"
    copy.mkdir()
    lines = (environment.state / "treadle.env").read_text().splitlines()
    wrong = "canary-wrong-secret-5d2e"
    (copy / "treadle.env").write_text(
        "\n".join(f"FABRIC_CLIENT_SECRET={wrong}" if line.startswith("FABRIC_CLIENT_SECRET") else line for line in lines)
    )
    answer = treadle("doctor", state=copy)
    assert answer.code == 1
    assert "7000215" in answer.out
    assert wrong not in answer.out + answer.err


def test_up_writes_what_others_need_and_removes_it_when_it_stops(tmp_path):
    state = tmp_path / "state"
    child = subprocess.Popen(
        [sys.executable, "-m", "treadle", "up", "--headless", "--with-samples", "--state", str(state)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        pause = threading.Event()
        for _ in range(1800):
            if (state / "treadle.env").exists() or child.poll() is not None:
                break
            pause.wait(0.05)
        lines = (state / "treadle.env").read_text().splitlines()
        assert all("=" in line for line in lines)
        assert (state / "treadle.env").stat().st_mode & 0o077 == 0
        [api_url] = [line.partition("=")[2] for line in lines if line.startswith("TREADLE_API_URL=")]
        assert api_url.endswith("/api")
        with urllib.request.urlopen(f"{api_url}/health/ready", timeout=10) as ready:  # at once: the file says that all is ready
            assert ready.status == 200
        second = subprocess.run(
            [sys.executable, "-m", "treadle", "up", "--state", str(state)], capture_output=True, text=True, timeout=30, check=False
        )
        assert second.returncode == 4
        environ = {**os.environ, "TREADLE_STATE": str(state)}
        listed = subprocess.run(
            [sys.executable, "-m", "treadle", "run", "ls", "--json"], env=environ, capture_output=True, text=True, timeout=60, check=True
        )
        assert [(found["input_file"], found["status"]) for found in json.loads(listed.stdout)["runs"]] == [
            ("sales_orders_fact.xlsx", "SUCCEEDED"),
            ("superstore.xlsx", "SUCCEEDED"),
        ], "no page is empty"
        run = subprocess.run(
            [sys.executable, "-m", "treadle", "run", "start", str(SUPERSTORE), "--map", "Sales=revenue", "--json"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        run_id = json.loads(run.stdout)["run_id"]
        followed = subprocess.run(
            [sys.executable, "-m", "treadle", "run", "events", run_id, "--follow"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert "The run succeeded" in followed.stdout, "the worker of `up` must have driven it"
    finally:
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert not (state / "treadle.env").exists()
