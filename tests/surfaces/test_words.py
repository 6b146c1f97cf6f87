"""What a person reads at the terminal: whole lines at 80 columns, one name for each thing, hints that can be pasted, no JSON."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SUPERSTORE = Path(__file__).parents[2] / "samples" / "superstore.xlsx"


@pytest.fixture
def workbook(tmp_path: Path) -> Path:
    path = tmp_path / "orders_of_november.csv"
    path.write_text("order_id,revenue,region\n001,10.50,North\n002,2.25,South\n")
    return path


@pytest.fixture
def run_id(treadle, workbook) -> str:
    return treadle("run", "start", str(workbook), "--wait", "--json").data["run_id"]


def test_a_refused_release_says_that_the_lock_is_still_held_and_what_the_override_costs(treadle, environment, workbook):
    environment.cloud.faults.script("fabric.GetItemJobInstance", "status", times=None, status=503)
    held = treadle("run", "start", str(workbook), "--json").data["run_id"]
    refused = treadle("lock", "release", "--reason", "practice", TREADLE_REQUEST_TIMEOUT_SECONDS="1")
    environment.cloud.faults.clear()
    assert refused.code == 6
    for words in ("503", "The lock is still held", "--even-if-running", "mixed with the next run's"):
        assert words in refused.err
    assert held in treadle("lock", "show").out
    assert treadle("lock", "release", "--reason", "practice is over").code == 0
    assert treadle("lock", "show").out == "free\n"


def test_a_profile_with_a_failed_check_of_severity_error_leaves_with_2(treadle):
    refused = treadle("files", "profile", str(SUPERSTORE))
    assert refused.code == 2
    assert "A run would refuse this file: required_columns." in refused.err
    accepted = treadle("files", "profile", str(SUPERSTORE), "--map", "Sales=revenue")
    assert (accepted.code, "refuse" in accepted.err) == (0, False)


def test_the_hint_for_more_runs_repeats_filters_and_limit_and_can_be_pasted(treadle, workbook):
    for _ in range(2):
        treadle("run", "start", str(workbook), "--user", "Ada L", "--wait")
    given = ("--by", "Ada L", "--status", "SUCCEEDED", "--status", "FAILED", "--since", "2020-01-31", "--limit", "1")
    first = treadle("run", "ls", *given)
    hint = first.err.split("There are more: treadle ")[1]
    assert "--by 'Ada L'" in hint
    assert "--since 2020-01-31T00:00:00" in hint
    second = treadle(*shlex.split(hint), "--json").data["runs"]
    assert [run["triggered_by"] for run in second] == ["Ada L"]
    assert str(second[0]["run_id"])[:8] not in first.out


def test_a_restore_is_called_one_wherever_people_see_it_and_keeps_its_stored_name_in_json(treadle, run_id):
    restore = treadle("restore", run_id, "--json").data
    assert restore["input_file"] == f"__restore__{run_id}"
    for command in (("run", "ls"), ("run", "show", restore["run_id"]), ("run", "compare", restore["run_id"], run_id)):
        shown = treadle(*command)
        assert f"restore of {run_id[:8]}" in shown.out
        assert "__restore__" not in shown.out + shown.err


def test_show_and_compare_have_the_same_figures_under_the_same_names(treadle, run_id):
    shown = treadle("run", "show", run_id).out
    compared = treadle("run", "compare", run_id, run_id).out
    for label, figure in (("Revenue", "12.75"), ("Orders", "2"), ("Average order value", "6.38"), ("Rows", "2"), ("North", "10.50")):
        assert re.search(rf"^{label} +{figure} *$", shown, re.MULTILINE)
        assert re.search(rf"^{label} +{figure} +{figure} +0 ", compared, re.MULTILINE)
    assert "total_revenue" not in compared


def test_a_stopped_environment_is_told_as_one(treadle, tmp_path):
    (tmp_path / ".treadle").mkdir()
    here = treadle("run", "ls", state=None)
    assert here.code == 2
    assert "The local environment in .treadle is not running." in here.err
    assert here.err.rstrip().endswith("Start it with: treadle up")
    there = treadle("run", "ls", state=tmp_path / "my state")
    assert f"treadle up --state '{tmp_path}/my state'" in there.err


def test_settings_that_were_begun_are_completed_rather_than_taken_for_a_stopped_environment(treadle, tmp_path):
    (tmp_path / ".treadle").mkdir()
    answer = treadle("run", "ls", state=None, FABRIC_TENANT_ID="begun")
    assert "FABRIC_CLIENT_ID" in answer.err
    assert "not running" not in answer.err


def test_a_warning_is_a_line_for_people_that_ends_with_one_full_stop(treadle, environment, workbook):
    environment.cloud.faults.script("fabric.RunOnDemandItemJob", "drop_after")
    answer = treadle("run", "start", str(workbook), "--wait")
    assert answer.code == 0, answer.err
    (line,) = [line for line in answer.err.splitlines() if "unanswered" in line]
    assert line.startswith("Warning: run trigger unanswered: Fabric may or may not have carried this out")
    assert ".." not in answer.err
    assert '{"' not in answer.err


def test_a_failed_run_says_why_once(treadle, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("order,amount_of_things\n1,2\n")
    answer = treadle("run", "start", str(bad), "--wait")
    assert answer.code == 7
    assert (answer.out + answer.err).count("amount_of_things") == 1
    run = json.loads(treadle("run", "ls", "--limit", "1", "--json").out)["runs"][0]
    assert "amount_of_things" in treadle("run", "events", run["run_id"]).out


def test_a_list_of_runs_keeps_its_lines_whole_at_80_columns(screen, treadle, run_id):
    treadle("restore", run_id)
    header, *rows = screen("run", "ls", "--limit", "2")
    assert header.split()[:6] == ["run", "status", "created", "by", "file", "revenue"]  # and orders, where a short name leaves room
    assert [f"restore of {run_id[:8]}" in rows[0], "orders_of_november.csv" in rows[1]] == [True, True]
    assert len(rows) == 2


def test_a_run_and_a_profile_break_no_name_at_80_columns(screen, run_id):
    shown = screen("run", "show", run_id)
    assert f"Artifacts in Files/results/runs/{run_id}/" in shown
    assert any(line.endswith("sales_cleaned.parquet") for line in shown)
    profile = screen("files", "profile", str(SUPERSTORE), "--map", "Sales=revenue")
    assert any(line.startswith("customer_name Customer Name text") for line in profile)
    assert max(map(len, profile)) <= 80


def test_lists_break_no_id_status_or_date_at_80_columns_and_pad_nothing_in_pipes(screen, treadle, run_id):
    made = treadle("token", "create", "a-name-that-is-longer-than-a-column-should-be", "--role", "operator", "--json").data
    (token,) = [line for line in screen("token", "ls") if line.startswith(made["token_id"])]
    assert re.search(r"operator .*\d{4}-\d\d-\d\d \d\d:\d\d .*valid$", token)
    lines = screen("audit", "ls", "--target", f"run:{run_id}")
    assert lines[0].split() == ["number", "time", "who", "via", "action", "target", "outcome"]
    assert [re.search(rf" run:{run_id[:8]} +(done|asked)$", line) is not None for line in lines[1:]] == [True, True]
    assert f"run:{run_id}  done" in treadle("audit", "ls", "--target", f"run:{run_id}", "--long").out
    for command in (("run", "ls"), ("token", "ls"), ("audit", "ls"), ("jobs", "ls")):
        piped = treadle(*command).out.splitlines()
        assert [line for line in piped if line != line.rstrip()] == []
    assert max(map(len, screen("run", "ls"))) <= 80
    assert "Not shown, for want of room" not in treadle("run", "ls").err


def test_the_trail_tells_the_end_of_a_stage_once(treadle, run_id):
    told = [event["message"] for event in treadle("run", "events", run_id, "--json").data]
    assert told.count("Stage 'Sales ingest': succeeded.") == 1


def test_a_profile_begins_with_its_verdict_and_ends_with_samples(treadle):
    shown = treadle("files", "profile", str(SUPERSTORE), "--map", "Sales=revenue").out
    assert shown.startswith("Ready\nsuperstore.xlsx: 9,994 rows")
    assert "\nSamples" in shown
    assert treadle("files", "profile", str(SUPERSTORE), "--json").data["verdict"] == "Blocked"


def test_interrupted_while_the_commands_are_loaded_it_leaves_without_a_traceback():
    code = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from treadle.cli import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "Interrupted.\n")


def test_a_process_that_has_loaded_the_sandboxs_engine_ends_without_a_word():
    code = "import sys, duckdb; from treadle.cli import main; sys.argv = ['treadle', '--version']; main()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("treadle ")


def test_interrupted_while_it_waits_it_says_how_to_go_on(environment, treadle, workbook):
    environment.cloud.faults.script("fabric.GetItemJobInstance", "status", times=None, status=503)
    held = treadle("run", "start", str(workbook), "--json").data["run_id"]
    command = [sys.executable, "-m", "treadle", "run", "events", held, "--follow", "--state", str(environment.state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follows:
        assert follows.stdout
        assert follows.stdout.readline()
        follows.send_signal(signal.SIGINT)
        _, err = follows.communicate(timeout=30)
    environment.cloud.faults.clear()
    assert treadle("lock", "release", "--reason", "the test is over").code == 0
    assert follows.returncode == 130
    assert err.startswith("Interrupted. What was started goes on")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((), "COMMAND [ARGS]"),
        (("run",), "compare"),
        (("nonsense",), "No such command 'nonsense'"),
        (("run", "start"), "Missing argument 'FILE'"),
        (("restore", "--timeut", "3", "x"), "--timeout"),
    ],
)
def test_an_unfinished_command_is_told_what_is_missing(command, words, treadle):
    answer = treadle(*command)
    assert answer.code == 2
    assert words in answer.out + answer.err
    assert "Traceback" not in answer.err
