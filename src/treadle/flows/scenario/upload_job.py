"""A build as those who wait for it see it: one status, a share of the whole, and each slot. Pure: made of the job, its steps and its newest words.

The document's members, the names of the events and the steps of a provisioning are those that earlier front ends know; `cancelled`, `attempt`,
`requested_by`, `hint` and the results of the steps are added.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, cast
from uuid import UUID

from treadle.control.jobs.job import Job, JobEvent, JsonValue, Step, StepState
from treadle.control.jobs.states import JobState
from treadle.flows.scenario.asked import SLOTS

STAGES: Final = ("extract", "lakehouse", "upload", "tables", "ontology", "ontology_def", "graph_model")  # of a graph in Fabric
LAST_STEP: Final = "metadata"  # of the whole build, behind all slots
FAILED_PCT: Final = -1  # what an `error` says instead of how far it is
MADE: Final = ("lakehouse_id", "ontology_id", "graph_model_id", "eventhouse_id", "kql_database_id")
_STAGE_OF: Final = {"graph_model_def": "graph_model", "graph_refresh": "graph_model"}
_WHOLE: Final = 100.0


class UploadStatus(StrEnum):
    """How a build, or one slot of it, is."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    ERROR = "error"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing happens any more, unless somebody asks for it again."""
        return self not in {UploadStatus.PENDING, UploadStatus.RUNNING}


@dataclass(frozen=True, slots=True)
class UploadStep:
    """One slot. detail: in words, what happens or happened last. pct: 0 to 100. results: of its steps that are done, by their names."""

    name: str
    status: UploadStatus
    detail: str
    pct: float
    results: Mapping[str, JsonValue] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class UploadJob:
    """A build. scenario_name, backend: None until it is done, if nobody named them. error, hint: why it failed, what to do.

    error_details: what belongs to that; `faults` are those of an archive.

    attempt: the number of the current or last one; 0 before the first. steps: of the slots that were given. result: once it is done.
    version: another one whenever something has happened to it.
    """

    job_id: UUID
    scenario_name: str | None
    status: UploadStatus
    created_at: datetime
    updated_at: datetime
    overall_pct: float
    error: str | None
    hint: str | None
    backend: str | None
    workspace_id: str
    workspace_name: str
    requested_by: str
    attempt: int
    max_attempts: int | None
    cancel_requested_by: str | None
    steps: tuple[UploadStep, ...]
    version: str
    result: JsonValue = None
    error_details: Mapping[str, Any] | None = None

    def as_document(self) -> dict[str, Any]:
        """The upload-job document, as JSON has it."""
        plain = ("scenario_name", "overall_pct", "error", "hint", "backend", "workspace_id", "workspace_name", "requested_by", "attempt")
        return {
            "id": str(self.job_id),
            "status": str(self.status),
            "created_at": self.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "updated_at": self.updated_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            **{name: getattr(self, name) for name in plain},
            "steps": [{"name": step.name, "status": str(step.status), "detail": step.detail, "pct": step.pct} for step in self.steps],
        }


def upload_job(job: Job, steps: Sequence[Step], told: Iterable[JobEvent] = ()) -> UploadJob:
    """See a build so. steps: of this job, in order. told: the newest event of each slot that says how far it is (`data.slot`)."""
    newest = {str((event.data or {}).get("slot")): event for event in told}
    slots = tuple(_slot(job, name, steps, newest.get(name)) for name in slots_of(job))
    shares = [slot.pct for slot in slots]
    overall = _WHOLE if job.state is JobState.SUCCEEDED else sum(shares) / len(shares) if shares else 0.0
    return UploadJob(
        job_id=job.job_id,
        scenario_name=_said(job, steps, "scenario_name"),
        status=_status(job),
        created_at=job.created_at,
        updated_at=_last_touched(job, steps, newest.values()),
        overall_pct=round(overall, 1),
        error=job.error_message if job.state is JobState.FAILED else None,
        hint=job.error_hint if job.state is JobState.FAILED else None,
        backend=_said(job, steps, "backend", "connector"),
        workspace_id=str(job.payload.get("workspace_id") or ""),
        workspace_name=str(job.payload.get("workspace_name") or ""),
        requested_by=job.requested_by,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        cancel_requested_by=job.cancel_requested_by,
        steps=slots,
        version=str(job.last_seq),
        result=job.result,
        error_details=job.error_details if job.state is JobState.FAILED else None,
    )


def slots_of(job: Job) -> tuple[str, ...]:
    """The slots that were given, in the order in which they are done."""
    given: Any = job.payload.get("slots") or {}
    return tuple(name for name in SLOTS if name in given)


def progress_of(event: JobEvent, before: JobEvent | None = None, *, first_step: str = STAGES[0]) -> dict[str, Any] | None:
    """What a `progress` says: always at which step, in words, and how far it is. None: nothing for those who wait (that a step has begun, or is
    done, is told by what it says itself).

    pct: of the slot, 0 to 100. before: the newest earlier event that says a step (`says_step`), for one that is about the job and not about a step –
    an attempt failed, its worker was lost, somebody asks for it again; None: there is none yet, and it is at the beginning of `first_step`.
    """
    data = event.data or {}
    if "step" not in data and event.pct is None and event.level == "INFO":
        return None
    earlier: Mapping[str, Any] = (before.data if before else None) or {}
    if data.get("slot") not in (None, earlier.get("slot")):
        earlier = {}  # how far another slot was says nothing of this one
    step = data.get("step") or event.step or earlier.get("step") or first_step
    slot = data.get("slot") or earlier.get("slot")
    pct = next((float(each) for each in (data.get("pct"), event.pct, earlier.get("pct")) if each is not None), 0.0)
    told = {"step": stage_of(str(step)), "detail": str(data.get("detail") or event.message), "pct": round(pct, 1)}
    return told | ({"slot": str(slot)} if slot else {})


def says_step(event: JobEvent) -> bool:
    """Whether an event says by itself at which step the build is, and how far. Pure."""
    data = event.data or {}
    return bool(data.get("step") or event.step) and (data.get("pct") is not None or event.pct is not None)


def ending_of(job: Job, steps: Sequence[Step]) -> tuple[str, dict[str, Any]]:
    """How a build that has ended is told: ("complete", what it made) or ("error", where it ended and why)."""
    named = {"job_id": str(job.job_id), "status": str(_status(job))}
    if job.state is JobState.SUCCEEDED:
        result = _members(job.result)
        made = {name: result.get(name) for name in MADE}
        return "complete", {**made, "tables": result.get("tables") or [], "message": result.get("message") or "Done.", **named}
    broken = [step for step in steps if step.state is not StepState.DONE] or list(steps)
    ended_in = stage_of(broken[-1].name) if broken else first_step_of(job)
    detail = job.error_message or f"Cancelled by {job.cancel_requested_by}."
    faults: Any = (job.error_details or {}).get("faults") or []
    return "error", {"step": ended_in, "detail": detail, "pct": FAILED_PCT, "hint": job.error_hint, "faults": faults, **named}


def first_step_of(job: Job) -> str:
    """Where a job that has done nothing yet is: of an item by itself, at that item."""
    return str(job.payload.get("kind") or STAGES[0])


def stage_of(step: str) -> str:
    """The name of a step for those who wait: without its slot and without what it is about. `graph.upload:CoreRouter` → `upload`."""
    name = step.partition(":")[0]
    slot, _, rest = name.partition(".")
    name = rest if slot in SLOTS and rest else name
    return _STAGE_OF.get(name, name)


def _said(job: Job, steps: Iterable[Step], *names: str) -> str | None:
    """What was asked for, or else what the manifest said: as the end of the job, or before that the reading of an archive, has kept it."""
    told = (job.payload, _members(job.result), *(_members(step.result) for step in steps if step.name.endswith(".extract")))
    return next((str(said) for each in told for name in names if (said := each.get(name))), None)


def _members(value: JsonValue) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _status(job: Job) -> UploadStatus:
    """A build that waits for its next attempt is running to those who wait: it holds its workspace."""
    if job.state is JobState.QUEUED:
        return UploadStatus.RUNNING if job.started_at else UploadStatus.PENDING
    return {
        JobState.RUNNING: UploadStatus.RUNNING,
        JobState.SUCCEEDED: UploadStatus.DONE,
        JobState.FAILED: UploadStatus.ERROR,
        JobState.CANCELLED: UploadStatus.CANCELLED,
    }[job.state]


def _slot(job: Job, name: str, steps: Sequence[Step], told: JobEvent | None) -> UploadStep:
    own = [step for step in steps if step.name.startswith(f"{name}.")]
    status = _slot_status(job, own, told, is_behind=_is_behind(name, steps))
    data = (told.data if told else None) or {}
    pct = _WHOLE if status is UploadStatus.DONE else min(_WHOLE, max(0.0, float(data.get("pct") or 0)))
    results = {step.name.removeprefix(f"{name}."): step.result for step in own if step.state is StepState.DONE}
    return UploadStep(name, status, _detail(job, status, own, told), round(pct, 1), results)


def _slot_status(job: Job, own: Sequence[Step], told: JobEvent | None, *, is_behind: bool) -> UploadStatus:
    """is_behind: whether the build went on to something later."""
    if job.state is JobState.SUCCEEDED:
        return UploadStatus.DONE
    if not own and told is None:
        return UploadStatus.CANCELLED if job.state is JobState.CANCELLED else UploadStatus.PENDING
    broken = [step for step in own if step.state is not StepState.DONE]
    complete = bool(told and (told.data or {}).get("pct") == _WHOLE)
    if not broken and (is_behind or complete):
        return UploadStatus.DONE
    if job.state is JobState.FAILED:
        return UploadStatus.ERROR
    return UploadStatus.CANCELLED if job.state is JobState.CANCELLED else UploadStatus.RUNNING


def _is_behind(slot: str, steps: Sequence[Step]) -> bool:
    later = (*SLOTS[SLOTS.index(slot) + 1 :], LAST_STEP)
    return any(step.name.partition(".")[0] in later for step in steps)


def _detail(job: Job, status: UploadStatus, own: Sequence[Step], told: JobEvent | None) -> str:
    if status is UploadStatus.ERROR:
        return next((step.error_message for step in reversed(own) if step.error_message), None) or job.error_message or "It failed."
    if status is UploadStatus.CANCELLED:
        return f"Cancelled by {job.cancel_requested_by}."
    if told is not None:
        return str((told.data or {}).get("detail") or told.message)
    return {UploadStatus.DONE: "Done.", UploadStatus.RUNNING: "Under way."}.get(status, "Waits for its turn.")


def _last_touched(job: Job, steps: Iterable[Step], told: Iterable[JobEvent]) -> datetime:
    moments = [job.created_at, job.started_at, job.finished_at, *(event.at for event in told)]
    moments += [moment for step in steps for moment in (step.started_at, step.finished_at)]
    return max(moment for moment in moments if moment is not None)
