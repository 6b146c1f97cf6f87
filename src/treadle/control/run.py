"""A run, as its row in `pipeline_runs` says."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from treadle.control.states import RunStatus
from treadle.errors import UnexpectedAnswer

RESTORE_PREFIX: Final = "__restore__"  # `__restore__<source run id>` as input_file makes a run a restore (product.md §1.2)


@dataclass(frozen=True, slots=True)
class NewRun:
    """What is known of a run before anything happened."""

    run_id: UUID
    triggered_by: str
    input_file: str
    workspace_id: str
    pipeline_item_id: str
    notebook_version: str | None = None
    app_version: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One run. Times are aware UTC; what has not happened yet is None."""

    run_id: UUID
    created_at: datetime
    triggered_by: str
    input_file: str
    workspace_id: str
    pipeline_item_id: str
    status: RunStatus
    started_at: datetime | None = None
    finished_at: datetime | None = None
    fabric_job_location_url: str | None = None
    fabric_job_id: str | None = None
    status_last_updated_at: datetime | None = None  # also None where the installation lacks the column
    error_message: str | None = None
    kpis: Mapping[str, Any] | None = None
    notebook_version: str | None = None
    app_version: str | None = None

    @property
    def is_restore(self) -> bool:
        """Whether the run publishes an earlier run again instead of reading a workbook."""
        return self.input_file.startswith(RESTORE_PREFIX)


_FIELDS: Final = frozenset(field.name for field in fields(Run))


def run_from_row(row: Mapping[str, Any]) -> Run:
    """Read a row of `pipeline_runs`; columns that Treadle does not know are ignored.

    Raises:
        UnexpectedAnswer: the status is not one of the five.
    """
    values: dict[str, Any] = {name: value for name, value in row.items() if name in _FIELDS}
    try:
        values["status"] = RunStatus(values["status"])
    except ValueError as error:
        raise UnexpectedAnswer(
            f"Run {values['run_id']} has the status {values['status']!r}, which does not exist.",
            hint="Ask who else writes to pipeline_runs.",
        ) from error
    return Run(**values)
