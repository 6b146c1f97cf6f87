"""Job instances and activity runs: what is kept of them and what Fabric says of them.

Source: JobScheduler in fabric-rest-api-specs, platform/swagger.json; for activity runs "Pipeline REST API capabilities" of the Fabric
documentation. About the hundred newest ended instances of an item are kept, and every active one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from treadle.sandbox.fabric.records import Records, Row, fabric_time, new_id
from treadle.sandbox.fabric.refusals import not_found

KEPT_ENDED_JOBS: Final = 100
ENDED: Final = frozenset({"Completed", "Failed", "Cancelled", "Deduped"})


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job as it was asked for; `root_activity_id` is the request that submitted it."""

    job_type: str
    request: Mapping[str, Any]
    root_activity_id: str


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended; message and code are those of a failure."""

    status: str
    message: str | None = None
    code: str = "JobInstanceStatusFailed"
    exit_value: str | None = None
    session_id: str | None = None


def insert_job(records: Records, item: Row, new: NewJob, now: datetime) -> Row:
    """A job that has not started."""
    job_id = new_id()
    records.rows(
        "INSERT INTO jobs (id, workspace_id, item_id, item_type, job_type, status, path_of_statuses, root_activity_id, request, submitted_at)"
        " VALUES (:id, :workspace_id, :item_id, :item_type, :job_type, 'NotStarted', '[\"NotStarted\"]', :root, :request, :now)",
        id=job_id,
        workspace_id=item["workspace_id"],
        item_id=item["id"],
        item_type=item["type"],
        job_type=new.job_type,
        root=new.root_activity_id,
        request=json.dumps(new.request),
        now=fabric_time(now),
    )
    return get_job(records, item["id"], job_id)


def get_job(records: Records, item_id: str, job_id: str) -> Row:
    """Raises JobInstanceNotFound, also for a job of another item."""
    row = records.row("SELECT * FROM jobs WHERE id = :id AND item_id = :item_id", id=job_id.lower(), item_id=item_id.lower())
    if row is None:
        raise not_found("JobInstance", job_id)
    return row


def job_of_workspace(records: Records, workspace_id: str, job_id: str) -> Row:
    """A job by its workspace, which is how activity runs are asked for; raises JobInstanceNotFound."""
    row = records.row("SELECT * FROM jobs WHERE id = :id AND workspace_id = :workspace", id=job_id.lower(), workspace=workspace_id.lower())
    if row is None:
        raise not_found("JobInstance", job_id)
    return row


def list_jobs(records: Records, item_id: str) -> list[Row]:
    """The jobs of an item, newest first: all active ones, and the newest ended ones."""
    rows = records.rows("SELECT * FROM jobs WHERE item_id = :id ORDER BY seq DESC", id=item_id)
    ended = [row["seq"] for row in rows if row["status"] in ENDED]
    forgotten = frozenset(ended[KEPT_ENDED_JOBS:])
    return [row for row in rows if row["seq"] not in forgotten]


def begin_job(records: Records, job_id: str, now: datetime) -> None:
    """NotStarted → InProgress; the start time moves from the submission to now, as Fabric's does."""
    _move(records, job_id, "InProgress", started_at=fabric_time(now))


def end_job(records: Records, job: Row, end: JobEnd, now: datetime) -> None:
    """Any active status → an ended one. A job that has ended already stays as it is."""
    failure = failure_of(job, end.message or "Job instance failed without detail error", end.code) if end.status == "Failed" else None
    _move(
        records,
        job["id"],
        end.status,
        ended_at=fabric_time(now),
        failure=None if failure is None else json.dumps(failure),
        exit_value=end.exit_value,
        session_id=end.session_id,
    )


def fail_interrupted_jobs(records: Records, now: datetime) -> list[str]:
    """End as Failed what was active when the sandbox stopped: its processes are gone. Returns the ids."""
    rows = records.rows("SELECT * FROM jobs WHERE status IN ('NotStarted', 'InProgress')")
    for row in rows:
        end_job(records, row, JobEnd("Failed", "The sandbox was stopped while this job was running."), now)
    for run in records.rows("SELECT * FROM activity_runs"):
        answer = json.loads(run["answer"])
        if answer["activityRunEnd"] is None:
            error = activity_error("The sandbox was stopped while this activity was running.", answer["activityName"])
            save_activity_run(records, answer | {"status": "Failed", "activityRunEnd": activity_time(now), "error": error}, now)
    return [row["id"] for row in rows]


def failure_of(job: Row, message: str, code: str = "JobInstanceStatusFailed") -> dict[str, Any]:
    """The failureReason of a job."""
    return {"requestId": job["root_activity_id"], "errorCode": code, "message": message, "isRetriable": False}


def activity_error(message: str, target: str, code: str = "", failure_type: str = "UserError") -> dict[str, Any]:
    """The error of an activity run; Fabric gives these fields, empty ones when nothing failed."""
    return {"errorCode": code, "message": message, "failureType": failure_type if message else "", "target": target, "details": ""}


def save_activity_run(records: Records, answer: Mapping[str, Any], now: datetime) -> None:
    """Write the row of an activity run, new or changed."""
    records.rows(
        "INSERT INTO activity_runs (id, job_id, updated_at, answer) VALUES (:id, :job_id, :now, :answer)"
        " ON CONFLICT (id) DO UPDATE SET updated_at = excluded.updated_at, answer = excluded.answer",
        id=answer["activityRunId"],
        job_id=answer["pipelineRunId"],
        now=activity_time(now),
        answer=json.dumps(answer),
    )


def activity_runs(records: Records, job_id: str) -> list[dict[str, Any]]:
    """The activity runs of a job in the order in which they began, each with `updated_at`."""
    rows = records.rows("SELECT * FROM activity_runs WHERE job_id = :id ORDER BY seq", id=job_id)
    return [json.loads(row["answer"]) | {"updated_at": row["updated_at"]} for row in rows]


def activity_time(moment: datetime) -> str:
    """A UTC time as the pipeline service writes it: unlike the job scheduler's, with a Z."""
    return fabric_time(moment) + "Z"


def job_json(row: Row) -> dict[str, Any]:
    """A job instance as Fabric answers it."""
    return {
        "id": row["id"],
        "itemId": row["item_id"],
        "jobType": row["job_type"],
        "invokeType": "Manual",
        "status": row["status"],
        "failureReason": None if row["failure"] is None else json.loads(row["failure"]),
        "rootActivityId": row["root_activity_id"],
        "startTimeUtc": row["started_at"] or row["submitted_at"],
        "endTimeUtc": row["ended_at"],
    }


def earlier_state(row: Row) -> Row:
    """The job as it was one status ago, or unchanged when it has had only one."""
    path: list[str] = json.loads(row["path_of_statuses"])
    if len(path) < 2:
        return row
    started = row["started_at"] if path[-2] != "NotStarted" else None
    return row | {"status": path[-2], "ended_at": None, "failure": None, "started_at": started}


def _move(records: Records, job_id: str, status: str, **changes: str | None) -> None:
    settings = "".join(f", {name} = :{name}" for name in changes)
    records.rows(
        f"UPDATE jobs SET status = :status, path_of_statuses = json_insert(path_of_statuses, '$[#]', :status){settings}"  # noqa: S608 - our own column names
        " WHERE id = :id AND status IN ('NotStarted', 'InProgress')",
        id=job_id,
        status=status,
        **changes,
    )
