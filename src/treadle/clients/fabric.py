"""Microsoft Fabric's REST API: workspaces, items, definitions, jobs and the activities of a pipeline run.

Each method is one endpoint, named as Microsoft names it. Source: https://learn.microsoft.com/rest/api/fabric/
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from treadle.clients.answers import Answer, outcome_unknown, unexpected
from treadle.clients.entra import FABRIC_SCOPE
from treadle.clients.fabric_records import (
    ActivityRun,
    Item,
    ItemId,
    JobId,
    JobInstance,
    JobLocation,
    Workspace,
    WorkspaceId,
    definition_of,
    read_activity_run,
    read_definition,
    read_item,
    read_job_instance,
    read_workspace,
)
from treadle.clients.locations import checked_id, job_named_by
from treadle.clients.operations import (
    WAIT_SECONDS,
    Operation,
    OperationState,
    operation_started_by,
    poll_operation,
    result_of_operation,
    wait_for_operation,
)
from treadle.clients.quotas import Quotas, shared_quotas
from treadle.clients.retry import BACKOFF_SECONDS
from treadle.clients.transport import DEADLINE_SECONDS, TokenSource, Transport, entries_of, https_origin, next_page
from treadle.errors import Conflict, NotFound

__all__ = [
    "ActivityRun",
    "FabricClient",
    "Item",
    "ItemId",
    "JobId",
    "JobInstance",
    "JobLocation",
    "Operation",
    "OperationState",
    "Workspace",
    "WorkspaceId",
]

_MAX_ACTIVITY_PAGES: Final = 1_000


class FabricClient:
    """Fabric as one identity sees it. Every id is checked before it becomes part of an address. Safe to share between threads."""

    def __init__(  # noqa: PLR0913 - where, as whom, how patiently: each named
        self,
        base_url: str,
        credential: TokenSource,
        ca_file: Path | None = None,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        backoff_seconds: float = BACKOFF_SECONDS,
        quotas: Quotas | None = None,
    ) -> None:
        """Nothing is contacted yet.

        base_url: https://api.fabric.microsoft.com in production. deadline_seconds: of each call, retries included.
        quotas: None means those shared by this process for the identity.
        """
        self.transport = Transport(
            base_url,
            service="Fabric",
            credential=credential,
            scope=FABRIC_SCOPE,
            ca_file=ca_file,
            deadline_seconds=deadline_seconds,
            backoff_seconds=backoff_seconds,
            quotas=quotas or shared_quotas(https_origin(base_url), credential.identity),
        )

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()

    # Jobs. Source: Core, Job Scheduler.

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
        base = f"{_item_path(workspace, pipeline)}/jobs/instances"
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
        answer = self.transport.request("GET", _job_path(workspace, item, job_id), what=f"read job {job_id}")
        return read_job_instance(answer.exchange, answer.json_object(), answer.retry_after_seconds)

    def list_job_instances(self, workspace: WorkspaceId, item: ItemId) -> list[JobInstance]:
        """All jobs of an item that Fabric still remembers: those under way and about the last hundred that ended. A new one may lag."""
        what = f"list the jobs of item {item}"
        answered = self.transport.pages(f"{_item_path(workspace, item)}/jobs/instances", what=what)
        return [read_job_instance(answer.exchange, entry) for answer, entry in answered]

    def cancel_job_instance(self, workspace: WorkspaceId, item: ItemId, job_id: JobId) -> None:
        """Ask Fabric to cancel a job; it ends later, so keep polling. Raises Conflict if it has ended already. Safe to repeat."""
        path = f"{_job_path(workspace, item, job_id)}/cancel"
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
        path = f"{_workspace_path(workspace)}/datapipelines/pipelineruns/{checked_id(job_id, 'job')}/queryactivityruns"
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

    # Workspaces and items. Source: Core, Workspaces; Core, Items.

    def list_workspaces(self) -> list[Workspace]:
        """All workspaces that the identity may see."""
        return [read_workspace(answer.exchange, entry) for answer, entry in self.transport.pages("/v1/workspaces", what="list workspaces")]

    def get_workspace(self, workspace: WorkspaceId) -> Workspace:
        """One workspace."""
        answer = self.transport.request("GET", _workspace_path(workspace), what=f"read workspace {workspace}")
        return read_workspace(answer.exchange, answer.json_object())

    def create_workspace(self, name: str, *, capacity_id: str | None = None, description: str = "") -> Workspace:
        """Create a workspace. Not safe to repeat; raises Conflict if the name is taken, OutcomeUnknown if the answer was lost."""
        body = {"displayName": name, "description": description} | (
            {"capacityId": checked_id(capacity_id, "capacity")} if capacity_id else {}
        )
        answer = self.transport.request("POST", "/v1/workspaces", what=f"create workspace {name}", json=body, safety="unsafe")
        return read_workspace(answer.exchange, answer.json_object())

    def list_items(self, workspace: WorkspaceId, type: str | None = None) -> list[Item]:  # noqa: A002 - Fabric's own word
        """The items of a workspace, of one type or of all."""
        path = f"{_workspace_path(workspace)}/items"
        answered = self.transport.pages(path, what=f"list items of workspace {workspace}", params={"type": type} if type else None)
        return [read_item(answer.exchange, entry) for answer, entry in answered]

    def create_item(  # noqa: PLR0913 - the fields of the request, each named
        self,
        workspace: WorkspaceId,
        *,
        name: str,
        type: str,  # noqa: A002 - Fabric's own word
        parts: Mapping[str, bytes] | None = None,
        folder_id: str | None = None,
        description: str = "",
        deadline_seconds: float = WAIT_SECONDS,
    ) -> Item:
        """Create an item and wait until it is there. Not safe to repeat: look the name up before a second try.

        parts: path inside the item's folder → content. Fabric creates some types at once (201) and others by an operation (202), and may
        do either for any. Raises Conflict (the name is taken, or not free yet), OperationFailed, OutcomeUnknown.
        """
        body: dict[str, Any] = {"displayName": name, "type": type, "description": description}
        body |= {"definition": definition_of(parts)} if parts is not None else {}
        body |= {"folderId": checked_id(folder_id, "folder")} if folder_id else {}
        what = f"create {type} {name}"
        answer = self.transport.request("POST", f"{_workspace_path(workspace)}/items", what=what, json=body, safety="unsafe")
        created = self._result(answer, deadline_seconds)
        return read_item(answer.exchange, created) if created is not None else self._find_item(workspace, name, type, answer)

    def get_item_definition(self, workspace: WorkspaceId, item: ItemId, *, deadline_seconds: float = WAIT_SECONDS) -> dict[str, bytes]:
        """The files of an item: path inside its folder → content."""
        answer = self.transport.request(
            "POST", f"{_item_path(workspace, item)}/getDefinition", what=f"read the definition of item {item}", json={}
        )
        return read_definition(answer.exchange, self._result(answer, deadline_seconds) or {})

    def update_item_definition(
        self,
        workspace: WorkspaceId,
        item: ItemId,
        parts: Mapping[str, bytes],
        *,
        update_metadata: Literal["keep", "update"] = "keep",
        deadline_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Replace all files of an item, and with "update" its name and description by those of `.platform`. Safe to repeat."""
        answer = self.transport.request(
            "POST",
            f"{_item_path(workspace, item)}/updateDefinition",
            what=f"update the definition of item {item}",
            params={"updateMetadata": "true"} if update_metadata == "update" else None,
            json={"definition": definition_of(parts)},
            wants_json=False,
        )
        if answer.status == 202:
            wait_for_operation(self.transport, operation_started_by(answer), deadline_seconds=deadline_seconds)

    def delete_item(self, workspace: WorkspaceId, item: ItemId) -> None:
        """Delete an item. Raises NotFound if it was not there before. Safe to repeat."""
        try:
            self.transport.request("DELETE", _item_path(workspace, item), what=f"delete item {item}", wants_json=False)
        except NotFound as error:
            if error.details.get("attempts", 1) == 1:  # else an earlier attempt has deleted it, and its answer was lost
                raise

    # Long-running operations; operations.py has the three functions.

    def get_operation(self, operation: Operation) -> OperationState:
        """Look at an operation once."""
        return poll_operation(self.transport, operation)

    def _result(self, answer: Answer, deadline_seconds: float) -> Mapping[str, Any] | None:
        """The result of a call that was answered at once or by an operation. None: the operation has none."""
        if answer.status != 202:
            return answer.json_object()
        operation = operation_started_by(answer)
        wait_for_operation(self.transport, operation, deadline_seconds=deadline_seconds)
        return result_of_operation(self.transport, operation)

    def _find_item(self, workspace: WorkspaceId, name: str, item_type: str, answer: Answer) -> Item:
        found = [item for item in self.list_items(workspace, item_type) if item.name == name]
        if len(found) != 1:
            raise outcome_unknown(answer.exchange, f"it was done, but the workspace lists {len(found)} such items")
        return found[0]


def _workspace_path(workspace: str) -> str:
    return f"/v1/workspaces/{checked_id(workspace, 'workspace')}"


def _item_path(workspace: str, item: str) -> str:
    return f"{_workspace_path(workspace)}/items/{checked_id(item, 'item')}"


def _job_path(workspace: str, item: str, job_id: str) -> str:
    return f"{_item_path(workspace, item)}/jobs/instances/{checked_id(job_id, 'job')}"


def _execution(parameters: Mapping[str, str], owner_upn: str | None, owner_object_id: str | None) -> dict[str, Any]:
    owner = {"OwnerUserPrincipalName": owner_upn, "OwnerUserObjectId": owner_object_id}
    return {"executionData": {name: value for name, value in owner.items() if value} | {"parameters": dict(parameters)}}


def _as_text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
