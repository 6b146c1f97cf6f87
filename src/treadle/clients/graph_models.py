"""Graph models: bring a graph up to date, ask it in GQL, and see which types can be asked for.

Source: https://learn.microsoft.com/rest/api/fabric/graphmodel/ and https://learn.microsoft.com/fabric/graph/gql-query-api
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from treadle.clients.answers import Answer, outcome_unknown
from treadle.clients.deadline import within
from treadle.clients.fabric_calls import item_path
from treadle.clients.fabric_jobs import FabricJobs
from treadle.clients.fabric_records import ItemId, JobId, JobInstance, JobLocation, WorkspaceId
from treadle.clients.graph_answers import GraphAnswer, read_answer
from treadle.clients.locations import job_named_by
from treadle.clients.operations import poll_pause_seconds
from treadle.errors import NotFound, OperationFailed, TreadleError, Unavailable

QUERY_SECONDS: Final = 120.0  # Fabric itself ends a query after twenty minutes
REFRESH_SECONDS: Final = 1800.0
_UNDER_WAY: Final = frozenset({"NotStarted", "InProgress"})
_ALREADY: Final = "RefreshAlreadyInProgress"
_BETA: Final = {"beta": "true"}
_TRIES: Final = 3


class GraphModels(FabricJobs):
    """The part of Fabric's client that is about graphs."""

    def refresh_graph(self, workspace: WorkspaceId, graph_model: ItemId) -> JobLocation:
        """Run On-Demand RefreshGraph, or find the refresh that is under way, and return where to poll it. Safe to repeat.

        Two refreshes of the same tables lead to the same graph, so a lost answer is asked again, and one that Fabric refuses because
        another is under way is that other. A refresh that began before the definition was replaced is adopted all the same: replace it
        first, and let nobody else refresh meanwhile.

        Raises:
            OutcomeUnknown: Fabric has accepted it and named no job, nor is any to be seen.
            InvalidInput, OperationFailed …: Fabric refused, for example because the model has no definition (GraphNotRefreshable).
        """
        refused: TreadleError | None = None
        for _ in range(_TRIES):
            if found := self._refresh_under_way(workspace, graph_model):
                return self._at(workspace, graph_model, found.job_id, found.retry_after_seconds)
            try:
                return self._start_refresh(workspace, graph_model)
            except TreadleError as error:
                if error.details.get("error_code") != _ALREADY:
                    raise
                refused = error  # it has ended by now, or the list lags: look again
        raise Unavailable(
            f"Fabric says that graph {graph_model} is being refreshed, and lists no such job.",
            hint="Try again in a minute.",
            details=refused.details if refused else {},
        ) from refused

    def wait_for_refresh(  # noqa: PLR0913 - which refresh, how patiently
        self,
        workspace: WorkspaceId,
        graph_model: ItemId,
        job_id: str,
        *,
        deadline_seconds: float = REFRESH_SECONDS,
        check: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> JobInstance:
        """Poll a refresh until it is done. Safe to repeat. check: called before each look; what it raises ends the waiting.

        A job that Fabric has dropped in favour of another (Deduped) is waited for in that other.

        Raises:
            OperationFailed: the refresh failed or was cancelled; `details` has error_code and error_message.
            Unavailable: it still runs at the deadline.
        """
        polls = 0
        with within(deadline_seconds) as deadline:
            while True:
                check()
                job = self._refresh_job(workspace, graph_model, job_id)
                if job and job.status == "Completed":
                    return job
                if job and job.status == "Deduped":
                    job_id = self.refresh_graph(workspace, graph_model).job_id
                elif job and (job.status in {"Failed", "Cancelled"}):
                    if job.failure_code != _ALREADY:
                        raise _failed(graph_model, job)
                    job_id = self.refresh_graph(workspace, graph_model).job_id
                pause = poll_pause_seconds(polls, job.retry_after_seconds if job else None)
                if pause >= deadline.remaining_seconds:
                    raise _still_refreshing(graph_model, job_id, deadline_seconds)
                sleep(pause)
                polls += 1

    def execute_query(
        self, workspace: WorkspaceId, graph_model: ItemId, gql: str, *, deadline_seconds: float = QUERY_SECONDS
    ) -> GraphAnswer:
        """Execute Query. Reads only, so it is safe to repeat.

        Raises:
            InvalidInput: the engine refuses the query; the message has its words.
            NotFound: there is no such graph model.
        """
        answer = self.transport.request(
            "POST",
            f"{item_path(workspace, graph_model, 'graphModels')}/executeQuery",
            what=f"query graph {graph_model}",
            params=_BETA,
            json={"query": gql},
            deadline_seconds=deadline_seconds,
            attempt_seconds=deadline_seconds,
        )
        return read_answer(answer.exchange, answer.json_object())

    def queryable_graph_type(self, workspace: WorkspaceId, graph_model: ItemId) -> Mapping[str, Any]:
        """Get Queryable Graph Type: `nodeTypes` and `edgeTypes` of the graph as it was last refreshed."""
        path = f"{item_path(workspace, graph_model, 'graphModels')}/getQueryableGraphType"
        return self.transport.request("GET", path, what=f"read the type of graph {graph_model}", params=_BETA).json_object()

    def _refresh_under_way(self, workspace: WorkspaceId, graph_model: ItemId) -> JobInstance | None:
        jobs = self.list_job_instances(workspace, graph_model)
        return next((job for job in jobs if job.job_type.casefold() == "refreshgraph" and job.status in _UNDER_WAY), None)

    def _start_refresh(self, workspace: WorkspaceId, graph_model: ItemId) -> JobLocation:
        path = f"{item_path(workspace, graph_model, 'graphModels')}/jobs/refreshGraph/instances"
        answer = self.transport.request("POST", path, what=f"refresh graph {graph_model}", json={}, wants_json=False)
        named = job_named_by(answer.headers.get("location"))
        if named and (named.workspace, named.item) == (workspace.lower(), graph_model.lower()):
            return self._at(workspace, graph_model, named.job, answer.retry_after_seconds)
        return self._unnamed_refresh(workspace, graph_model, answer)

    def _unnamed_refresh(self, workspace: WorkspaceId, graph_model: ItemId, answer: Answer) -> JobLocation:
        if found := self._refresh_under_way(workspace, graph_model):
            return self._at(workspace, graph_model, found.job_id, found.retry_after_seconds)
        raise outcome_unknown(answer.exchange, "it was accepted, but the answer does not say as which job", status=answer.status)

    def _at(self, workspace: WorkspaceId, graph_model: ItemId, job_id: str, retry_after_seconds: float | None) -> JobLocation:
        url = f"{self.transport.base_url}{item_path(workspace, graph_model)}/jobs/instances/{job_id}"
        return JobLocation(job_id, url, retry_after_seconds)

    def _refresh_job(self, workspace: WorkspaceId, graph_model: ItemId, job_id: str) -> JobInstance | None:
        """None: Fabric does not know it yet, as it may not right after the start."""
        try:
            return self.get_job_instance(workspace, graph_model, JobId(job_id))
        except NotFound as error:
            if error.details.get("error_code") in {"ItemNotFound", "WorkspaceNotFound"}:
                raise
            return None


def _failed(graph_model: str, job: JobInstance) -> OperationFailed:
    said = f": {job.failure_message}" if job.failure_message else "."
    return OperationFailed(
        f"Fabric could not refresh graph {graph_model}; the job ended as {job.status}{said}",
        hint="Correct what the message names and try again.",
        details={
            "service": "Fabric",
            "job_id": job.job_id,
            "status": job.status,
            "error_code": job.failure_code,
            "error_message": job.failure_message,
        },
    )


def _still_refreshing(graph_model: str, job_id: str, seconds: float) -> Unavailable:
    return Unavailable(
        f"Fabric has not refreshed graph {graph_model} within {seconds:.0f} s; it may still do so.",
        hint="Try again: the refresh that is under way is found.",
        details={"service": "Fabric", "job_id": job_id},
    )
