"""The jobs of Fabric's items: start a pipeline, look at a job, cancel it, and what its activities did.

Each method is one endpoint, named as Microsoft names it. Source: https://learn.microsoft.com/rest/api/fabric/core/job-scheduler
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from treadle.clients.answers import outcome_unknown, unexpected
from treadle.clients.fabric_calls import FabricCalls, item_path, job_path, workspace_path
from treadle.clients.fabric_records import (
    ActivityRun,
    ItemId,
    JobId,
    JobInstance,
    JobLocation,
    WorkspaceId,
    read_activity_run,
    read_job_instance,
)
from treadle.clients.locations import checked_id, job_named_by
from treadle.clients.transport import entries_of, next_page
from treadle.errors import Conflict

_MAX_ACTIVITY_PAGES: Final = 1_000


class FabricJobs(FabricCalls):
    """The part of Fabric's client that is about jobs."""

    def run_pipeline(
        self,
        workspace: WorkspaceId,
        pipeline: ItemId,
        parameters: Mapping[str, str],
        *,
        owner_upn: str | None = None,
        owner_object_id: str | None = None,
    ) -> JobLocation:
        """Start the pipeline once and return where to poll it. Not safe to repeat: look the job up before a second try.

        Fabric documents no key by which a second POST would be recognised, so it is only repeated where Fabric surely did not take the
        first: refused connections and 429. Source: Run On Demand Item Job, in the form that pipelines have always had.

        Raises:
            OutcomeUnknown: the answer was lost, or names no job. A job may be running.
            Throttled, Unavailable: the deadline came before Fabric took the request; nothing runs.
            NotFound, PermissionDenied, InvalidInput, Conflict …: Fabric refused; nothing runs.
        """
        base = f"{item_path(workspace, pipeline)}/jobs/instances"
        answer = self.transport.request(
            "POST",
            base,
            what=f"start pipeline {pipeline}",
            params={"jobType": "Pipeline"},
            json=_execution(parameters, owner_upn, owner_object_id),
            safety="unsafe",
            wants_json=False,
        )
        named = job_named_by(answer.headers.get("location")) if answer.status in (200, 201, 202) else None
        if named is None or (named.workspace, named.item) != (workspace.lower(), pipeline.lower()):
            raise outcome_unknown(answer.exchange, "it was accepted, but the answer does not say as which job", status=answer.status)
        return JobLocation(named.job, f"{self.transport.base_url}{base}/{named.job}", answer.retry_after_seconds)

    def get_job_instance(self, workspace: WorkspaceId, item: ItemId, job_id: JobId) -> JobInstance:
        """Look at one job. Right after a start Fabric may not know it yet: NotFound, which the caller judges by the job's age."""
        answer = self.transport.request("GET", job_path(workspace, item, job_id), what=f"read job {job_id}")
        return read_job_instance(answer.exchange, answer.json_object(), answer.retry_after_seconds)

    def list_job_instances(self, workspace: WorkspaceId, item: ItemId) -> list[JobInstance]:
        """All jobs of an item that Fabric still remembers: those under way and about the last hundred that ended. A new one may lag."""
        what = f"list the jobs of item {item}"
        answered = self.transport.pages(f"{item_path(workspace, item)}/jobs/instances", what=what)
        return [read_job_instance(answer.exchange, entry) for answer, entry in answered]

    def cancel_job_instance(self, workspace: WorkspaceId, item: ItemId, job_id: JobId) -> None:
        """Ask Fabric to cancel a job; it ends later, so keep polling. Raises Conflict if it has ended already. Safe to repeat."""
        path = f"{job_path(workspace, item, job_id)}/cancel"
        try:
            self.transport.request("POST", path, what=f"cancel job {job_id}", json={}, wants_json=False)
        except Conflict as error:
            if error.details.get("attempts", 1) == 1:  # else an earlier attempt may have ended it, and its answer was lost
                raise

    def query_activity_runs(self, workspace: WorkspaceId, job_id: JobId, *, after: datetime, before: datetime) -> list[ActivityRun]:
        """What the activities of a pipeline run did between two moments, the latest first.

        Answered as a bare array by older services and as `{value, continuationToken}` by newer ones. Source: Data Factory, pipeline REST
        API capabilities, Query activity runs.
        """
        path = f"{workspace_path(workspace)}/datapipelines/pipelineruns/{checked_id(job_id, 'job')}/queryactivityruns"
        asked: dict[str, Any] = {
            "filters": [],
            "orderBy": [{"orderBy": "ActivityRunStart", "order": "DESC"}],
            "lastUpdatedAfter": _as_text(after),
            "lastUpdatedBefore": _as_text(before),
        }
        found, seen = list[ActivityRun](), set[str]()
        while True:
            answer = self.transport.request("POST", path, what=f"read the activities of job {job_id}", json=asked)
            whole = answer.json()
            page: Mapping[str, Any] = {"value": whole} if isinstance(whole, list) else answer.json_object()
            found += [read_activity_run(answer.exchange, entry) for entry in entries_of(answer.exchange, page)]
            following = (next_page(page) or {}).get("continuationToken")
            if following is None:
                return found
            if following in seen or len(seen) >= _MAX_ACTIVITY_PAGES:
                raise unexpected(answer.exchange, "the list continues with a page that came before")
            seen.add(following)
            asked["continuationToken"] = following


def _execution(parameters: Mapping[str, str], owner_upn: str | None, owner_object_id: str | None) -> dict[str, Any]:
    owner = {"OwnerUserPrincipalName": owner_upn, "OwnerUserObjectId": owner_object_id}
    return {"executionData": {name: value for name, value in owner.items() if value} | {"parameters": dict(parameters)}}


def _as_text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
