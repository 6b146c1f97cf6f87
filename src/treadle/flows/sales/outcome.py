"""What a run's own folder and its job say about how it ended."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast
from uuid import UUID

from treadle.clients.fabric import ActivityRun, JobInstance
from treadle.clients.locations import is_id
from treadle.clients.onelake import OneLakeClient
from treadle.control.artifacts import NewArtifact
from treadle.control.run import Run
from treadle.errors import InvalidInput, NotFound, TreadleError, UnexpectedAnswer
from treadle.flows.sales.lakehouse import ARTIFACT_TYPES, FAILED, KPIS, RUN_METADATA, STARTED, run_path
from treadle.flows.sales.manifest import MAX_RECORD_BYTES, RunRecord, parse_run_record

_CANCELLED_BY: Final = "The run was cancelled by "
_CANCELLED: Final = "The job was cancelled in Fabric."


class InvalidResult(TreadleError):
    """The run's folder does not prove a finished run; the message completes a sentence that begins with `but`."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a finished run left behind."""

    kpis: Mapping[str, Any] | None  # None: a restore has none of its own
    artifacts: tuple[NewArtifact, ...]
    warnings: tuple[str, ...]
    summary: str
    notebook_version: str | None  # of Treadle inside the notebook; None when it does not say


def read_result(lake: OneLakeClient, run: Run) -> RunResult:
    """Read and check what a run left in its folder.

    Raises:
        InvalidResult: run_metadata.json is missing, not this run's, or disagrees with the files.
        Unavailable and others: the lake could not be asked; try again.
    """
    metadata, record = _read_record(lake, run.run_id)
    version = cast("str | None", metadata.get("treadle_version"))
    if record.kind == "restore":
        summary = f"current/ is again the files of run {record.source_run_id}."
        return RunResult(None, (_metadata_artifact(lake, run.run_id),), (), summary, version)
    present = {file.name: file.size_bytes for file in lake.list_files(run_path(run.run_id))}
    for file in record.files:
        if present.get(file.name) != file.size_bytes:
            raise InvalidResult(f"{file.name} is missing from the run's folder or has another size than {RUN_METADATA} says.")
    kpis = _read_kpis(lake, run.run_id, {file.name: file.sha256 for file in record.files}[KPIS])
    artifacts = tuple(
        NewArtifact(kind, run_path(run.run_id, name), present[name]) for name, kind in ARTIFACT_TYPES.items() if name in present
    )
    warnings = tuple(str(text) for text in cast("Sequence[Any]", metadata.get("warnings") or ()))
    return RunResult(kpis, artifacts, warnings, f"revenue {kpis['total_revenue']:,}, {kpis['orders']:,} orders.", version)


def started_job(lake: OneLakeClient, run_id: UUID) -> str | None:
    """The pipeline run that carries this run, if its notebook got far enough to say so."""
    try:
        started = _as_object(lake.read_bytes(run_path(run_id, STARTED), max_bytes=MAX_RECORD_BYTES))
    except (NotFound, InvalidInput, ValueError):
        return None
    job_id = started.get("pipeline_run_id")
    return str(job_id) if is_id(job_id) else None


def was_cancelled(error_message: str) -> bool:
    """Whether a run ended because somebody cancelled it, by what `failure_message` recorded. Pure."""
    return error_message == _CANCELLED or error_message.startswith(_CANCELLED_BY)


def failure_message(lake: OneLakeClient, run: Run, job: JobInstance, activities: Sequence[ActivityRun], cancelled_by: str | None) -> str:
    """Say why a job did not complete, best source first: who cancelled, the notebook's own words, the activity's, the job's."""
    if job.status == "Cancelled":
        return f"{_CANCELLED_BY}{cancelled_by}." if cancelled_by else _CANCELLED
    if job.status == "Deduped":
        return "Fabric dropped the job because another one of this pipeline was running (Deduped). Start the run again when it has ended."
    if told := _told_by_notebook(lake, run.run_id):
        return told
    reasons = [activity.error_message for activity in activities if activity.error_message] + [job.failure_message]
    return next(
        (f"Fabric reports {job.status}: {reason}" for reason in reasons if reason), f"Fabric reports {job.status} without a reason."
    )


def output_link(activity: ActivityRun) -> str | None:
    """Where the notebook's output can be seen, if Fabric tells."""
    link = activity.output.get("SparkMonitoringURL")
    return str(link) if link else None


def _read_record(lake: OneLakeClient, run_id: UUID) -> tuple[Mapping[str, Any], RunRecord]:
    try:
        content = lake.read_bytes(run_path(run_id, RUN_METADATA), max_bytes=MAX_RECORD_BYTES)
        return _as_object(content), parse_run_record(content, run_id)
    except NotFound:
        raise InvalidResult(f"the run's folder has no {RUN_METADATA}, so the notebook did not finish.") from None
    except (UnexpectedAnswer, InvalidInput) as error:  # the latter: larger than anything of ours
        raise InvalidResult(error.message) from error
    except ValueError as error:
        raise InvalidResult(f"{RUN_METADATA} cannot be read: {error}.") from error


def _read_kpis(lake: OneLakeClient, run_id: UUID, sha256: str) -> Mapping[str, Any]:
    try:
        content = lake.read_bytes(run_path(run_id, KPIS), max_bytes=MAX_RECORD_BYTES)
    except (InvalidInput, NotFound) as error:
        raise InvalidResult(error.message) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InvalidResult(f"{KPIS} is not the file that {RUN_METADATA} lists: its SHA-256 differs.")
    try:
        kpis = _as_object(content)
    except ValueError as error:
        raise InvalidResult(f"{KPIS} cannot be read: {error}.") from error
    if missing := [name for name in ("total_revenue", "orders") if not _is_number(kpis.get(name))]:
        raise InvalidResult(f"{KPIS} has no number for {', '.join(missing)}.")
    return kpis


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _told_by_notebook(lake: OneLakeClient, run_id: UUID) -> str | None:
    try:
        told = _as_object(lake.read_bytes(run_path(run_id, FAILED), max_bytes=MAX_RECORD_BYTES))
    except (NotFound, InvalidInput, ValueError):
        return None
    parts = [str(told[name]) for name in ("message", "hint") if told.get(name)]
    return " ".join(parts) or None


def _metadata_artifact(lake: OneLakeClient, run_id: UUID) -> NewArtifact:
    path = run_path(run_id, RUN_METADATA)
    return NewArtifact("metadata", path, lake.stat(path).size_bytes)


def _as_object(content: bytes) -> Mapping[str, Any]:
    """Raises ValueError for anything but a JSON object."""
    parsed = json.loads(content)
    if not isinstance(parsed, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - told apart from nothing: for the caller it is unreadable
    return cast("dict[str, Any]", parsed)
