"""Who may work on a scenario's name and in a workspace: one job at a time, whatever the keys of the jobs are.

The key of a job is one workspace. But a removal reaches into every workspace that its scenario was built in, and a name is one in all of them, with its
record, its documents and its graph in Cosmos DB. So a job claims what it works on before it does anything there, each by a document.
A claim holds exactly as long as its job has not ended, which the queue knows: no lease can lapse under a job that works, the next attempt after a kill
has it still, and nothing need be cleared away. The document stays, and tells a build that is asked for again who was at work there since.
"""

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from treadle.control.jobs.job import Job, StepState
from treadle.control.jobs.queue import get_job, list_steps
from treadle.control.jobs.run import JobContext
from treadle.control.jobs.states import JobState
from treadle.errors import Conflict, NotFound, OutcomeUnknown, TreadleError, Unavailable
from treadle.flows.scenario.flow import BUILD, DESTROY
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.upload_job import STAGES, slots_of
from treadle.stores.containers import CLAIMS
from treadle.stores.document_store import Document

WAIT_SECONDS: Final = 1800.0  # in one attempt, for all claims together; with five attempts longer than nearly every build
_LOOK_SECONDS: Final = 1.0  # between two looks, and how soon a job that waits hears that it is to end
_DUE_SECONDS: Final = 5.0  # a holder that no worker has taken up for that long may need the slot in which we wait
_LAST_WORD_SECONDS: Final = 5.0  # before the deadline, so that the job says for whom it waited, and not that its time is over
_TRIES: Final = 20  # at a document that others write at the same time
_DIGITS: Final = 40  # of a SHA-256, as the documents of things have
_WORDS: Final = {BUILD: "build", DESTROY: "removal"}  # what changes things; an item by itself makes nobody's earlier steps void


@dataclass(frozen=True, slots=True)
class Claimed:
    """What one job at a time may have. name: the id of a workspace in lower case, or a scenario's name as it is."""

    what: Literal["workspace", "scenario"]
    name: str

    def __str__(self) -> str:
        return f"{self.what} {self.name}"

    @property
    def document_id(self) -> str:
        """Names of all kinds fit, also those that somebody else's document of a scenario has."""
        return f"{self.what}-{hashlib.sha256(self.name.encode()).hexdigest()[:_DIGITS]}"


def workspace(workspace_id: str) -> Claimed:
    """A workspace, as it is claimed. Pure."""
    return Claimed("workspace", workspace_id.lower())


def scenario(name: str) -> Claimed:
    """The name of a scenario, as it is claimed. Pure."""
    return Claimed("scenario", name)


def claim_for_build(services: ScenarioServices, context: JobContext, workspace_id: str, scenario_name: str | None) -> None:
    """Claim what a build works on. scenario_name: None as long as only the archive knows; then claim again. Safe to repeat.

    Raises:
        Conflict: since an earlier attempt did something there, and ended, another job has had it: what is done no longer holds.
        Others: as `claim`.
    """
    wanted = [workspace(workspace_id), *([scenario(scenario_name)] if scenario_name else [])]
    claim(services, context, wanted, since=_first_change(services, context.job))


def claim_for_removal(services: ScenarioServices, context: JobContext, scenario_name: str, places: Callable[[], Collection[str]]) -> None:
    """Claim what a removal works on. places: the workspaces that it reaches into, looked up anew. Safe to repeat.

    A build that ended while the name was waited for may have gone to one more. That one is not claimed behind the name, since two jobs could then wait for
    each other; all are given back, and claimed in their order.

    Raises:
        As `claim`.
    """
    while True:
        wanted = {scenario(scenario_name), *map(workspace, places())}
        claim(services, context, wanted)
        if wanted.issuperset(map(workspace, places())):
            return
        _give_back(services, context.job, wanted)


def claim(
    services: ScenarioServices,
    context: JobContext,
    wanted: Iterable[Claimed],
    *,
    since: datetime | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> None:
    """Have all of these for the job until it ends; one that another job has is waited for. Safe to repeat. All jobs take them in one order: workspaces first.

    since: when the job first changed something there. None: not yet.

    Raises:
        Unavailable: another job kept one for too long, or waits for the slot of a worker, perhaps ours. What was not ours before is given back.
        Conflict: another build or removal has had one since.
        Interrupted: as `JobContext.check`.
    """
    ordered = sorted(set(wanted), key=lambda each: (each.what != "workspace", each.name))
    fresh = [each for each in ordered if not _is_of(holder_of(services, each), context.job)]
    gives_up_at = time.monotonic() + _patience(services, context.job, wait_seconds)
    try:
        for each in ordered:
            _take_patiently(services, context, each, since, gives_up_at)
    except TreadleError:
        _give_back(services, context.job, fresh)
        raise


def holder_of(services: ScenarioServices, claimed: Claimed) -> Job | None:
    """The job that has it now. None: it is free."""
    document = services.documents.find(CLAIMS, claimed.document_id)
    return _holder(services, document) if document else None


def _take_patiently(services: ScenarioServices, context: JobContext, claimed: Claimed, since: datetime | None, gives_up_at: float) -> None:
    told: UUID | None = None
    while holder := _take(services, context.job, claimed, since):
        if time.monotonic() >= gives_up_at or _needs_a_slot(holder, services.own.now()):
            raise _held(claimed, holder)
        if holder.job_id != told:
            _tell(context, f"Waits for the {_words(holder)}, which has the {claimed}.")
            told = holder.job_id
        context.check()
        time.sleep(_LOOK_SECONDS)


def _tell(context: JobContext, detail: str) -> None:
    """Tell those who watch; of a build, at its first slot and stage, since front ends know no others."""
    slots = slots_of(context.job)
    at = {"slot": slots[0], "step": STAGES[0]} if slots else {"step": "wait"}
    context.progress(detail, data={**at, "detail": detail, "pct": None})


def _take(services: ScenarioServices, job: Job, claimed: Claimed, since: datetime | None) -> Job | None:
    """Write down that the job has it. Returns who else has it; then nothing was written.

    Written also when it is the job's already, in the name of this attempt, so that one which was overtaken gives back nothing.
    """
    store = services.documents
    for _ in range(_TRIES):
        document = store.find(CLAIMS, claimed.document_id)
        holder = _holder(services, document) if document else None
        if holder and holder.job_id != job.job_id:
            return holder
        before: Mapping[str, Any] = document.body if document else {}
        _refuse_when_outdated(services, job, claimed, before, since)
        body = _body(job, claimed, before, services.own.now())
        try:
            store.put(CLAIMS, claimed.document_id, body, if_match=document.etag if document else None, create_only=document is None)
        except (Conflict, OutcomeUnknown):  # another one came first; or it was we, and the answer was lost
            continue
        return None
    raise Unavailable(f"The claim on the {claimed} is being written by others.", hint="Try again.")


def _body(job: Job, claimed: Claimed, before: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """job_began: a job that is asked for again begins anew, and must take its claims again. changed_by, changed_at: the last build or removal."""
    changed = {"changed_by": str(job.job_id), "changed_at": now.astimezone(UTC).isoformat()}
    if job.kind not in _WORDS:
        changed = {name: before.get(name) for name in changed}
    fence = max(job.fence, before["fence"]) if before.get("job_id") == str(job.job_id) else job.fence
    return {"what": claimed.what, "name": claimed.name, "job_id": str(job.job_id), "job_began": _began(job), "fence": fence, **changed}


def _holder(services: ScenarioServices, document: Document) -> Job | None:
    """The job that a claim is of, if it still holds."""
    try:
        job = get_job(services.own, UUID(document.body["job_id"]))
    except (
        NotFound,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ):  # forgotten long after its end; given back; or written by somebody else
        return None
    return None if job.state.ended or document.body.get("job_began") != _began(job) else job


def _began(job: Job) -> str | None:
    return job.started_at.astimezone(UTC).isoformat() if job.started_at else None


def _is_of(holder: Job | None, job: Job) -> bool:
    return holder is not None and holder.job_id == job.job_id


def _give_back(services: ScenarioServices, job: Job, claims: Iterable[Claimed]) -> None:
    """Let others have what this attempt has taken. An attempt that has been overtaken gives back nothing: the newer one has it."""
    for claimed in claims:
        document = services.documents.find(CLAIMS, claimed.document_id)
        if document is None or (document.body.get("job_id"), document.body.get("fence")) != (str(job.job_id), job.fence):
            continue
        try:
            services.documents.put(CLAIMS, document.id, {**document.body, "job_id": None}, if_match=document.etag)
        except Conflict:
            continue


def _first_change(services: ScenarioServices, job: Job) -> datetime | None:
    """When a build first did something elsewhere. To read an archive is nothing that others could undo."""
    done = [step for step in list_steps(services.own, job.job_id) if step.state is StepState.DONE and not step.name.endswith(".extract")]
    return min((step.started_at for step in done), default=None)


def _refuse_when_outdated(
    services: ScenarioServices, job: Job, claimed: Claimed, before: Mapping[str, Any], since: datetime | None
) -> None:
    """As long as the job had not ended the claim was its own, so another one comes after its first change only when it is asked for again."""
    other, moment = before.get("changed_by"), before.get("changed_at")
    if since is None or not other or not moment or other == str(job.job_id) or datetime.fromisoformat(moment) < since:
        return
    try:
        what = _WORDS.get(get_job(services.own, UUID(other)).kind, "job")
    except NotFound:
        what = "job"
    raise Conflict(
        f"A newer {what} has had the {claimed} since this build began, so its earlier steps no longer hold.",
        hint="Apply the archives again, as a new build.",
        details={"code": "scenario_outdated", "newer_job_id": other},
    )


def _patience(services: ScenarioServices, job: Job, wait_seconds: float) -> float:
    if job.deadline_at is None:
        return wait_seconds
    return min(wait_seconds, (job.deadline_at - services.own.now()).total_seconds() - _LAST_WORD_SECONDS)


def _needs_a_slot(holder: Job, now: datetime) -> bool:
    """Whether the holder could go on, and no worker takes it up: all of them may be waiting, as we are."""
    return holder.state is JobState.QUEUED and holder.due_at + timedelta(seconds=_DUE_SECONDS) < now


def _words(job: Job) -> str:
    name = job.payload.get("scenario_name") or job.payload.get("name")
    return f"{_WORDS.get(job.kind, 'job')}{f' of {name}' if name else ''} that {job.requested_by} asked for ({job.job_id})"


def _held(claimed: Claimed, holder: Job) -> Unavailable:
    return Unavailable(
        f"The {claimed} is held by the {_words(holder)}, which has not ended.",
        hint="Wait for its end, or cancel it. If this one has given up by then, retry the job.",
        details={"code": "scenario_held", "held_by": str(holder.job_id), "requested_by": holder.requested_by},
    )
