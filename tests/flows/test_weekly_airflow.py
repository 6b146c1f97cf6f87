"""The weekly flow under a real Airflow: what its DAG says, and what comes of running it against the sandbox."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest
import yaml

from tests import canaries
from tests.flows.airflow_place import DAG_FILE, ROOT, TRIAL, Airflow, airflow, airflow_python, channels
from tests.flows.conftest import eventually
from tests.flows.weekly_place import begin_empty
from treadle.cli.local import LocalEnvironment
from treadle.flows.weekly.record import PIPELINE, RunStatus, Stage, StageStatus
from treadle.flows.weekly.services import WeeklyServices
from treadle.flows.weekly.status import run_details
from treadle.flows.weekly.week import Week, week_of
from treadle.sandbox.faults import FaultRule
from treadle.wiring import wired

__all__ = ["airflow", "airflow_python", "channels"]  # fixtures
WEEK = week_of(date(2019, 12, 2))
TREADLE = Path(sys.executable).with_name("treadle")
TASKS = ["extract", "transform", "load", "quality_gate", "salesforce_sync"]


@pytest.fixture
def services(environment: LocalEnvironment) -> Iterator[WeeklyServices]:
    """The same that a command of this environment has."""
    shutil.rmtree(environment.state / "weekly", ignore_errors=True)
    begin_empty(environment)
    with wired(environment.settings) as wiring:
        yield wiring.weekly()


@pytest.fixture
def stage_environ(environment: LocalEnvironment) -> dict[str, str]:
    """What a worker of Airflow is given for Treadle; a task is tried twice, a moment apart."""
    return {
        "TREADLE_COMMAND": str(TREADLE),
        "TREADLE_STATE": str(environment.state),
        "TREADLE_USER": "airflow",
        "API_RATE_LIMIT_DELAY": "0",
        "TREADLE_AIRFLOW_RETRIES": "1",
        "TREADLE_AIRFLOW_RETRY_SECONDS": "0.1",
    }


def set_checkpoint(environment: LocalEnvironment, week: Week) -> None:
    statement = (
        "INSERT INTO treadle.pipeline_checkpoint (pipeline_name, next_week_start, next_week_end, updated_at_utc) VALUES (%s, %s, %s, now())"
    )
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        connection.execute(statement, [PIPELINE, week.start, week.end])


def run_first_week(environ: dict[str, str]) -> None:
    """By its dates, as a person does it before a scheduler takes over."""
    command = [TREADLE, "weekly", "run", "--week-start", str(WEEK.start), "--week-end", str(WEEK.end)]
    ran = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr


def read_dag(python: Path, home: Path, *failures: dict) -> tuple[dict, str]:
    """What the DAG file says, from an Airflow that has not even a database, and all that was logged; the failures are told meanwhile."""
    ran = Airflow(python, home).run(str(TRIAL), str(DAG_FILE), json.dumps(failures))
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1]), ran.stdout + ran.stderr


def test_the_dag_has_its_five_tasks_and_asks_nobody_when_it_is_read(airflow_python, tmp_path):
    found, _ = read_dag(airflow_python, tmp_path)
    assert found.pop("tasks") == [[task, TASKS[at + 1 : at + 2], 3] for at, task in enumerate(TASKS)]
    first, second, third, ninth = found.pop("waits")
    assert 5 <= first < 10 <= second < 20 <= third <= ninth == 30, "each wait is twice as long, plus some chance, half an hour at most"
    assert found.pop("limits") == [120, 30, 30, 5, 30]
    assert found == {
        "dag_id": PIPELINE,
        "schedule": "0 14 * * 1-5",
        "timezone": "UTC",
        "catchup": False,
        "max_active_runs": 1,
        "run_hours": 4,
    }


def test_what_people_are_told_is_shown_and_not_obeyed(airflow_python, tmp_path, channels):
    error = f"No route to <https://evil.test|here> & {'x' * 900}"
    failure = {"task_id": "load", "run_id": "manual <!channel>", "error": error, "environ": channels.connections()}
    _, logged = read_dag(airflow_python, tmp_path, failure)
    failed, timed_out = channels.slack
    assert failed["text"] == f"{PIPELINE}: load failed"
    shown = failed["blocks"][1]["text"]["text"]
    assert "*Run*: manual &lt;!channel&gt;\n*Tries*: 4\n*Error*: No route to &lt;https://evil.test|here&gt; &amp; xxx" in shown
    assert shown.endswith("\n<http://airflow.test/log?a=1&amp;b=2|Log>")
    assert len(shown) < 3000
    assert "took longer than 4:00:00" in timed_out["text"], "a run that failed by its task is told once, one that timed out, too"
    cards = [message["attachments"][0]["content"] for message in channels.teams]
    assert [card["body"][0]["text"] for card in cards] == [failed["text"], timed_out["text"]]
    assert cards[0]["body"][1]["inlines"][1] == {"type": "TextRun", "text": "manual <!channel>"}
    assert cards[0]["actions"][0]["url"] == "http://airflow.test/log?a=1&b=2"
    assert channels.secret not in logged


def test_a_channel_that_fails_hides_neither_the_failure_nor_the_other_channel(airflow_python, tmp_path, channels):
    channels.refuse.add("slack")
    addresses = [
        f"http://127.0.0.1:{channels.port}/slack/{channels.secret}",  # refuses
        f"http://127.0.0.1:1/slack/{channels.secret}",  # nobody listens
        f"http://hooks.example/{channels.secret}",  # in clear text
        f"hooks.example/{channels.secret}",  # no address
        "",
    ]
    failures = [
        {
            "task_id": "load",
            "run_id": "manual",
            "error": "No route",
            "environ": channels.connections() | {"AIRFLOW_CONN_TREADLE_SLACK": slack},
        }
        for slack in (json.dumps({"conn_type": "generic", "password": address}) for address in addresses)
    ]
    _, logged = read_dag(airflow_python, tmp_path, *failures)
    assert (len(channels.slack), len(channels.teams)) == (2, 2 * len(failures)), "each failure, and each run that timed out"
    assert len(re.findall("treadle_slack was not told of the failure", logged)) == 2 * len(failures)
    assert channels.secret not in logged


def stand_in(folder: Path, name: str, script: str) -> Path:
    """A program in place of treadle, which notes its process id, arguments and environment."""
    path = folder / name
    notes = f'echo $$ > {path}.pid; printf "%s\\n" "$@" > {path}.arguments; env > {path}.environ\n'
    path.write_text(f"#!/bin/sh\n{notes}{script}\n")
    path.chmod(0o755)
    return path


def test_a_stage_ends_with_its_task_and_its_own_words(airflow_python, tmp_path):
    waits = f"trap 'echo stopped >> {tmp_path}/stopped; exit 130' TERM\nsleep 600 &\necho $! > {tmp_path}/$(basename $0).child\n"
    refusal = json.dumps({"error": "Conflict", "message": "Another run goes on.", "hint": "Wait for it.", "details": {}})
    commands = [
        stand_in(tmp_path, "done", 'echo \'{"skipped": null, "status": "STARTED"}\''),
        stand_in(tmp_path, "skips", 'echo \'{"skipped": "The week is done already."}\''),
        stand_in(tmp_path, "refuses", f"echo 'reading' >&2; echo '{refusal}' >&2; exit 1"),
        stand_in(tmp_path, "dies", f"sleep 600 &\necho $! > {tmp_path}/dies.child\necho 'no memory' >&2; exit 137"),
        tmp_path / "nowhere",
        stand_in(tmp_path, "is_stopped", f"{waits}echo stop me >&2\nwait"),
        stand_in(tmp_path, "is_stopped_at_once", f"{waits}kill -TERM $PPID\nwait"),
        stand_in(tmp_path, "is_late", f"{waits}echo I am late >&2\nwait"),
    ]
    ran = Airflow(airflow_python, tmp_path).run(str(TRIAL), str(DAG_FILE), *map(str, commands), AIRFLOW__CORE__FERNET_KEY="a-secret")
    assert ran.returncode == 0, ran.stderr
    done, skips, refuses, dies, nowhere, stopped, at_once, late = json.loads(ran.stdout.splitlines()[-1])
    assert done == {"result": {"skipped": None, "status": "STARTED"}}
    assert skips == {"error": "AirflowSkipException", "message": "The week is done already."}
    assert refuses == {"error": "AirflowException", "message": "Another run goes on. Wait for it."}
    assert dies["message"] == "The stage extract ended with exit code 137; the log above says more."
    assert "TREADLE_COMMAND" in nowhere["message"]
    assert stopped["message"] == at_once["message"] == "The stage extract was stopped. Run again, it goes on from there."
    assert late["error"] == "TooLate"
    assert (tmp_path / "stopped").read_text() == "stopped\n" * 3
    for name in ("dies.child", "is_stopped.pid", "is_stopped.child", "is_stopped_at_once.child", "is_late.pid", "is_late.child"):
        number = int((tmp_path / name).read_text())
        eventually(lambda number=number: not runs(number), what=f"{name} ends")
    arguments = (tmp_path / "done.arguments").read_text().splitlines()
    assert arguments == ["weekly", "stage", "extract", "--use-checkpoint", "--run-tag", "manual it's", "--json"]
    assert "AIRFLOW" not in (tmp_path / "done.environ").read_text().replace(str(tmp_path), "")


def runs(number: int) -> bool:
    """Whether there is such a process, and not only its remains."""
    try:
        return Path(f"/proc/{number}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_week_goes_through_five_tasks_as_one_run(airflow, services, stage_environ, channels):
    run_first_week(stage_environ)
    ran = airflow.run("-m", "airflow", "dags", "test", PIPELINE, **stage_environ, **channels.connections())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    run_id, state = airflow.newest_run()
    assert (state, airflow.tasks_of(run_id)) == ("success", dict.fromkeys(TASKS, ("success", 1)))
    (run,) = services.state.runs_of_week(WEEK.next)
    assert (run.status.succeeded, run.complete, run.correlation_id) == (True, True, run_id)
    stages = run_details(services, run.run_id).stages
    assert [(stage.stage, stage.status) for stage in stages] == [(stage, StageStatus.SUCCESS) for stage in Stage]
    assert services.state.checkpoint().next == WEEK.next.next
    assert (channels.slack, channels.teams) == ([], [])


def test_a_task_that_fails_is_tried_again_and_then_told_once(airflow, services, stage_environ, environment, channels):
    set_checkpoint(environment, WEEK.next)
    environment.cloud.faults.post([FaultRule("events.ListEvents", "status", args={"status": 401}, times=2)])
    ran = airflow.run("-m", "airflow", "dags", "test", PIPELINE, **stage_environ, **channels.connections())
    assert ran.returncode != 0
    run_id, state = airflow.newest_run()
    others = dict.fromkeys(TASKS[1:], ("upstream_failed", 0))
    assert (state, airflow.tasks_of(run_id)) == ("failed", {"extract": ("failed", 2)} | others)
    runs = services.state.runs_of_week(WEEK.next)
    assert [(run.status, run.correlation_id) for run in runs] == [(RunStatus.FAILED, run_id)] * 2
    assert services.state.checkpoint().next == WEEK.next
    (told,), (card,) = channels.slack, channels.teams
    shown = told["blocks"][1]["text"]["text"]
    assert told["text"] == f"{PIPELINE}: extract failed"
    assert f"*Run*: {run_id}\n*Tries*: 2\n*Error*: {runs[0].error_message[:40]}" in shown
    assert card["attachments"][0]["content"]["body"][0]["text"] == told["text"]
    written = ran.stdout + ran.stderr + "".join(path.read_text() for path in airflow.home.rglob("*.log"))
    assert channels.secret not in written
    assert canaries.found_in_text(written) == []


def test_a_week_that_is_not_over_is_skipped_and_nobody_is_told(airflow, services, stage_environ, environment, channels):
    set_checkpoint(environment, week_of(date(2095, 1, 3)))
    ran = airflow.run("-m", "airflow", "dags", "test", PIPELINE, **stage_environ, **channels.connections())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "is not over before 2095-01-10" in ran.stdout + ran.stderr
    run_id, state = airflow.newest_run()
    assert state == "success"
    assert {task: state for task, (state, _) in airflow.tasks_of(run_id).items()} == dict.fromkeys(TASKS, "skipped")
    assert services.state.list_runs() == []
    assert (channels.slack, channels.teams) == ([], [])


def test_the_compose_file_has_no_password():
    text = (ROOT / "airflow" / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    assert {"postgres", "api-server", "scheduler", "dag-processor"} <= set(services)
    environment = {name: value for service in services.values() for name, value in (service.get("environment") or {}).items()}
    secret = {name: value for name, value in environment.items() if re.search("PASSWORD$|SECRET|FERNET|CONN", name)}
    assert len(secret) >= 4
    for name, value in secret.items():
        assert re.search(r"\$\{\w+:\?[^}]+\}", value), f"{name} is not required from the environment"
    assert not re.search(r"\$\{\w*(PASSWORD|SECRET|KEY)\w*:-", text), "a secret has a default"
