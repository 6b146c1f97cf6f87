"""What every part of Fabric's client has: one transport, checked paths, and the wait for what Fabric does by an operation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from treadle.clients.answers import Answer
from treadle.clients.entra import FABRIC_SCOPE
from treadle.clients.locations import checked_id
from treadle.clients.operations import operation_started_by, result_of_operation, wait_for_operation
from treadle.clients.quotas import Quotas, shared_quotas
from treadle.clients.retry import BACKOFF_SECONDS
from treadle.clients.transport import DEADLINE_SECONDS, TokenSource, Transport, https_origin


class FabricCalls:
    """Fabric's REST API as one identity calls it; its parts are built on this."""

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

    def _result(self, answer: Answer, deadline_seconds: float) -> Mapping[str, Any] | None:
        """The result of a call that was answered at once or by an operation. None: the operation has none."""
        if answer.status != 202:
            return answer.json_object()
        operation = operation_started_by(answer)
        wait_for_operation(self.transport, operation, deadline_seconds=deadline_seconds)
        return result_of_operation(self.transport, operation)

    def _finished(self, answer: Answer, deadline_seconds: float) -> None:
        """Return when a call without a result was carried out, at once or by an operation."""
        if answer.status == 202:
            wait_for_operation(self.transport, operation_started_by(answer), deadline_seconds=deadline_seconds)


def workspace_path(workspace: str) -> str:
    """Where a workspace is; raises InvalidInput if it is no id."""
    return f"/v1/workspaces/{checked_id(workspace, 'workspace')}"


def item_path(workspace: str, item: str, collection: str = "items") -> str:
    """Where an item is, under `items` as all are, or under the collection of its type; raises InvalidInput if something is no id."""
    return f"{workspace_path(workspace)}/{collection}/{checked_id(item, 'item')}"


def job_path(workspace: str, item: str, job_id: str) -> str:
    """Where one job of an item is; raises InvalidInput if something is no id."""
    return f"{item_path(workspace, item)}/jobs/instances/{checked_id(job_id, 'job')}"
