"""Runs a data pipeline: its activities one after another, each with the rows that queryactivityruns shows."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, cast

from treadle.sandbox.fabric import items
from treadle.sandbox.fabric.definitions import content_part, text_of
from treadle.sandbox.fabric.expressions import NotEvaluated, Scope, evaluate
from treadle.sandbox.fabric.job_log import activity_error, activity_time, save_activity_run
from treadle.sandbox.fabric.notebook_job import NotebookStart, output_link, run_notebook_item
from treadle.sandbox.fabric.notebook_runner import NotebookEnd
from treadle.sandbox.fabric.pipeline import LEFT_OUT, Activity, BadPipeline, Pipeline, bind_parameters, is_due, read_pipeline, succeeded
from treadle.sandbox.fabric.records import Row, new_id
from treadle.sandbox.fabric.refusals import Refused
from treadle.sandbox.fabric.workshop import Workshop

CANCELLED: Final = "cancelled"
TIMED_OUT: Final = "timed out"
_ZERO_ID: Final = "00000000-0000-0000-0000-000000000000"
_NOTEBOOK_FAILED: Final = "2451"
_POLL_SECONDS: Final = 0.02
_BUSY: Final = (
    "Failed to create Livy session for executing notebook. Error: [TooManyRequestsForCapacity] This spark job can't be run because you have "
    "hit a spark compute or API rate limit. HTTP status code: 430."
)
_CASTS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "string": str,
    "int": int,
    "float": float,
    "bool": lambda value: value if isinstance(value, bool) else str(value).lower() == "true",
}


@dataclass(frozen=True, slots=True)
class ActivityEnd:
    """How an activity ended: Succeeded, Failed or Cancelled, with the output and error that its row shows."""

    status: str
    output: Mapping[str, Any] = field(default_factory=dict[str, Any])
    message: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """One run under way; `why_stop` says why everything must stop, or None."""

    shop: Workshop
    job: Row
    item: Row
    capacity_exceeded: bool
    why_stop: Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class _Session:
    """One notebook of one activity, under way."""

    id: str
    notebook_id: str
    started_at: datetime


def run_pipeline_item(run: PipelineRun, parameters: Mapping[str, Any]) -> str | None:
    """Run the pipeline; returns None when it succeeded, else the message that the job's failureReason shows.

    Raises BadPipeline when it cannot run at all. After a cancellation the answer does not matter.
    """
    pipeline = _read(run)
    scope = Scope(bind_parameters(pipeline.parameters, parameters), _facts(run), {})
    outputs: dict[str, Any] = {}
    ends: dict[str, str] = {}
    messages: list[str] = []
    for activity in pipeline.activities:
        if run.why_stop():
            return "The pipeline was stopped."
        end = _run_if_due(run, activity, Scope(scope.parameters, scope.facts, outputs), ends)
        ends[activity.name] = end.status
        outputs[activity.name] = dict(end.output)
        if end.status == "Failed":
            messages.append(f"Operation on target {activity.name} failed: {end.message}")
    return None if succeeded(pipeline.activities, ends) else "; ".join(messages)


def _read(run: PipelineRun) -> Pipeline:
    part = content_part("DataPipeline", items.parts_of(run.shop.records, run.item["id"])[1])
    if part is None:
        raise BadPipeline(f"The pipeline '{run.item['display_name']}' has no content.")
    return read_pipeline(text_of(part))


def _facts(run: PipelineRun) -> dict[str, Any]:
    return {
        "RunId": run.job["id"],
        "Pipeline": run.item["id"],
        "PipelineName": run.item["display_name"],
        "DataFactory": run.item["workspace_id"],
        "TriggerType": "Manual",
        "TriggerTime": run.job["submitted_at"] + "Z",
    }


def _run_if_due(run: PipelineRun, activity: Activity, scope: Scope, ends: Mapping[str, str]) -> ActivityEnd:
    if not is_due(activity, ends):
        return ActivityEnd(LEFT_OUT)
    if activity.inactive_as is not None:
        _save(
            run,
            _first_row(run, activity, None)
            | {"status": "Inactive", "activityRunEnd": activity_time(run.shop.clock.now()), "durationInMs": 0},
        )
        return ActivityEnd(activity.inactive_as)
    end = _run_attempt(run, activity, scope, attempt=None)
    for attempt in range(1, activity.retries + 1):
        if end.status != "Failed" or _wait(run, timedelta(seconds=activity.retry_seconds)):
            break
        end = _run_attempt(run, activity, scope, attempt=attempt)
    return end


def _run_attempt(run: PipelineRun, activity: Activity, scope: Scope, *, attempt: int | None) -> ActivityEnd:
    row = _first_row(run, activity, attempt)
    _save(run, row)
    started_at = run.shop.clock.now()
    try:
        settings = evaluate(dict(activity.settings), scope)
        row["input"] = settings
        end = _ACTIVITIES.get(activity.type, _not_modelled)(run, activity, settings)
    except NotEvaluated as error:
        end = ActivityEnd("Failed", message=str(error), code="InvalidTemplate")
    _save(run, row | _ended(activity, end, started_at, run.shop.clock.now()))
    return end


def _first_row(run: PipelineRun, activity: Activity, attempt: int | None) -> dict[str, Any]:
    return {
        "pipelineName": run.item["display_name"],
        "pipelineId": run.item["id"],
        "pipelineRunId": run.job["id"],
        "activityName": activity.name,
        "activityType": activity.type,
        "activityRunId": new_id(),
        "linkedServiceName": "",
        "status": "InProgress",
        "activityRunStart": activity_time(run.shop.clock.now()),
        "activityRunEnd": None,
        "durationInMs": None,
        "input": {},
        "output": {},
        "error": activity_error("", activity.name),
        "retryAttempt": attempt,
        "iterationHash": "",
        "userProperties": {},
        "recoveryStatus": "None",
        "integrationRuntimeNames": None,
        "executionDetails": None,
    }


def _ended(activity: Activity, end: ActivityEnd, started_at: datetime, ended_at: datetime) -> dict[str, Any]:
    return {
        "status": end.status,
        "activityRunEnd": activity_time(ended_at),
        "durationInMs": round((ended_at - started_at).total_seconds() * 1000),
        "output": dict(end.output),
        "error": activity_error(end.message, activity.name, end.code),
    }


def _save(run: PipelineRun, row: dict[str, Any]) -> None:
    save_activity_run(run.shop.records, row, run.shop.clock.now())


def _wait(run: PipelineRun, pause: timedelta) -> str | None:
    """Wait by the sandbox's clock; returns why it was cut short, or None."""
    until = run.shop.clock.now() + pause
    idle = threading.Event()
    while run.shop.clock.now() < until:
        reason = run.why_stop()
        if reason:
            return reason
        idle.wait(_POLL_SECONDS)
    return None


def _wait_activity(run: PipelineRun, activity: Activity, settings: Mapping[str, Any]) -> ActivityEnd:
    seconds = settings.get("waitTimeInSeconds", 0)
    if not isinstance(seconds, int | float):
        return ActivityEnd("Failed", message=f"The waiting time '{seconds}' is not a number of seconds.", code="InvalidTemplate")
    pause = timedelta(seconds=seconds)
    if _wait(run, min(pause, activity.timeout)):
        return ActivityEnd("Cancelled")
    if pause > activity.timeout:
        return ActivityEnd("Failed", message=f"The activity did not end within its timeout of {activity.timeout}.", code="ActivityTimeout")
    return ActivityEnd("Succeeded")


def _fail_activity(run: PipelineRun, activity: Activity, settings: Mapping[str, Any]) -> ActivityEnd:
    _ = (run, activity)
    return ActivityEnd("Failed", message=str(settings.get("message", "")), code=str(settings.get("errorCode", "")))


def _not_modelled(run: PipelineRun, activity: Activity, settings: Mapping[str, Any]) -> ActivityEnd:
    _ = (run, settings)
    known = ", ".join(_ACTIVITIES)
    message = (
        f"Activities of type {activity.type} are not modelled by the Treadle sandbox, which runs {known}; see docs/sandbox-differences.md"
    )
    return ActivityEnd("Failed", message=message, code="NotModelled")


def _notebook_activity(run: PipelineRun, activity: Activity, settings: Mapping[str, Any]) -> ActivityEnd:
    if run.capacity_exceeded:
        return ActivityEnd("Failed", message=_failure_text("Exception", _BUSY, http_status=430), code=_NOTEBOOK_FAILED)
    notebook = _find_notebook(run, settings)
    if notebook is None:
        message = f"The notebook '{settings.get('notebookId')}' was not found in workspace '{settings.get('workspaceId')}'."
        return ActivityEnd("Failed", message=message, code="ItemNotFound")
    session = _Session(new_id(), notebook["id"], run.shop.clock.now())
    start = NotebookStart(_cast_parameters(settings.get("parameters")), session.id, run.job["id"], lakehouse_id=None)

    def why_stop() -> str | None:
        return run.why_stop() or (TIMED_OUT if run.shop.clock.now() - session.started_at > activity.timeout else None)

    return _notebook_end(run, activity, session, run_notebook_item(run.shop, notebook, start, why_stop))


def _find_notebook(run: PipelineRun, settings: Mapping[str, Any]) -> Row | None:
    workspace_id = settings.get("workspaceId") or _ZERO_ID
    if workspace_id == _ZERO_ID:
        workspace_id = run.item["workspace_id"]
    try:
        return items.get_item(run.shop.records, str(workspace_id), str(settings.get("notebookId")), "Notebook")
    except Refused:
        return None


def _cast_parameters(parameters: object) -> dict[str, Any]:
    """The values of {name: {value, type}} with their types; a value that is absent stays None, as in Fabric."""
    if parameters and not isinstance(parameters, dict):
        raise NotEvaluated("The parameters of the notebook are not an object.")
    return {name: _cast(name, parameter) for name, parameter in cast("dict[str, Any]", parameters or {}).items()}


def _cast(name: str, parameter: Any) -> Any:
    if not isinstance(parameter, dict):
        return parameter
    fields = cast("dict[str, Any]", parameter)
    value, kind = fields.get("value"), str(fields.get("type", "")).lower()
    try:
        return value if value is None or kind not in _CASTS else _CASTS[kind](value)
    except (ValueError, TypeError) as error:
        raise NotEvaluated(f"The value of the notebook parameter '{name}' is not of type {kind}.") from error


def _notebook_end(run: PipelineRun, activity: Activity, session: _Session, end: NotebookEnd) -> ActivityEnd:
    now = run.shop.clock.now()
    status, message, code = _verdict(activity, end)
    result = {
        "runId": session.id,
        "runStatus": status,
        "sessionId": session.id,
        "sparkPool": None,
        "error": end.error,
        "exitValue": end.exit_value,
        "lastCheckedOn": activity_time(now),
    }
    output = {
        "result": result,
        "message": f"Notebook execution is in {status} state, runId: {session.id}",
        "SparkMonitoringURL": output_link(run.shop, session.notebook_id, session.id),
        "sessionId": session.id,
        "executionDuration": round((now - session.started_at).total_seconds()),
        "durationInQueue": {"integrationRuntimeQueue": 0},
    }
    return ActivityEnd(status, output, message, code)


def _verdict(activity: Activity, end: NotebookEnd) -> tuple[str, str, str]:
    if end.stopped == TIMED_OUT:
        return "Failed", f"The notebook did not end within the activity's timeout of {activity.timeout}.", "ActivityTimeout"
    if end.stopped == CANCELLED:
        return "Cancelled", "", ""
    if end.stopped:
        return "Failed", end.stopped, _NOTEBOOK_FAILED
    if end.error:
        return "Failed", _failure_text(end.error["ename"], end.error["evalue"]), _NOTEBOOK_FAILED
    return "Succeeded", "", ""


def _failure_text(error_name: str, error_value: str, http_status: int = 200) -> str:
    """Fabric's sentence for a notebook that failed, as it stands in public issue reports."""
    return (
        f"Notebook execution failed at Notebook service with http status code - '{http_status}', please check the Run logs on Notebook, "
        f"additional details - 'Error name - {error_name}, Error value - {error_value}' : "
    )


_ACTIVITIES: Final[Mapping[str, Callable[[PipelineRun, Activity, Mapping[str, Any]], ActivityEnd]]] = {
    "TridentNotebook": _notebook_activity,
    "Wait": _wait_activity,
    "Fail": _fail_activity,
}
