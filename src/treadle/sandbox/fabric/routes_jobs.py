"""Jobs on the wire: run, look, list, cancel, and the activity runs of a pipeline."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast

from treadle.sandbox.fabric import items, job_log
from treadle.sandbox.fabric.calls import Answer, Call, nothing, page
from treadle.sandbox.fabric.cloud import FabricCloud
from treadle.sandbox.fabric.job_requests import read_job_request, read_job_type
from treadle.sandbox.fabric.notebook_job import output_file, output_link
from treadle.sandbox.fabric.records import Row
from treadle.sandbox.fabric.refusals import invalid, not_found

_TYPE_OF_COLLECTION: Final = {"datapipelines": "DataPipeline", "notebooks": "Notebook", "graphmodels": "GraphModel"}
_SUBMIT_FAULTS: Final = ("deduped", "job_failed", "capacity_exceeded")
_ROW_ORDER: Final = {
    "ActivityRunStart": "activityRunStart",
    "ActivityRunEnd": "activityRunEnd",
    "ActivityName": "activityName",
    "Status": "status",
}


def run_job(cloud: FabricCloud, call: Call) -> Answer:
    """Job Scheduler - Run On Demand Item Job, in both path forms and in the typed ones: 202 without a body."""
    shop = cloud.shop
    item = items.get_item(shop.records, call.ids["workspace"], call.ids["item"], _typed(call))
    job_type = read_job_type(item["type"], _asked_type(call))
    request = read_job_request(item["type"], call.body)
    if shop.faults.take("refresh_in_progress", call.operation):
        raise invalid("A refresh of this graph is running already.", "RefreshAlreadyInProgress")
    faults = {kind: dict(fault.args) for kind in _SUBMIT_FAULTS if (fault := shop.faults.take(kind, call.operation))}
    kept = {"parameters": dict(request.parameters), "lakehouse_id": request.lakehouse_id, "faults": faults}
    job = job_log.insert_job(shop.records, item, job_log.NewJob(job_type, kept, call.request_id), shop.clock.now())
    cloud.jobs.start(job)
    return nothing(202, Location=_location(call, job), **_retry_after(cloud, call))


def get_job(cloud: FabricCloud, call: Call) -> Answer:
    """Job Scheduler - Get Item Job Instance."""
    return _job_answer(cloud, call, _job(cloud, call))


def get_notebook_job(cloud: FabricCloud, call: Call) -> Answer:
    """Background Jobs - Get Notebook Job Instance (beta): the job with its exit value and the link to its output."""
    job = _job(cloud, call)
    answer = _job_answer(cloud, call, job)
    link = output_link(cloud.shop, job["item_id"], job["session_id"]) if job["session_id"] else None
    details = {"activityId": job["root_activity_id"], "monitoringInfo": {"executionSnapshotUrl": link}}
    properties = {"exitValue": job["exit_value"], "compute": "Jupyter", "computeDetails": details}
    return Answer(200, answer.body | {"properties": properties}, answer.headers)


def list_jobs(cloud: FabricCloud, call: Call) -> Answer:
    """Job Scheduler - List Item Job Instances: newest first."""
    shop = cloud.shop
    item = items.get_item(shop.records, call.ids["workspace"], call.ids["item"], _typed(call))
    rows = job_log.list_jobs(shop.records, item["id"])
    if rows and (fault := shop.faults.take("listing_lag", call.operation)):
        rows = rows[int(fault.args.get("hidden", 1)) :]
    return page(rows, call, cloud.options.page_size, job_log.job_json)


def cancel_job(cloud: FabricCloud, call: Call) -> Answer:
    """Job Scheduler - Cancel Item Job Instance: 202, and the job ends soon after; raises JobAlreadyCompleted."""
    job = _job(cloud, call)
    if job["status"] in job_log.ENDED:
        raise invalid(f"The job instance is {job['status']} already and cannot be cancelled.", "JobAlreadyCompleted")
    if not cloud.shop.faults.take("cancel_race", call.operation):
        cloud.jobs.cancel(job["id"])
    return nothing(202, Location=_location(call, job), **_retry_after(cloud, call))


def query_activity_runs(cloud: FabricCloud, call: Call) -> Answer:
    """Data pipelines - Query Activity Runs: the rows that changed between two times, in the asked order."""
    job = job_log.job_of_workspace(cloud.shop.records, call.ids["workspace"], call.ids["job"])
    after, before = (_read_bound(call.body, name) for name in ("lastUpdatedAfter", "lastUpdatedBefore"))
    rows = [
        row
        for row in job_log.activity_runs(cloud.shop.records, job["id"])
        if (after is None or row["updated_at"] >= after) and (before is None or row["updated_at"] <= before)
    ]
    for column, descending in reversed(_orders(call.body.get("orderBy"))):
        rows.sort(key=lambda row: row[column] or "~", reverse=descending)
    shown = [{name: value for name, value in row.items() if name != "updated_at"} for row in rows]
    if cloud.shop.faults.take("bare_array", call.operation):
        return Answer(200, shown)
    return Answer(200, {"continuationToken": None, "value": shown})


def read_output(cloud: FabricCloud, session_id: str) -> bytes:
    """What a notebook session printed, so far; raises SessionNotFound."""
    file = output_file(cloud.shop, session_id)
    if not session_id.replace("-", "").isalnum() or not file.is_file():
        raise not_found("Session", session_id)
    return file.read_bytes()


def _typed(call: Call) -> str | None:
    return _TYPE_OF_COLLECTION.get(call.ids.get("collection", "").lower())


def _asked_type(call: Call) -> str | None:
    return call.ids.get("job_type") or ("Execute" if _typed(call) else call.query.get("jobType"))


def _job(cloud: FabricCloud, call: Call) -> Row:
    item = items.get_item(cloud.shop.records, call.ids["workspace"], call.ids["item"], _typed(call))
    return job_log.get_job(cloud.shop.records, item["id"], call.ids["job"])


def _job_answer(cloud: FabricCloud, call: Call, job: Row) -> Answer:
    faults = cloud.shop.faults
    if faults.take("stale_status", call.operation):
        job = job_log.earlier_state(job)
    body = job_log.job_json(job)
    if fault := faults.take("unknown_status", call.operation):
        body |= {"status": fault.args.get("status", "Paused"), "endTimeUtc": None, "failureReason": None}
    return Answer(200, body, {} if body["status"] in job_log.ENDED else _retry_after_header(cloud, call))


def _location(call: Call, job: Row) -> str:
    return f"{call.base_url}/v1/workspaces/{job['workspace_id']}/items/{job['item_id']}/jobs/instances/{job['id']}"


def _retry_after(cloud: FabricCloud, call: Call) -> dict[str, str]:
    return {name.replace("-", "_"): value for name, value in _retry_after_header(cloud, call).items()}


def _retry_after_header(cloud: FabricCloud, call: Call) -> dict[str, str]:
    if cloud.shop.faults.take("no_retry_after", call.operation):
        return {}
    return {"Retry-After": str(cloud.options.job_retry_after_seconds)}


def _orders(asked: object) -> list[tuple[str, bool]]:
    """Which columns to sort by, each with whether it falls; unknown ones are an error."""
    if asked is None:
        return []
    if not isinstance(asked, list):
        raise invalid("orderBy is not a list.")
    orders: list[tuple[str, bool]] = []
    for order in cast("list[Any]", asked):
        fields = cast("dict[str, Any]", order) if isinstance(order, dict) else {}
        column = _ROW_ORDER.get(str(fields.get("orderBy")))
        if column is None:
            raise invalid(f"orderBy takes {', '.join(_ROW_ORDER)}.")
        orders.append((column, str(fields.get("order", "ASC")).upper() == "DESC"))
    return orders


def _read_bound(body: Mapping[str, Any], name: str) -> str | None:
    text = body.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise invalid(f"{name} is not a time: '{text}'.") from error
    return job_log.activity_time(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
