"""Airflow's interpreter runs this, not ours: read a DAG file in a process that may ask nobody anything, and print what was found, as JSON.

python airflow_trial.py DAG_FILE            its settings
python airflow_trial.py DAG_FILE CONTEXT    then tell of a failed task whose context is this JSON object, and of a run that timed out
"""

import importlib.util
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from airflow.models.taskinstance import TaskInstance
from airflow.sdk import DAG, BaseHook, BaseOperator, Variable  # the DAG file imports three of them again, when somebody watches
from airflow.sdk import exceptions as _exceptions  # the same

ASKING = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "sqlite3.connect", "urllib.Request")
SENT = {"stop me\n": signal.SIGTERM, "I am late\n": signal.SIGUSR1}
watching = False


def refuse(event, arguments):
    if watching and event in ASKING:
        raise AssertionError(f"the DAG file asks at parse time: {event} {arguments}")


def nobody(*arguments, **_):
    raise AssertionError(f"the DAG file asks at parse time: {arguments}")


def imported(path):
    """The module, imported while nothing may be asked."""
    global watching  # noqa: PLW0603 - an audit hook cannot be taken away
    sys.addaudithook(refuse)
    kept = Variable.get, BaseHook.get_connection
    Variable.get, BaseHook.get_connection = nobody, nobody
    watching = True
    try:
        spec = importlib.util.spec_from_file_location("dag_file", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules["dag_file"] = module
        spec.loader.exec_module(module)
    finally:
        watching = False
        Variable.get, BaseHook.get_connection = kept
    return module


def settings(dag):
    first = dag.get_task("extract")
    return {
        "dag_id": dag.dag_id,
        "schedule": dag.schedule,
        "timezone": str(dag.timezone),
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "run_hours": dag.dagrun_timeout / timedelta(hours=1),
        "tasks": [[task.task_id, sorted(task.downstream_task_ids), task.retries] for task in dag.topological_sort()],
        "waits": [minutes_until_try(first, tried) for tried in (1, 2, 3, 9)],
        "limits": [task.execution_timeout / timedelta(minutes=1) for task in dag.topological_sort()],
    }


class TooLate(BaseException):
    """In place of AirflowTaskTimeout, which is one, too."""


def outcome_of(module, command):
    """How a stage ends whose program is this command."""
    task = module.WeeklyStage(task_id="extract", stage="extract", run_tag="manual it's")
    os.environ["TREADLE_COMMAND"] = command

    def too_late(*_):
        raise TooLate

    def obeyed(lines):
        for line in lines:
            if line in SENT:
                os.kill(os.getpid(), SENT[line])
            yield line

    log_lines = task._log_lines
    task._log_lines = lambda lines, last_line: log_lines(obeyed(lines), last_line)
    signal.signal(signal.SIGUSR1, too_late)
    signal.signal(signal.SIGTERM, lambda *_: task.on_kill())
    try:
        return {"result": type(task).execute.__wrapped__(task, {})}
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test wants to know
        return {"error": type(error).__name__, "message": str(error)}


def minutes_until_try(task, tried):
    """By Airflow's own rule, which adds some chance."""
    ended = datetime(2026, 1, 1, tzinfo=UTC)
    instance = SimpleNamespace(
        task=task, try_number=tried, end_date=ended, logical_date=ended, dag_id="d", task_id="t", retry_delay_override=None
    )
    return (TaskInstance.next_retry_datetime(instance) - ended) / timedelta(minutes=1)


def tell(module, context):
    os.environ.update(context["environ"])
    task = SimpleNamespace(task_id=context["task_id"], try_number=4, log_url="http://airflow.test/log?a=1&b=2")
    module.tell_task_failed({"ti": task, "run_id": context["run_id"], "exception": RuntimeError(context["error"])})
    module.tell_run_timed_out({"run_id": context["run_id"], "reason": "task_failure"})
    module.tell_run_timed_out({"run_id": context["run_id"], "reason": "timed_out"})


if __name__ == "__main__":
    assert DAG
    assert BaseOperator
    assert _exceptions
    found = imported(sys.argv[1])
    if sys.argv[2:] and sys.argv[2].startswith("["):
        for failure in json.loads(sys.argv[2]):
            tell(found, failure)
    elif sys.argv[2:]:
        print(json.dumps([outcome_of(found, command) for command in sys.argv[2:]]))
        sys.exit()
    print(json.dumps(settings(found.dag)))
